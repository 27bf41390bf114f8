/**
 * AuthZEN's nouns and the inventory behind them.
 *
 * @module
 */
import type { Json } from './canonical.ts'
import type { Instant } from './time.ts'

/** A subject or resource by name, e.g. `{ type: 'Agent', id: 'migrator' }`. */
export type EntityRef = Readonly<{ type: string; id: string }>

/** Properties as sent on the wire: plain JSON, bounded by the door. */
export type Properties = Readonly<Record<string, Json>>

export type Subject = EntityRef & Readonly<{ properties?: Properties }>
export type Action = Readonly<{ name: string; properties?: Properties }>
export type Resource = EntityRef & Readonly<{ properties?: Properties }>

/** What a subject is. Only a `human` can be a root, and only a human can approve. */
export type SubjectKind = 'human' | 'workload' | 'agent' | 'group' | 'resource'

/** 1 low, 2 moderate, 3 high, 4 critical. What nobody registered counts as critical. */
export type Sensitivity = 1 | 2 | 3 | 4

export const sensitivityNames = ['low', 'moderate', 'high', 'critical'] as const

/**
 * One line of the inventory: a subject, resource, group or role. `owner` is a personal owner (a human root), `team` a
 * group whose members own it together; a person with an owner is another name of that one. `generation` rises when an identity is deleted and made again, so that the new
 * one inherits nothing; `locked` ends and refuses everything under it.
 */
export type Entity = Readonly<{
  type: string
  id: string
  kind: SubjectKind
  name?: string
  owner?: EntityRef
  team?: EntityRef
  /** Somebody else's: policies read it as `third_party`. */
  thirdParty?: boolean
  /** Where it belongs, e.g. `production`: policies read it as `environment`. */
  environment?: string
  sensitivity: Sensitivity
  parents: readonly EntityRef[]
  attrs: Properties
  generation: number
  /** When it was made again after it had been deleted: what was proved of the earlier one before is worth nothing (B34). */
  remadeAt?: Instant
  /** After this instant the subject has no authority. */
  endsAt?: Instant
  locked?: Readonly<{ reason: string; at: Instant; until?: Instant }>
  /** Deleted entities keep their line, so that a generation is never used twice. */
  deletedAt?: Instant
}>

/** What is left out of an entity that exists stays as it is; `null` takes it away. */
export type EntityInput = Readonly<{
  type: string
  id: string
  kind?: SubjectKind
  name?: string
  owner?: EntityRef | null
  team?: EntityRef | null
  thirdParty?: boolean | null
  environment?: string | null
  sensitivity?: Sensitivity
  parents?: readonly EntityRef[]
  attrs?: Properties
  /** After this instant the subject has no authority (law 3: its subject's end). */
  endsAt?: Instant | null
}>

/** `Agent::"migrator"` as a key: injective, because a type never holds `/`. */
export function refKey(ref: EntityRef): string {
  return `${ref.type}/${ref.id}`
}

/**
 * The reference in `Agent/migrator`; `undefined` when it has no type or id. The id may hold further slashes.
 */
export function parseRef(text: string): EntityRef | undefined {
  const cut = text.indexOf('/')
  if (cut < 1 || cut === text.length - 1) return undefined
  return { type: text.slice(0, cut), id: text.slice(cut + 1) }
}

export function sameRef(a: EntityRef, b: EntityRef): boolean {
  return a.type === b.type && a.id === b.id
}

/** The type of people. */
export const PERSON = 'Person'

/** What an entity is when nobody said it, by the name of its type. */
export function defaultKind(type: string): SubjectKind {
  if (type === PERSON) return 'human'
  if (type === 'Group' || type === 'Role') return 'group'
  if (/agent/i.test(type)) return 'agent'
  return /^(service|workload|pipeline|job)/i.test(type) ? 'workload' : 'resource'
}

/** Whether this identity may have no authority at `now`: it was deleted, is locked or past its end. */
export function isOver(entity: Entity | undefined, now: Instant): boolean {
  if (entity === undefined) return false
  const isLocked = entity.locked !== undefined && now < (entity.locked.until ?? Infinity)
  return entity.deletedAt !== undefined || isLocked || now >= (entity.endsAt ?? Infinity)
}
