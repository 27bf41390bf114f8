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
import { buildFinder, find } from './finder.ts'
import { readContext, readUid } from './json.ts'
import { cut, Gap, parsePolicy } from './parse.ts'
import type { Cut } from './parse.ts'
import type { Rule } from './rule.ts'
import { evaluate, toBody, toRule } from './rule.ts'
import type { SchemaForm } from './schema.ts'
import { Schema } from './schema.ts'
import type { EntityNode } from './store.ts'
import { EntityStore, prepareEntities } from './store.ts'
import type { Expr, Head, Policy, Slot } from './tree.ts'
import { typeError } from './values.ts'

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
  /** Of one policy: operators in a row without a comma, plus 20 for each bracket inside another, 6 for each `if`. */
  nesting: 2_000,
  /** Levels of the JSON form of one. */
  json: 120,
} as const

/**
 * @throws {WritError} `ERR_POLICY_INVALID` for what the reference refuses, what nests too deeply, and partial evaluation
 *   (`unknown`), which no decision has.
 */
export function compile(
  input: CompileInput,
  options: Readonly<{ index?: boolean | 'deep' }> = {},
): CompiledPolicies {
  const templates = Object.entries(input.templates ?? {})
  const statics = typeof input.policies === 'string' ? [] : Object.entries(input.policies)
  const forms = [...statics, ...templates]
  const texts = forms.flatMap(([, form]) => (typeof form === 'string' ? form : []))
  if (typeof input.policies === 'string') texts.push(input.policies)
  const total = texts.reduce((sum, text) => sum + text.length, 0)
  if (total > compileLimits.characters) {
    throw invalid(`the policies have ${total} characters`, `at most ${compileLimits.characters} are read`)
  }
  const cuts = new Map(forms.flatMap(([, form]) => (typeof form === 'string' ? [[form, cutText(form)]] : [])))
  const whole = typeof input.policies === 'string' ? cutText(input.policies) : []
  for (const [id, form] of forms) if (typeof form !== 'string') checkDepth(id, form)
  checkWithReference(input)

  const read = (id: string, form: PolicyForm): Policy =>
    checked(
      id,
      typeof form === 'string' ? readText(form, cuts.get(form) as readonly Cut[]) : readJson(id, form),
    )
  const rules: Rule[] = []
  const add = (id: string, policy: Policy): void => {
    rules.push(toRule(id, rules.length, policy, toBody(policy)))
  }
  for (const [index, part] of whole.entries()) {
    const id = `policy${index}`
    add(id, checked(id, readText(input.policies as string, [part])))
  }
  for (const [id, form] of statics) add(id, read(id, form))

  const bodies = new Map(
    templates.map(([id, form]) => {
      const policy = read(id, form)
      return [id, { policy, body: toBody(policy) }]
    }),
  )
  for (const { templateId, newId, values } of input.links ?? []) {
    const known = bodies.get(templateId)
    if (known === undefined) throw invalid(`there is no template \`${templateId}\``)
    rules.push(toRule(newId, rules.length, link(known.policy, values), known.body))
  }
  const schema = input.schema === undefined ? undefined : new Schema(input.schema)
  return new Compiled(rules, options.index ?? true, schema)
}

function invalid(message: string, hint?: string): WritError {
  return new WritError('ERR_POLICY_INVALID', message, hint === undefined ? {} : { hint })
}

function cutText(text: string): readonly Cut[] {
  if (!text.isWellFormed()) throw invalid('the text of a policy is not well-formed', 'save it as UTF-8')
  const cuts = cut(text)
  for (const { shape } of cuts) {
    if (shape.longest + 20 * shape.brackets + 6 * shape.ifs <= compileLimits.nesting) continue
    throw invalid('a policy is too deeply nested', 'split it into several, or put values into sets')
  }
  return cuts
}

function checkDepth(id: string, form: unknown): void {
  let level: unknown[] = [form]
  for (let depth = 0; level.length > 0; depth += 1) {
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
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
  const convert = (value: unknown): unknown => {
    if (typeof value === 'bigint') return rawJSON(String(value))
    if (Array.isArray(value)) return value.map(convert)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, convert(member)]))
  }
  return convert(forms)
}

function readText(text: string, [part, ...more]: readonly Cut[]): Policy {
  if (part === undefined || more.length > 0) throw invalid('expected one policy')
  try {
    return parsePolicy(part)
  } catch (error) {
    if (!(error instanceof Gap)) throw error
    return readByReference(text.slice(part.start, part.end))
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
  const visit = (expr: Expr): void => {
    if (expr.op === 'call' && !functions.has(expr.name)) {
      throw invalid(`the policy \`${id}\` calls \`${expr.name}\`, which has no value`)
    }
    children(expr).forEach(visit)
  }
  for (const { body } of policy.conditions) visit(body)
  return policy
}

function children(expr: Expr): readonly Expr[] {
  switch (expr.op) {
    case 'literal':
    case 'variable':
      return []
    case 'and':
    case 'or':
    case 'set':
      return expr.items
    case 'not':
    case 'neg':
    case 'isEmpty':
      return [expr.arg]
    case 'binary':
      return [expr.left, expr.right]
    case 'attribute':
    case 'has':
    case 'like':
      return [expr.of]
    case 'is':
      return expr.in === undefined ? [expr.of] : [expr.of, expr.in]
    case 'if':
      return [expr.test, expr.yes, expr.no]
    case 'record':
      return expr.fields.map(([, value]) => value)
    case 'call':
      return expr.args
  }
}

function link(policy: Policy, values: Readonly<Partial<Record<Slot, unknown>>>): Policy {
  const fill = (at: Head['eq']): Head['eq'] => (typeof at === 'string' ? readUid(values[at]) : at)
  const head = ({ eq, is, in: group }: Head): Head => ({ eq: fill(eq), is, in: fill(group) })
  return { ...policy, principal: head(policy.principal), resource: head(policy.resource) }
}

/** What one decision gathers. */
type Run = {
  permits: Rule[] | undefined
  forbids: Rule[] | undefined
  failed: { rule: Rule; message: string }[] | undefined
  seen: Set<Rule> | undefined
}

class Compiled implements CompiledPolicies {
  readonly size: number
  readonly #finder: Finder
  readonly #schema: Schema | undefined

  constructor(rules: readonly Rule[], index: boolean | 'deep', schema: Schema | undefined) {
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
    const run: Run = { permits: undefined, forbids: undefined, failed: undefined, seen: undefined }
    find(this.#finder, env, judge, run)
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

function judge(rule: Rule, env: Env, run: Run): void {
  if (rule.isRepeated) {
    run.seen ??= new Set()
    if (run.seen.has(rule)) return
    run.seen.add(rule)
  }
  const result = evaluate(rule, env)
  if (result === false) return
  if (result === true) {
    if (rule.isForbid) (run.forbids ??= []).push(rule)
    else (run.permits ??= []).push(rule)
    return
  }
  const { message } = typeof result === 'object' && result.kind === 0 ? result : typeError('bool', result)
  run.failed ??= []
  run.failed.push({ rule, message })
}

function idsOf(rules: Rule[]): string[] {
  if (rules.length > 1) rules.sort((a, b) => a.position - b.position)
  return rules.map(({ id }) => id)
}

function errorsOf(failed: { rule: Rule; message: string }[]): Decided['errors'] {
  if (failed.length > 1) failed.sort((a, b) => a.rule.position - b.rule.position)
  return failed.map(({ rule, message }) => ({ policy: rule.id, message }))
}
