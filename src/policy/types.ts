/**
 * The nouns of policy evaluation. `principal` is Cedar's word and stays inside this folder.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Obligations as GrantObligations } from '../model/grant.ts'
import type { Instant } from '../model/time.ts'

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
  reauth: boolean
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
  proof: Proof
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

/** A value that a clause read: missing for what is absent, `unknown` for what nobody could say. */
export type ActualValue = Readonly<{ path: string; value?: Json; unknown?: true }>

/**
 * What a clause asks of one value, e.g. `{ path: 'context.amount', operator: '<=', value: 100 }`; `has` needs no value.
 * Only where the clause is such a comparison; a negated one is turned around.
 */
export type RequiredValue = Readonly<{
  path: string
  operator:
    | '=='
    | '!='
    | '<'
    | '<='
    | '>'
    | '>='
    | 'in'
    | 'is'
    | 'has'
    | 'lacks'
    | 'like'
    | 'contains'
    | 'one of'
  value?: Json
}>

/**
 * One part of a policy that must hold: the head's word on principal, action or resource (`scope`), a condition, or one
 * conjunct of one. `any` holds the parts of a disjunction, of which one must hold. Lines and columns start at 1.
 */
export type ClauseResult = Readonly<{
  kind: 'scope' | 'when' | 'unless'
  text: string
  line: number
  column: number
  endLine: number
  endColumn: number
  status: 'holds' | 'fails' | 'errors' | 'unknown'
  message?: string
  actual: readonly ActualValue[]
  required?: RequiredValue
  any?: readonly ClauseResult[]
}>

/** Which policy, where it stands, and its clauses with what they read. */
export type RuleResult = Readonly<{
  policy: string
  file: string
  line: number
  effect: Effect
  clauses: readonly ClauseResult[]
}>

/**
 * For operators only: it names rules and values. Made where the decision is made, of what was read then.
 * `determining` are the policies that decided, or errored into the decision; `fired` are its forbids, each with the
 * clauses that made it fire; `nearest` are permits in scope that do not apply, those with the fewest clauses in the way
 * first, at most three; if none is in scope, permits on the action, with what their heads say of principal and resource
 * (`scope` clauses and no others); and none at all if a permit applies and is stopped by a forbid. `inScope` counts the
 * policies whose head matches.
 */
export type Explanation = Readonly<{
  determining: readonly Readonly<{ policy: string; file: string; line: number; effect: Effect }>[]
  fired: readonly RuleResult[]
  nearest: readonly RuleResult[]
  inScope: number
  /** Why no policy could apply at all, as in the evaluation. */
  mismatch?: string
}>

/**
 * Evidence that is present or assumed: approvals by pool, whether the attempt is justified, and whether every person of
 * its chain has proved anew, for this statement, that it is them.
 */
export type Proof = Readonly<{
  approvals: Readonly<Record<string, number>>
  justification: boolean
  reauth: boolean
}>

export const NO_PROOF: Proof = { approvals: {}, justification: false, reauth: false }

/** A query taken through the schema once, to be evaluated with whatever evidence. Valid as long as nobody changes it. */
export interface Asked {
  evaluate(proof: Proof): Evaluation
  explain(proof: Proof): Explanation
}

/**
 * What an attempt with one side open could be permitted on (or by): if `any`, whatever there is of the type; else only
 * those `named`, and those in or below what `below` names. Keys are as `uidText` spells them. Never too little.
 */
export type Reach = Readonly<{ any: boolean; named: ReadonlySet<string>; below: ReadonlySet<string> }>

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
  ask(query: Omit<Query, 'proof'>): Asked
  /** `ask` and `evaluate` in one. */
  evaluate(query: Query): Evaluation
  /** `ask` and `explain` in one. */
  explain(query: Query): Explanation
  /**
   * The first instant after `from` and before `until` at which a policy in scope compares the time, or what grows with it,
   * with another result than at `from`; `undefined` if there is none. `queryAt` is the same query then.
   */
  turnsAt(queryAt: (at: Instant) => Omit<Query, 'proof'>, from: Instant, until: Instant): Instant | undefined
  /** Every policy in scope clause by clause, whatever came of it: what tests have covered is told from it. */
  examine(query: Query): readonly RuleResult[]
  /** What the permits of the set leave open on the side that `head` lacks, among entities of `type`. */
  reach(
    head: Readonly<{ action: EntityUid } & ({ principal: EntityUid } | { resource: EntityUid })>,
    type: string,
    entities: readonly EntityData[],
  ): Reach
}

/** `Agent::"migrator"`: how Cedar spells it, and an injective key. */
export function uidText(uid: EntityUid): string {
  return `${uid.type}::${JSON.stringify(uid.id)}`
}

export function sameUid(a: EntityUid, b: EntityUid): boolean {
  return a.type === b.type && a.id === b.id
}
