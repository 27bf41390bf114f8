/**
 * Cedar's extension types: decimal, ipaddr, datetime and duration, parsed and computed as the reference does.
 *
 * @module
 */
import type { Long, Result, Value } from './values.ts'
import {
  add,
  DATETIME,
  DECIMAL,
  DURATION,
  Extension,
  Failure,
  IP,
  Ip,
  isFailure,
  subtract,
  toLong,
  typeError,
} from './values.ts'

type Call = (args: readonly Value[]) => Result

const DAY = 86_400_000

/** Every extension function with the number of its arguments, the receiver of a method being the first. */
export const functions: ReadonlyMap<string, Readonly<{ arity: number; call: Call }>> = new Map([
  ['decimal', constructor('decimal', parseDecimal)],
  ['ip', constructor('ipaddr', parseIp)],
  ['datetime', constructor('datetime', parseDatetime)],
  ['duration', constructor('duration', parseDuration)],
  ['lessThan', comparison((a, b) => a < b)],
  ['lessThanOrEqual', comparison((a, b) => a <= b)],
  ['greaterThan', comparison((a, b) => a > b)],
  ['greaterThanOrEqual', comparison((a, b) => a >= b)],
  ['isIpv4', onIp(({ bits }) => bits === 32)],
  ['isIpv6', onIp(({ bits }) => bits === 128)],
  ['isLoopback', onIp((ip) => isWithin(ip, ip.bits === 32 ? loopback4 : loopback6))],
  ['isMulticast', onIp((ip) => isWithin(ip, ip.bits === 32 ? multicast4 : multicast6))],
  ['isInRange', { arity: 2, call: isInRange }],
  ['offset', { arity: 2, call: offset }],
  ['durationSince', { arity: 2, call: durationSince }],
  ['toDate', onExtension(DATETIME, 'datetime', toDate)],
  ['toTime', onExtension(DATETIME, 'datetime', toTime)],
  ['toMilliseconds', onExtension(DURATION, 'duration', (value) => value)],
  ['toSeconds', onExtension(DURATION, 'duration', (value) => quotient(value, 1_000))],
  ['toMinutes', onExtension(DURATION, 'duration', (value) => quotient(value, 60_000))],
  ['toHours', onExtension(DURATION, 'duration', (value) => quotient(value, 3_600_000))],
  ['toDays', onExtension(DURATION, 'duration', (value) => quotient(value, DAY))],
])

function constructor(type: string, parse: (text: string) => Extension | Ip | undefined) {
  const call: Call = ([text]) => {
    if (typeof text !== 'string') return typeError('string', text as Value)
    return (
      parse(text) ?? new Failure(`error while evaluating \`${type}\` extension function: \`${text}\` is none`)
    )
  }
  return { arity: 1, call }
}

function comparison(test: (a: Long, b: Long) => boolean) {
  const call: Call = ([a, b]) => {
    if (!isExtension(a, DECIMAL)) return typeError('decimal', a as Value)
    if (!isExtension(b, DECIMAL)) return typeError('decimal', b as Value)
    return test(a.value, b.value)
  }
  return { arity: 2, call }
}

function onIp(test: (ip: Ip) => boolean) {
  const call: Call = ([ip]) => (isIp(ip) ? test(ip) : typeError('ipaddr', ip as Value))
  return { arity: 1, call }
}

function onExtension(kind: Extension['kind'], type: string, compute: (value: Long) => Result) {
  const call: Call = ([value]) =>
    isExtension(value, kind) ? compute(value.value) : typeError(type, value as Value)
  return { arity: 1, call }
}

function isExtension(value: Value | undefined, kind: Extension['kind']): value is Extension {
  return typeof value === 'object' && value.kind === kind
}

function isIp(value: Value | undefined): value is Ip {
  return typeof value === 'object' && value.kind === IP
}

function make(kind: Extension['kind'], value: Long | Failure): Result {
  return typeof value === 'object' ? value : new Extension(kind, value)
}

function offset([time, by]: readonly Value[]): Result {
  if (!isExtension(time, DATETIME)) return typeError('datetime', time as Value)
  if (!isExtension(by, DURATION)) return typeError('duration', by as Value)
  return make(DATETIME, add(time.value, by.value))
}

function durationSince([later, earlier]: readonly Value[]): Result {
  if (!isExtension(later, DATETIME)) return typeError('datetime', later as Value)
  if (!isExtension(earlier, DATETIME)) return typeError('datetime', earlier as Value)
  return make(DURATION, subtract(later.value, earlier.value))
}

/** Milliseconds since midnight, which lies before the instant also in years before 1970. */
function sinceMidnight(value: Long): Long {
  if (typeof value === 'number') return ((value % DAY) + DAY) % DAY
  const day = BigInt(DAY)
  return Number(((value % day) + day) % day)
}

function toDate(value: Long): Result {
  return make(DATETIME, subtract(value, sinceMidnight(value)))
}

function toTime(value: Long): Result {
  return make(DURATION, sinceMidnight(value))
}

/** Towards zero, as Rust divides. */
function quotient(value: Long, by: number): Long {
  if (typeof value === 'number') return Math.trunc(value / by) + 0
  return toLong(value / BigInt(by)) as Long
}

