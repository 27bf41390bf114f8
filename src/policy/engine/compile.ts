/**
 * A policy set compiled: the reference parses and checks it once, closures evaluate it from then on.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { WritError } from '../../model/errors.ts'
import type { Env } from './closures.ts'
import { readPolicy } from './est.ts'
import { functions } from './extensions.ts'
import type { Finder } from './finder.ts'
import { buildFinder } from './finder.ts'
import { readContext, readUid } from './json.ts'
import { cutAt, Gap, parsePolicy } from './parse.ts'
import type { Cut } from './parse.ts'
import type { Rule } from './rule.ts'
import { toBody, toRule } from './rule.ts'
import { runRules } from './run.ts'
import type { SchemaForm } from './schema.ts'
import { Schema } from './schema.ts'
import type { EntityNode } from './store.ts'
import { EntityStore, prepareEntities } from './store.ts'
import type { Head, Policy, Slot } from './tree.ts'
import { walk } from './tree.ts'

/** A policy or template: Cedar text, or Cedar's JSON form, in which integers beyond 2^53 are `bigint`. */
export type PolicyForm = string | Readonly<Record<string, unknown>>

/** `policies` in one text are `policy0`, `policy1`, … in their order; in a record they have its keys. */
export type CompileInput = Readonly<{
  policies: string | Readonly<Record<string, PolicyForm>>
  templates?: Readonly<Record<string, PolicyForm>>
  links?: readonly Readonly<{
    templateId: string
    newId: string
    values: Readonly<Partial<Record<Slot, Readonly<{ type: string; id: string }>>>>
  }>[]
  /** Requests and entities are read and checked by it; policies are not validated against it. */
  schema?: SchemaForm
}>

export type DecideRequest = Readonly<{
  principal: Readonly<{ type: string; id: string }>
  action: Readonly<{ type: string; id: string }>
  resource: Readonly<{ type: string; id: string }>
  context: Readonly<Record<string, unknown>>
}>

/** `determining` are the permits that allow, or the forbids that deny, in the order of the set; as are `errors`. */
export type Decided = Readonly<{
  decision: 'allow' | 'deny'
  determining: readonly string[]
  errors: readonly Readonly<{ policy: string; message: string }>[]
}>

/** A compiled set. Immutable, and decisions leave nothing behind. */
export interface CompiledPolicies {
  /** How many policies and links there are. */
  readonly size: number
  /**
   * Entities parsed once, by the schema of the set if it has one.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for what the reference refuses, and for integers that are not exact.
   */
  prepareEntities(entities: readonly unknown[]): EntityStore
  /**
   * What reference Cedar decides, with its policy ids. A policy that fails does not apply, and stands in `errors`.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for what the reference refuses to read, and for integers that are not exact.
   */
  decide(request: DecideRequest, entities: EntityStore | readonly unknown[]): Decided
}

/** What a set may hold; the reference overflows its stack somewhat beyond. */
export const compileLimits = {
  characters: 16 * 1024 * 1024,
  /** And links. */
  policies: 50_000,
  /** Of one policy: operators in a row without a comma, plus 20 for each bracket inside another, 6 for each `if`. */
  nesting: 2_000,
  /** Of one policy: tokens of its text, or values of its JSON form. Time and memory grow faster than they do. */
  parts: 250_000,
  /** Levels of the JSON form of one. */
  json: 120,
} as const

/** `previous` has policies of the same text, mostly: what the reference has accepted once is not read again. */
export type CompileOptions = Readonly<{
  previous?: CompiledPolicies
  /** For tests: without an index, or with one that is as deep as it can be. */
  index?: boolean | 'deep'
}>

type Source = Readonly<{ id: string; form: PolicyForm; cut: Cut | undefined }>

/**
 * A set of policies, ready to decide.
 *
 * @throws {WritError} `ERR_POLICY_INVALID` for what the reference refuses, what nests too deeply, and partial evaluation
 *   (`unknown`), which no decision has.
 */
export function compile(
  input: CompileInput,
  { previous, index = true }: CompileOptions = {},
): CompiledPolicies {
  const known = previous instanceof Compiled ? previous.known : new Map<string, Rule>()
  checkSize(input)
  const isKnown = ({ form }: Source): boolean => typeof form === 'string' && known.has(form)
  const statics = sourcesOf(input.policies, known)
  const templates = sourcesOf(input.templates ?? {}, new Map())
  checkIds(statics, templates, input)
  const count = statics.length + (input.links?.length ?? 0)
  if (count > compileLimits.policies) throw tooMany(String(count))
  const reused = statics.some(isKnown)
  checkWithReference({
    ...input,
    // the text as it is, unless parts of it are known
    policies: reused
      ? Object.fromEntries(statics.filter((one) => !isKnown(one)).map(({ id, form }) => [id, form]))
      : input.policies,
  })

  const rules: Rule[] = []
  const texts = new Map<string, Rule>()
  for (const source of statics) {
    const { id, form } = source
    const before = typeof form === 'string' ? known.get(form) : undefined
    let rule: Rule
    if (before === undefined) {
      const policy = read(source)
      rule = toRule(id, rules.length, policy, toBody(policy))
    } else rule = { ...before, id, position: rules.length }
    if (typeof form === 'string') texts.set(form, rule)
    rules.push(rule)
  }
  const bodies = new Map(
    templates.map((source) => {
      const policy = read(source)
      return [source.id, { policy, body: toBody(policy) }]
    }),
  )
  for (const { templateId, newId, values } of input.links ?? []) {
    const template = bodies.get(templateId)
    if (template === undefined) throw invalid(`there is no template \`${templateId}\``)
    rules.push(toRule(newId, rules.length, link(template.policy, values), template.body))
  }
  const schema = input.schema === undefined ? undefined : new Schema(input.schema)
  return new Compiled(rules, texts, index, schema)
}

