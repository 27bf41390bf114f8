/**
 * The compiled evaluator beside the reference: where do they differ?
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { isDeepStrictEqual } from 'node:util'
import { isWritError } from '../../src/model/errors.ts'
import { readPolicy } from '../../src/policy/engine/est.ts'
import { compile } from '../../src/policy/engine/index.ts'
import type {
  CompiledPolicies,
  CompileInput,
  CompileOptions,
  Decided,
  PolicyForm,
} from '../../src/policy/engine/index.ts'
import { cut, parsePolicy } from '../../src/policy/engine/parse.ts'
import type { Case } from './cases.ts'
import { Choices, makeCase } from './cases.ts'

import { Printer } from './print.ts'
import { typedCase } from './typed.ts'

/** What a run has seen, so that a generator that makes nothing but refusals is noticed. */
export type Tally = {
  cases: number
  decisions: number
  allows: number
  errors: number
  refusedPolicies: number
  refusedInputs: number
}

export const newTally = (): Tally => ({
  cases: 0,
  decisions: 0,
  allows: 0,
  errors: 0,
  refusedPolicies: 0,
  refusedInputs: 0,
})

type Answer =
  | Readonly<{ decision: string; determining: readonly string[]; errors: readonly string[] }>
  | 'refused'

const digits = (JSON as unknown as { rawJSON: (text: string) => unknown }).rawJSON

/** With integers as digits, the way they reach the reference exactly. */
export function toReference<T>(value: T): T {
  const convert = (one: unknown): unknown => {
    if (typeof one === 'bigint') return digits(String(one))
    if (Array.isArray(one)) return one.map(convert)
    if (typeof one !== 'object' || one === null) return one
    return Object.fromEntries(Object.entries(one).map(([key, member]) => [key, convert(member)]))
  }
  return convert(value) as T
}

/** The case of `numbers` with its policies as text, or as Cedar's JSON form; the numbers say which. */
export function caseOf(numbers: readonly number[]): Case {
  const c = new Choices(numbers.toReversed())
  if (c.once(8)) return typedCase(numbers)
  const plain = makeCase(numbers)
  const isText = !c.once(3)
  if (!isText) return plain
  const print = (policies: Case['policies']): Record<string, string> =>
    Object.fromEntries(
      Object.entries(policies).map(([id, policy]) => [
        id,
        new Printer(c).policy(policy as Record<string, unknown>),
      ]),
    )
  const policies = print(plain.policies)
  const [first] = Object.keys(policies)
  if (first !== undefined && c.once(40)) policies[first] = spoil(c, policies[first] as string)
  const isOneText = c.once(4)
  return {
    ...plain,
    policies: isOneText ? Object.values(policies).join(c.pick(['', '\n', ' // ;\n'])) : policies,
    templates: print(plain.templates),
  }
}

const PIECES = [
  ';', '"', '(', ')', '{', '}', '[', ']', '//', '\n', ',', '.', '::', ':', '\\', '@', '?principal', '-', '--', '!', '&&', '|', '<', '=', '*', '%', '/',
  ' if ', ' in ', ' is ', ' has ', ' like ', '0', '9223372036854775808', 'é', '\u{feff}', '\0', '\u{2028}', ' when {true} ', 'permit(principal,action,resource);', 'ip(1)', '.isEmpty()',
] // prettier-ignore

/** A text of which some places are others: most are no policies, and those that are must be read alike. */
function spoil(c: Choices, text: string): string {
  let spoilt = text
  for (let times = 1 + c.next(2); times > 0; times -= 1) {
    const at = c.next(spoilt.length + 1)
    const rest = spoilt.slice(at + (c.once(2) ? 1 + c.next(4) : 0))
    spoilt = `${spoilt.slice(0, at)}${c.once(3) ? '' : c.pick(PIECES)}${rest}`
  }
  return spoilt.toWellFormed()
}

/** What differs, or `undefined`. */
export function difference(it: Case, tally: Tally = newTally()): string | undefined {
  tally.cases += 1
  // a whole reading and a second set cost more than the rest together
  const isThorough = tally.cases % 4 === 1
  const set = {
    staticPolicies: it.policies,
    templates: it.templates,
    templateLinks: it.links,
  } as unknown as cedar.PolicySet
  const isSet = unlessUnreadable(() => cedar.preparsePolicySet('fuzz', toReference(set)))?.type === 'success'
  const input = {
    policies: it.policies as CompileInput['policies'],
    templates: it.templates as Record<string, PolicyForm>,
    links: it.links,
    ...(it.schema === undefined ? {} : { schema: it.schema }),
  }
  const isSchema =
    it.schema === undefined || cedar.preparseSchema('fuzz', it.schema as cedar.Schema).type === 'success'
  const isAccepted = isSet && isSchema
  let ours: CompiledPolicies | undefined
  let flat: CompiledPolicies | undefined
  try {
    // few policies would hardly be indexed otherwise
    ours = compile(input, { index: tally.cases % 3 === 0 ? true : 'deep' })
    flat = isThorough ? compile(input, { index: false, ...before(input, tally.cases) }) : ours
  } catch (error) {
    if (!isWritError(error, 'ERR_POLICY_INVALID')) throw error
    if (isAccepted) return `the reference accepts what is refused: ${error.message}`
  }
  if (ours === undefined || flat === undefined) {
    tally.refusedPolicies += 1
    return undefined
  }
  if (!isAccepted) return 'the reference refuses what is accepted'
  const reading = isThorough ? readingDiffers(it) : undefined
  if (reading !== undefined) return reading
  for (const [index, request] of it.requests.entries()) {
    const theirs = askReference(it, request)
    const mine = ask(ours, request, it)
    if (!isDeepStrictEqual(mine, theirs)) {
      return `request ${index}: ours ${show(mine)}, the reference's ${show(theirs)}`
    }
    const unindexed = ask(flat, request, it)
    if (!isDeepStrictEqual(mine, unindexed))
      return `request ${index}: indexed ${show(mine)}, not ${show(unindexed)}`
    if (theirs === 'refused') tally.refusedInputs += 1
    else {
      tally.decisions += 1
      if (theirs.decision === 'allow') tally.allows += 1
      if (theirs.errors.length > 0) tally.errors += 1
    }
  }
  return undefined
}