function isInRange([ip, range]: readonly Value[]): Result {
  if (!isIp(ip)) return typeError('ipaddr', ip as Value)
  if (!isIp(range)) return typeError('ipaddr', range as Value)
  return isWithin(ip, range)
}

function isWithin(ip: Ip, range: Ip): boolean {
  if (ip.bits !== range.bits || ip.prefix < range.prefix) return false
  const host = BigInt(range.bits - range.prefix)
  return ip.address >> host === range.address >> host
}

const loopback4 = new Ip(32, 0x7f00_0000n, 8)
const multicast4 = new Ip(32, 0xe000_0000n, 4)
const loopback6 = new Ip(128, 1n, 128)
const multicast6 = new Ip(128, 0xffn << 120n, 8)

export function parseDecimal(text: string): Extension | undefined {
  const match = /^(-?)([0-9]+)\.([0-9]{1,4})$/.exec(text)
  if (match === null) return undefined
  const [, sign = '', whole = '', part = ''] = match
  if (whole.length > 1_000) return undefined
  const size = BigInt(whole) * 10_000n + BigInt(part.padEnd(4, '0'))
  const value = toLong(sign === '' ? size : -size)
  return value === undefined ? undefined : new Extension(DECIMAL, value)
}

export function parseIp(text: string): Ip | undefined {
  const slash = text.indexOf('/')
  const address = slash === -1 ? text : text.slice(0, slash)
  const isV6 = address.includes(':')
  const bits = isV6 ? 128 : 32
  const value = isV6 ? parseV6(address) : parseV4(address)
  if (value === undefined) return undefined
  if (slash === -1) return new Ip(bits, value, bits)
  const length = text.slice(slash + 1)
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) return undefined
  return new Ip(bits, value, Number(length))
}

function parseV4(text: string): bigint | undefined {
  if (!/^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$/.test(text)) return undefined
  let value = 0n
  for (const part of text.split('.')) {
    if (Number(part) > 255) return undefined
    value = (value << 8n) | BigInt(part)
  }
  return value
}

/** Eight groups, one run of which may be `::`; an embedded IPv4 address is refused, as by the reference. */
function parseV6(text: string): bigint | undefined {
  if (text.length > 39) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const missing = 8 - head.length - tail.length
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined
  const groups = [...head, ...Array<string>(missing).fill('0'), ...tail]
  if (!groups.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return undefined
  return BigInt(`0x${groups.map((group) => group.padStart(4, '0')).join('')}`)
}

const DATE = /^([0-9]{4})-([0-9]{2})-([0-9]{2})/
const TIME = /^T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(?:Z|([+-])([0-9]{2})([0-9]{2}))$/

export function parseDatetime(text: string): Extension | undefined {
  const date = DATE.exec(text)
  if (date === null) return undefined
  const [year, month, day] = date.slice(1).map(Number) as [number, number, number]
  // `Date.UTC` reads years below 100 as of the last century: the same day 400 years later is as long a shift
  const epoch = Date.UTC(year + 400, month - 1, day)
  const back = new Date(epoch)
  if (back.getUTCMonth() !== month - 1 || back.getUTCDate() !== day) return undefined
  const midnight = epoch - 146_097 * DAY
  if (text.length === 10) return new Extension(DATETIME, midnight)
  const time = TIME.exec(text.slice(10))
  if (time === null) return undefined
  const [hour, minute, second, milli] = [time[1], time[2], time[3], time[4] ?? '0'].map(Number) as [
    number,
    number,
    number,
    number,
  ]
  const [aheadHours, aheadMinutes] = [Number(time[6] ?? 0), Number(time[7] ?? 0)]
  if (hour > 23 || minute > 59 || second > 59 || aheadHours > 23 || aheadMinutes > 59) return undefined
  const ahead = (aheadHours * 60 + aheadMinutes) * 60_000 * (time[5] === '-' ? -1 : 1)
  return new Extension(DATETIME, midnight + ((hour * 60 + minute) * 60 + second) * 1_000 + milli - ahead)
}

const UNITS = [86_400_000n, 3_600_000n, 60_000n, 1_000n, 1n]

export function parseDuration(text: string): Extension | undefined {
  const match = /^(-?)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?$/.exec(text)
  if (match === null || text.length > 1_000) return undefined
  const parts = match.slice(2)
  if (parts.every((part) => part === undefined)) return undefined
  let size = 0n
  for (const [index, part] of parts.entries()) size += BigInt(part ?? 0) * (UNITS[index] as bigint)
  const value = toLong(match[1] === '-' ? -size : size)
  return value === undefined ? undefined : new Extension(DURATION, value)
}

/** Calls an extension function on values; a wrong number of arguments is a failure, as in the reference. */
export function callExtension(name: string, args: readonly Result[]): Result {
  const known = functions.get(name)
  if (known === undefined) return new Failure(`extension function \`${name}\` does not exist`)
  for (const arg of args) if (isFailure(arg)) return arg
  if (args.length !== known.arity) {
    return new Failure(
      `wrong number of arguments provided to extension function \`${name}\`: expected ${known.arity}, got ${args.length}`,
    )
  }
  return known.call(args as readonly Value[])
}