function checkSize({ policies, templates = {} }: CompileInput): void {
  const forms = [
    ...(typeof policies === 'string' ? [policies] : Object.values(policies)),
    ...Object.values(templates),
  ]
  let total = 0
  for (const form of forms) if (typeof form === 'string') total += form.length
  if (total <= compileLimits.characters) return
  throw invalid(`the policies have ${total} characters`, `at most ${compileLimits.characters} are read`)
}

/** Each policy by itself. One that is known was cut before. */
function sourcesOf(policies: CompileInput['policies'], known: ReadonlyMap<string, unknown>): Source[] {
  if (typeof policies === 'string') {
    return cutText(policies).map((part, index) => ({
      id: `policy${index}`,
      form: policies.slice(part.start, part.end),
      cut: part,
    }))
  }
  return Object.entries(policies).map(([id, form]) => {
    if (typeof form !== 'string') {
      checkShape(id, form)
      return { id, form, cut: undefined }
    }
    if (known.has(form)) return { id, form, cut: undefined }
    const [part, ...more] = cutText(form)
    if (part === undefined || more.length > 0) throw invalid(`\`${id}\` is not one policy`)
    return { id, form, cut: part }
  })
}

/** The reference sees no more than what is new. */
function checkIds(
  statics: readonly Source[],
  templates: readonly Source[],
  { links = [] }: CompileInput,
): void {
  if (templates.length + links.length === 0) return
  const ids = new Set<string>()
  for (const id of [...statics, ...templates]
    .map((source) => source.id)
    .concat(links.map(({ newId }) => newId))) {
    if (ids.has(id)) throw invalid(`duplicate template or policy id \`${id}\``)
    ids.add(id)
  }
}

function invalid(message: string, hint?: string): WritError {
  return new WritError('ERR_POLICY_INVALID', message, hint === undefined ? {} : { hint })
}

function cutText(text: string): readonly Cut[] {
  if (!text.isWellFormed()) throw invalid('the text of a policy is not well-formed', 'save it as UTF-8')
  const cuts: Cut[] = []
  const next = (): Cut | undefined => cutAt(text, cuts.at(-1)?.end ?? 0, compileLimits.parts)
  for (let part = next(); part !== undefined; part = next()) {
    const { tokens, shape } = part
    if (shape.longest + 20 * shape.brackets + 6 * shape.ifs > compileLimits.nesting)
      throw invalid('a policy is too deeply nested', 'split it into several, or put values into sets')
    if (tokens.length > compileLimits.parts) throw tooLarge('a policy')
    cuts.push(part)
    if (cuts.length > compileLimits.policies) throw tooMany(`more than ${compileLimits.policies}`)
  }
  return cuts
}

const tooLarge = (what: string): WritError =>
  invalid(`${what} is too large`, `at most ${compileLimits.parts} tokens or values are read`)

const tooMany = (count: string): WritError =>
  invalid(`there are ${count} policies`, `at most ${compileLimits.policies} are read`)

function checkShape(id: string, form: unknown): void {
  let level: unknown[] = [form]
  let parts = 0
  for (let depth = 0; level.length > 0; depth += 1) {
    if ((parts += level.length) > compileLimits.parts) throw tooLarge(`the policy \`${id}\``)
    if (depth > compileLimits.json) {
      throw invalid(
        `the policy \`${id}\` is too deeply nested`,
        `at most ${compileLimits.json} levels are read`,
      )
    }
    level = level.flatMap((value) =>
      typeof value === 'object' && value !== null ? (Object.values(value) as unknown[]) : [],
    )
  }
}

/** The reference's own judgement of the whole set. It has the last word, and says no more than that. */
function checkWithReference({ policies, templates = {}, links = [] }: CompileInput): void {
  const set = {
    staticPolicies: typeof policies === 'string' ? policies : withIntegers(policies),
    templates: withIntegers(templates),
    templateLinks: links,
  } as cedar.PolicySet
  let answer: cedar.CheckParseAnswer
  try {
    answer = cedar.checkParsePolicySet(set)
  } catch (error) {
    throw new WritError('ERR_POLICY_INVALID', 'the policies cannot be read', { cause: error })
  }
  if (answer.type === 'failure') throw invalid(answer.errors.map(({ message }) => message).join('; '))
}

