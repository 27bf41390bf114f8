/**
 * The nouns of policy evaluation. `principal` is Cedar's word and stays inside this folder.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Obligations as GrantObligations } from '../model/grant.ts'

/** A Cedar entity by name, e.g. `{ type: 'Agent', id: 'migrator' }`. */
export type EntityUid = Readonly<{ type: string; id: string }>

/**
 * One entity as policy sees it. `attrs` is plain JSON, typed by the schema: extension values are strings
 * (`"2026-11-22T10:00:00Z"`, `"10.0.0.0/8"`), entities are `Person::"ada"` or `{ type, id }`. Treated as immutable: what
 * was computed for an object is kept for as long as the object lives.
 */
export type EntityData = Readonly<{
  uid: EntityUid
  attrs: Readonly<Record<string, Json>>
  parents: readonly EntityUid[]
}>

/** Cedar files; `schema` is Cedar schema syntax, or Cedar's JSON schema when its text starts with `{`. */
export type PolicySource = Readonly<{
  policies: readonly Readonly<{ name: string; text: string }>[]
  schema?: Readonly<{ name: string; text: string }>
}>

export type Effect = 'permit' | 'forbid'

/** A constraint of a policy head: everything (`{}`), one entity, a type, below an entity, or both of the last. */
export type HeadConstraint = Readonly<{ eq?: EntityUid; is?: string; in?: EntityUid }>

/** The head of a policy. `action.oneOf` also matches actions below the named ones unless `exact`. */
export type Scope = Readonly<{
  principal: HeadConstraint
  action: Readonly<{ any: true }> | Readonly<{ any: false; exact: boolean; oneOf: readonly EntityUid[] }>
  resource: HeadConstraint
}>

/** Obligations of the permits that decided, strictest winning; `bindingDeclared` says whether any of them said a binding. */
export type Obligations = GrantObligations & Readonly<{ bindingDeclared: boolean }>

/** What one policy reads, from its text alone; an over-approximation, never less than an evaluation could touch. */
export type PolicyReads = Readonly<{
  facts: ReadonlySet<string>
  /** Top-level context keys that a PEP sends. */
  contextKeys: ReadonlySet<string>
  /** Counts worth trying per pool: the literals it is compared with, ascending. */
  approvals: ReadonlyMap<string, readonly number[]>
  justification: boolean
}>

export type PolicyInfo = Readonly<{
  id: string
  file: string
  line: number
  effect: Effect
  annotations: Readonly<Record<string, string>>
  scope: Scope
  reads: PolicyReads
  /** Whether its action clause names an action of the `Writ` namespace. */
  governsWrit: boolean
  text: string
}>

/**
 * What is asked of a policy set. `context` is what the PEP sent, `action_properties` included; `live` are facts by name,
 * an absent optional one being known absent; `unknown` names the facts that could not be observed. `entities` holds
 * principal, resource and all their ancestors, as far as they are registered.
 */
export type Query = Readonly<{
  principal: EntityUid
  action: EntityUid
  resource: EntityUid
  context: Readonly<Record<string, Json>>
  live: Readonly<Record<string, Json>>
  unknown: ReadonlySet<string>
  proof: Readonly<{ approvals: Readonly<Record<string, number>>; justification: boolean }>
  entities: readonly EntityData[]
}>

/** A policy in scope that could not be decided: it reads something unknown, or Cedar failed on it. */
export type PolicyError = Readonly<{
  policy: string
  effect: Effect
  cause: 'unknown' | 'error'
  message: string
}>

/**
 * `determining` are the permits that permit, or the forbids that fired; errored forbids deny too and stand in `errors`.
 * `dropped` are undeclared context keys; `unknownInputs` are paths whose value the schema type cannot hold.
 */
export type Evaluation = Readonly<{
  decision: 'permit' | 'deny'
  determining: readonly string[]
  errors: readonly PolicyError[]
  obligations: Obligations
  dropped: readonly string[]
  unknownInputs: readonly string[]
  /** A forbid fired or errored. */
  forbidden: boolean
  /** Every forbid that fired or errored is annotated `@explain`. */
  explainable: boolean
  /** Why no policy could apply at all: the schema does not know this action, or not with these types. */
  mismatch?: string
}>

/** One condition of a policy, or one conjunct of it. */
export type ClauseResult = Readonly<{
  kind: 'when' | 'unless'
  text: string
  line: number
  column: number
  status: 'holds' | 'fails' | 'errors'
  message?: string
  /** The values it read, where they are simple; `value` is missing for what is absent. */
  actual: readonly Readonly<{ path: string; value?: Json; unknown?: boolean }>[]
}>

/** For operators only: it names rules and values. */
export type Explanation = Readonly<{
  evaluation: Evaluation
  /** The policies that decided (or errored into the decision), with their text. */
  determining: readonly PolicyInfo[]
  /** Ids of all policies whose head matches. */
  inScope: readonly string[]
  /** Of the permits in scope that do not apply, the one with the fewest clauses in the way. */
  nearest?: Readonly<{ policy: PolicyInfo; clauses: readonly ClauseResult[] }>
}>

export type Head = Readonly<{ principal: EntityUid; action: EntityUid; resource: EntityUid }>

/** A loaded, validated, immutable set of policies. */
export interface PolicySet {
  /** Content hash of policies and user schema, independent of the order of files. */
  readonly version: string
  readonly source: PolicySource
  /** The schema that everything is checked against, as Cedar text. */
  readonly schemaText: string
  /** The part of it that is not Writ's: what the user wrote, or could save to go on from what was derived. */
  readonly ownSchemaText: string
  /** Whether it was derived from inventory and policies because the user gave none. */
  readonly derivedSchema: boolean
  /** Every kind of approval that some policy on `Writ::Action::"approve"` says who may give. */
  readonly pools: readonly string[]
  readonly policies: readonly PolicyInfo[]
  /** Every action that the schema knows, Writ's own too, with the types it can be tried by and on. */
  readonly actions: readonly Readonly<{
    uid: EntityUid
    principals: ReadonlySet<string>
    resources: ReadonlySet<string>
  }>[]
  /** What the policies whose head may match `head` read. */
  readsFor(head: Head, entities: readonly EntityData[]): PolicyReads
  /** @throws {WritError} `ERR_INPUT_INVALID` for keys that Cedar would read as references, and ill-formed names. */
  evaluate(query: Query): Evaluation
  explain(query: Query): Explanation
}

/** `Agent::"migrator"`: how Cedar spells it, and an injective key. */
export function uidText(uid: EntityUid): string {
  return `${uid.type}::${JSON.stringify(uid.id)}`
}

export function sameUid(a: EntityUid, b: EntityUid): boolean {
  return a.type === b.type && a.id === b.id
}