/** Another set that has some of the policies, by other names; now and then none. */
function before({ policies }: CompileInput, turn: number): CompileOptions {
  if (turn % 8 !== 1) return {}
  const known = Object.values(policies).filter((form) => typeof form === 'string' && form.length > 1)
  try {
    return { previous: compile({ policies: Object.fromEntries(known.slice(turn % 3).entries()) }) }
  } catch (error) {
    if (!isWritError(error, 'ERR_POLICY_INVALID')) throw error
    return {}
  }
}

const show = (answer: Answer): string => JSON.stringify(answer)

function askReference(it: Case, request: Case['requests'][number]): Answer {
  const call = toReference({
    ...request,
    preparsedPolicySetId: 'fuzz',
    entities: it.entities,
    ...(it.schema === undefined ? {} : { preparsedSchemaName: 'fuzz', validateRequest: true }),
  }) as cedar.StatefulAuthorizationCall
  const answer = unlessUnreadable(() => cedar.statefulIsAuthorized(call))
  if (answer === undefined || answer.type === 'failure') return 'refused'
  const { decision, diagnostics } = answer.response
  return {
    decision,
    determining: diagnostics.reason.toSorted(),
    errors: diagnostics.errors.map(({ policyId }) => policyId).sort(),
  }
}

/** What is no JSON for the reference is thrown by it, as the error of its reader; anything else that it throws is a fault. */
function unlessUnreadable<T>(call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    if (error instanceof Error && / at line \d+ column \d+$/.test(error.message)) return undefined
    throw error
  }
}

function ask(set: CompiledPolicies, request: Case['requests'][number], it: Case): Answer {
  let decided: Decided
  try {
    decided = set.decide(request, set.prepareEntities(it.entities))
  } catch (error) {
    if (!isWritError(error, 'ERR_INPUT_INVALID')) throw error
    return 'refused'
  }
  return {
    decision: decided.decision,
    determining: decided.determining.toSorted(),
    errors: decided.errors.map(({ policy }) => policy).sort(),
  }
}

/** Our reading of each text against the reference's; not where integers are rounded on the way. */
function readingDiffers(it: Case): string | undefined {
  for (const [read, forms] of [
    [cedar.policyToJson, typeof it.policies === 'string' ? {} : it.policies],
    [cedar.templateToJson, it.templates],
  ] as const) {
    for (const [id, form] of Object.entries(forms)) {
      if (typeof form !== 'string' || /[0-9]{16}/.test(form)) continue
      const answer = read(form)
      // a spoilt one may be several, which the reference takes apart
      if (answer.type === 'failure' && cut(form).length !== 1) continue
      if (answer.type === 'failure') return `\`${id}\` cannot be read by the reference`
      const [part] = cut(form)
      if (part === undefined) return `\`${id}\` is cut into nothing`
      const [ours, theirs] = [parsePolicy(part), readPolicy(answer.json)]
      if (!isDeepStrictEqual(sorted(ours), sorted(theirs))) {
        return `\`${id}\` is read as ${JSON.stringify(sorted(ours))}, by the reference as ${JSON.stringify(sorted(theirs))}`
      }
    }
  }
  return undefined
}

/** Entities as plain objects, without places, and fields of records in one order: the reference keeps neither. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).filter(([key]) => key !== 'span')
  const result = Object.fromEntries(members.map(([key, member]): [string, unknown] => [key, sorted(member)]))
  if (Array.isArray(result['fields'])) {
    const fields = result['fields'] as [string, unknown][]
    return { ...result, fields: fields.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)) }
  }
  return result
}

/** The simplest numbers whose case still differs: parts left out, then smaller choices. */
export function shrink(
  numbers: readonly number[],
  differs: (numbers: readonly number[]) => boolean,
): number[] {
  let best = [...numbers]
  const attempt = (next: number[]): boolean => {
    if (!differs(next)) return false
    best = next
    return true
  }
  for (let isBetter = true; isBetter;) {
    isBetter = false
    for (let size = Math.max(1, best.length >> 1); size >= 1; size >>= 1) {
      for (let at = 0; at < best.length; at += size) {
        if (attempt([...best.slice(0, at), ...best.slice(at + size)])) isBetter = true
      }
    }
    for (let at = 0; at < best.length; at += 1) {
      const number = best[at] as number
      for (const smaller of [0, number >> 1, number - 1]) {
        if (smaller < 0 || smaller >= number || !attempt(best.with(at, smaller))) continue
        isBetter = true
        break
      }
    }
  }
  return best
}

/** A kept case as text: integers are digits, so they survive. */
export function toText(it: Case): string {
  return `${JSON.stringify(toReference(it), undefined, 2)}\n`
}

export function fromText(text: string): Case {
  const revive = (_: string, value: unknown, { source }: { source?: string } = {}): unknown =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?[0-9]+$/.test(source ?? '')
      ? BigInt(source as string)
      : value
  return JSON.parse(text, revive) as Case
}