/** Integers reach the reference as their digits. */
function withIntegers(forms: Readonly<Record<string, PolicyForm>>): unknown {
  const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown }
  const convert = (value: unknown): unknown => {
    if (typeof value === 'bigint') return rawJSON(String(value))
    if (Array.isArray(value)) return value.map(convert)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, convert(member)]))
  }
  return convert(forms)
}

function read({ id, form, cut: part }: Source): Policy {
  if (typeof form !== 'string') return checked(id, readJson(id, form))
  try {
    return checked(id, parsePolicy(part as Cut))
  } catch (error) {
    if (!(error instanceof Gap)) throw error
    return checked(id, readByReference(form))
  }
}

/** The reference's reading of a text that the parser here gave up on. */
function readByReference(text: string): Policy {
  const answers = [cedar.policyToJson(text), cedar.templateToJson(text)]
  for (const answer of answers) if (answer.type === 'success') return readJson('', answer.json)
  throw invalid('a policy cannot be read')
}

function readJson(id: string, form: unknown): Policy {
  try {
    return readPolicy(form)
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error
    throw new WritError('ERR_POLICY_INVALID', `the policy \`${id}\` cannot be read: ${error.message}`, {
      hint: 'write integers beyond 2^53 as `bigint`',
      cause: error,
    })
  }
}

function checked(id: string, policy: Policy): Policy {
  const name = unknownCall(policy)
  if (name === undefined) return policy
  throw invalid(`the policy \`${id}\` calls \`${name}\`, which has no value`)
}

/** A function that is called and that no decision can compute. */
export function unknownCall({ conditions }: Policy): string | undefined {
  for (const { body } of conditions) {
    for (const expr of walk(body)) if (expr.op === 'call' && !functions.has(expr.name)) return expr.name
  }
  return undefined
}

function link(policy: Policy, values: Readonly<Partial<Record<Slot, unknown>>>): Policy {
  const fill = (at: Head['eq']): Head['eq'] => (typeof at === 'string' ? readUid(values[at]) : at)
  const head = ({ eq, is, in: group }: Head): Head => ({ eq: fill(eq), is, in: fill(group) })
  return { ...policy, principal: head(policy.principal), resource: head(policy.resource) }
}

class Compiled implements CompiledPolicies {
  readonly size: number
  /** Rules by the text that they were read from. */
  readonly known: ReadonlyMap<string, Rule>
  readonly #finder: Finder<Rule>
  readonly #schema: Schema | undefined

  constructor(
    rules: readonly Rule[],
    known: ReadonlyMap<string, Rule>,
    index: boolean | 'deep',
    schema: Schema | undefined,
  ) {
    this.known = known
    this.#schema = schema
    this.size = rules.length
    this.#finder = index !== false ? buildFinder(rules, index === 'deep') : { by: 'none', rules }
  }

  prepareEntities(entities: readonly unknown[]): EntityStore {
    return prepareEntities(entities, this.#schema)
  }

  decide(request: DecideRequest, entities: EntityStore | readonly unknown[]): Decided {
    const store = entities instanceof EntityStore ? entities : this.prepareEntities(entities)
    if (store.schema !== this.#schema) throw new TypeError('the entities were prepared for another schema')
    const principalNode = nodeOf(store, request.principal)
    const actionNode = nodeOf(store, request.action)
    const resourceNode = nodeOf(store, request.resource)
    const principal = principalNode?.ref ?? readUid(request.principal)
    const action = actionNode?.ref ?? readUid(request.action)
    const resource = resourceNode?.ref ?? readUid(request.resource)
    const context =
      this.#schema === undefined
        ? readContext(request.context)
        : this.#schema.record(
            request.context,
            this.#schema.check(principal, action, resource).context,
            'the context',
          )
    const env: Env = { principal, action, resource, principalNode, actionNode, resourceNode, context, store }
    const run = runRules(this.#finder, env)
    const determining = run.forbids ?? run.permits
    return {
      decision: run.forbids === undefined && run.permits !== undefined ? 'allow' : 'deny',
      determining: determining === undefined ? NONE : idsOf(determining),
      errors: run.failed === undefined ? NONE : errorsOf(run.failed),
    }
  }
}

const NONE: readonly never[] = Object.freeze([])

function nodeOf(store: EntityStore, uid: unknown): EntityNode | undefined {
  if (typeof uid !== 'object' || uid === null) return undefined
  const { type, id, __entity } = uid as Readonly<Record<string, unknown>>
  if (__entity !== undefined) {
    const ref = readUid(uid)
    return store.find(ref.type, ref.id)
  }
  return typeof type === 'string' && typeof id === 'string' ? store.find(type, id) : undefined
}

function idsOf(rules: Rule[]): string[] {
  if (rules.length > 1) rules.sort((a, b) => a.position - b.position)
  return rules.map(({ id }) => id)
}

function errorsOf(failed: { rule: Rule; message: string }[]): Decided['errors'] {
  if (failed.length > 1) failed.sort((a, b) => a.rule.position - b.rule.position)
  return failed.map(({ rule, message }) => ({ policy: rule.id, message }))
}
