/**
 * Cedar values as JavaScript values, and failures as values beside them: nothing is thrown while a policy is evaluated.
 *
 * @module
 */

/** A 64-bit integer: a `number` where exact, a `bigint` beyond 2^53 and only there, so that `===` compares. */
export type Long = number | bigint

export type Value = boolean | string | Long | Compound

/** Everything that is no JavaScript primitive; `kind` tells which, without a look at prototypes. */
export type Compound = EntityRef | CedarSet | CedarRecord | Extension | Ip

/** What an expression comes to. */
export type Result = Value | Failure

export const FAILURE = 0
export const ENTITY = 1
export const SET = 2
export const RECORD = 3
export const DECIMAL = 4
export const DATETIME = 5
export const DURATION = 6
export const IP = 7

/** An evaluation error. */
export class Failure {
  readonly kind = FAILURE
  readonly message: string

  constructor(message: string) {
    this.message = message
  }
}

/** An entity by name; what is known of it stands in the store. */
export class EntityRef {
  readonly kind = ENTITY
  readonly type: string
  readonly id: string
  #key: string | undefined

  constructor(type: string, id: string) {
    this.type = type
    this.id = id
  }

  /** Injective: no type name holds a quote. */
  get key(): string {
    return (this.#key ??= entityKey(this.type, this.id))
  }
}

export function entityKey(type: string, id: string): string {
  return `${type}::"${id}`
}

export class CedarSet {
  readonly kind = SET
  /** Each value once. */
  readonly items: readonly Value[]
  readonly #primitives = new Set<Value>()
  readonly #compounds = new Set<string>()
  #key: string | undefined

  constructor(values: readonly Value[]) {
    const items: Value[] = []
    for (const value of values) {
      if (this.has(value)) continue
      items.push(value)
      if (typeof value === 'object') this.#compounds.add(keyOf(value))
      else this.#primitives.add(value)
    }
    this.items = items
  }

  has(value: Value): boolean {
    if (typeof value !== 'object') return this.#primitives.has(value)
    return this.#compounds.size > 0 && this.#compounds.has(keyOf(value))
  }

  hasAll(other: CedarSet): boolean {
    return other.items.every((item) => this.has(item))
  }

  hasAny(other: CedarSet): boolean {
    const [small, large] = this.items.length < other.items.length ? [this, other] : [other, this]
    return small.items.some((item) => large.has(item))
  }

  get key(): string {
    return (this.#key ??= `[${this.items.map(keyOf).sort().join()}]`)
  }
}

export class CedarRecord {
  readonly kind = RECORD
  readonly fields: ReadonlyMap<string, Value>
  #key: string | undefined

  constructor(fields: ReadonlyMap<string, Value>) {
    this.fields = fields
  }

  get key(): string {
    if (this.#key !== undefined) return this.#key
    const members = [...this.fields].map(([name, value]) => `${JSON.stringify(name)}:${keyOf(value)}`)
    return (this.#key = `{${members.sort().join()}}`)
  }
}

/** A decimal in ten-thousandths, a datetime in epoch milliseconds, or a duration in milliseconds. */
export class Extension {
  readonly kind: typeof DECIMAL | typeof DATETIME | typeof DURATION
  readonly value: Long

  constructor(kind: Extension['kind'], value: Long) {
    this.kind = kind
    this.value = value
  }
}

/** An address with a prefix length; a single address has the longest prefix of its family. */
export class Ip {
  readonly kind = IP
  readonly bits: 32 | 128
  readonly address: bigint
  readonly prefix: number

  constructor(bits: 32 | 128, address: bigint, prefix: number) {
    this.bits = bits
    this.address = address
    this.prefix = prefix
  }
}

export function isFailure(result: Result): result is Failure {
  return typeof result === 'object' && result.kind === FAILURE
}

/** Text that is equal exactly for equal values. */
function keyOf(value: Value): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'object':
      break
    default:
      return String(value)
  }
  switch (value.kind) {
    case ENTITY:
      return `e${JSON.stringify(value.type)}${JSON.stringify(value.id)}`
    case SET:
    case RECORD:
      return value.key
    case IP:
      return `i${value.bits} ${value.address}/${value.prefix}`
    default:
      return `x${value.kind} ${value.value}`
  }
}

/** Cedar's `==`: values of different types are not equal, and it never fails. */
export function equal(a: Value, b: Value): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a.kind !== b.kind) return false
  switch (a.kind) {
    case ENTITY:
      return a.id === (b as EntityRef).id && a.type === (b as EntityRef).type
    case SET: {
      const other = b as CedarSet
      return a.items.length === other.items.length && a.hasAll(other)
    }
    case RECORD: {
      const other = (b as CedarRecord).fields
      if (a.fields.size !== other.size) return false
      for (const [name, value] of a.fields) {
        const theirs = other.get(name)
        if (theirs === undefined || !equal(value, theirs)) return false
      }
      return true
    }
    case IP: {
      const other = b as Ip
      return a.bits === other.bits && a.address === other.address && a.prefix === other.prefix
    }
    default:
      return a.value === (b as Extension).value
  }
}

const names = ['error', 'entity', 'set', 'record', 'decimal', 'datetime', 'duration', 'ipaddr'] as const

export function typeName(value: Value): string {
  switch (typeof value) {
    case 'boolean':
      return 'bool'
    case 'string':
      return 'string'
    case 'object':
      return value.kind === ENTITY ? `(entity of type \`${value.type}\`)` : (names[value.kind] ?? 'unknown')
    default:
      return 'long'
  }
}

export function typeError(expected: string, got: Value): Failure {
  return new Failure(`type error: expected ${expected}, got ${typeName(got)}`)
}

const MOST = 2n ** 63n - 1n
const LEAST = -(2n ** 63n)

/** The canonical form of an integer; `undefined` outside 64 bits. */
export function toLong(value: bigint): Long | undefined {
  if (value > MOST || value < LEAST) return undefined
  const small = Number(value)
  return Number.isSafeInteger(small) ? small : value
}

const overflow = (what: string, a: Long, b: Long): Failure =>
  new Failure(`integer overflow while attempting to ${what} the values \`${a}\` and \`${b}\``)

export function add(a: Long, b: Long): Long | Failure {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b
    if (Number.isSafeInteger(sum)) return sum
  }
  return toLong(BigInt(a) + BigInt(b)) ?? overflow('add', a, b)
}

export function subtract(a: Long, b: Long): Long | Failure {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b
    if (Number.isSafeInteger(difference)) return difference
  }
  return toLong(BigInt(a) - BigInt(b)) ?? overflow('subtract', a, b)
}

export function multiply(a: Long, b: Long): Long | Failure {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b
    // a product that was rounded is never safe; `+ 0` has no negative zero
    if (Number.isSafeInteger(product)) return product + 0
  }
  return toLong(BigInt(a) * BigInt(b)) ?? overflow('multiply', a, b)
}

export function negate(a: Long): Long | Failure {
  if (typeof a === 'number') return 0 - a
  return toLong(-a) ?? new Failure(`integer overflow while attempting to negate the value \`${a}\``)
}

export function isLong(value: Result): value is Long {
  return typeof value === 'number' || typeof value === 'bigint'
}
