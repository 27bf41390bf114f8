/**
 * A permit clause by clause: what holds, what fails, with the values it read. For operators, on demand.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Json } from '../model/canonical.ts'
import type { Annotations } from './annotations.ts'
import type { PlacedPolicy } from './derive.ts'
import type { EngineAnswer } from './evaluator.ts'
import { EngineFailure, evaluateOnce } from './evaluator.ts'
import type { Expression } from './expression.ts'
import { chainOf, children, readPolicy } from './expression.ts'
import type { Prepared } from './inputs.ts'
import type { Reads, Unknown } from './reads.ts'
import { entityFieldsNone, isRead, readsOf, unknownLabel } from './reads.ts'
import { clauses } from './scan.ts'
import type { ClauseResult, Query } from './types.ts'
import { uidText } from './types.ts'

type Explained = PlacedPolicy & Readonly<{ annotations: Annotations; reads: Reads }>

/** Each condition of the policy, or conjunct of one, by itself. */
export function explainPermit(
  policy: Explained,
  query: Query,
  prepared: Prepared,
  unknowns: readonly Unknown[],
): ClauseResult[] {
  const { file, slice } = policy
  const cut = clauses(slice).map(({ kind, span }) => ({
    kind,
    span,
    text: file.text.slice(span.start, span.end),
  }))
  const alone = (text: string) => `permit(principal, action, resource) when { ${text} };`
  const policies = Object.fromEntries(cut.map(({ text }, index) => [String(index), alone(text)]))
  let answer: EngineAnswer
  try {
    answer = evaluateOnce(policies, prepared.request)
  } catch (error) {
    if (!(error instanceof EngineFailure)) throw error
    answer = {
      decision: 'deny',
      reason: [],
      errors: cut.map((_, index) => ({ policy: String(index), message: error.message })),
    }
  }
  return cut.map(({ kind, span, text }, index): ClauseResult => {
    const parsed = parseClause(alone(text))
    const reads = parsed === undefined ? policy.reads : readsOf(parsed.policy, entityFieldsNone)
    const hidden = unknowns.filter((one) => isRead(reads, one))
    const failed = answer.errors.find(({ policy: id }) => id === String(index))?.message
    const isTrue = answer.reason.includes(String(index))
    const message =
      hidden.length > 0
        ? `${hidden.map((one) => `\`${unknownLabel(one)}\``).join(', ')} is unknown`
        : failed?.replace(/^error while evaluating policy `[^`]*`: /, '')
    return {
      kind,
      text,
      ...file.place(span.start),
      ...endOf(file.place(span.end)),
      status:
        hidden.length > 0
          ? 'unknown'
          : message !== undefined
            ? 'errors'
            : isTrue === (kind === 'when')
              ? 'holds'
              : 'fails',
      ...(message === undefined ? {} : { message }),
      actual: parsed === undefined ? [] : actual(parsed.body, query, prepared, unknowns),
    }
  })
}

const endOf = ({ line, column }: { line: number; column: number }) => ({ endLine: line, endColumn: column })

function parseClause(text: string) {
  const answer = cedar.policyToJson(text)
  if (answer.type === 'failure') return undefined
  const policy = readPolicy(answer.json)
  const [condition] = policy.conditions
  return condition === undefined ? undefined : { policy, body: condition.body }
}

/** Values of the attribute accesses in a clause, each once, at most sixteen. */
function actual(
  body: Expression,
  query: Query,
  prepared: Prepared,
  unknowns: readonly Unknown[],
): ClauseResult['actual'] {
  const found = new Map<string, { path: string; value?: Json; unknown?: true }>()
  const visit = (expression: Expression): void => {
    const chain = expression.op === 'attribute' ? chainOf(expression) : undefined
    const tested = expression.op === 'has' ? chainOf(expression.of) : undefined
    const root = chain?.root ?? tested?.root
    const names =
      chain?.names ??
      (tested === undefined ? [] : [...tested.names, ...(expression as { path: readonly string[] }).path])
    if (typeof root === 'string' && root !== 'action' && names.length > 0) {
      const path = [root, ...names].join('.')
      const unknown = unknowns.some((one) => {
        const label = one.kind === 'fact' ? `context.live.${one.name}` : unknownLabel(one)
        return path === label || path.startsWith(`${label}.`) || label.startsWith(`${path}.`)
      })
      const value = unknown ? undefined : lookup(root, names, query, prepared)
      if (!found.has(path))
        found.set(path, {
          path,
          ...(unknown ? { unknown: true as const } : value === undefined ? {} : { value }),
        })
      return
    }
    for (const child of children(expression)) visit(child)
  }
  visit(body)
  return [...found.values()].slice(0, 16)
}

function lookup(
  root: 'principal' | 'resource' | 'context',
  names: readonly string[],
  query: Query,
  { request }: Prepared,
): Json | undefined {
  const attributes = (uid: Readonly<{ type: string; id: string }>): CedarValueJson | undefined => {
    const key = uidText(uid)
    return request.entities.find((entity) => uidText(entity.uid as { type: string; id: string }) === key)
      ?.attrs
  }
  let at: CedarValueJson | undefined = root === 'context' ? request.context : attributes(query[root])
  for (const name of names) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return undefined
    const entity =
      '__entity' in at ? attributes((at as { __entity: { type: string; id: string } }).__entity) : at
    if (typeof entity !== 'object' || entity === null || !Object.hasOwn(entity, name)) return undefined
    at = (entity as Readonly<Record<string, CedarValueJson>>)[name]
  }
  return at === undefined ? undefined : natural(at)
}

/** A Cedar value as people write it. */
function natural(value: CedarValueJson): Json {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(natural)
  if ('__entity' in value) return uidText((value as { __entity: { type: string; id: string } }).__entity)
  if ('__extn' in value) return natural((value as { __extn: { arg: CedarValueJson } }).__extn.arg)
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, natural(member)]))
}
