/**
 * Everything the store keeps, and the indexes under which it is found. Pure, so that every engine indexes alike.
 *
 * @module
 */
import type { ApiKey, Invite, Meta, PolicyVersion, Replay, Session, TargetRecord } from './access.ts'
import { owedCallbacks } from './callback.ts'
import type { Credential } from './credential.ts'
import { isAtTarget, namesAtTarget } from './credential.ts'
import type { Flag } from './action.ts'
import type { Entity } from './entity.ts'
import { refKey } from './entity.ts'
import type { Fact } from './fact.ts'
import type { Grant } from './grant.ts'
import type { Account, Delegation, Passkey, SpentProof } from './identity.ts'
import type { AccessRequest } from './request.ts'
import type { Signer } from './signer.ts'
import type { Lock } from './lock.ts'
import type { Task } from './task.ts'
import { isEnded } from './task.ts'
import type { Instant, Millis } from './time.ts'
import { MINUTE } from './time.ts'
import type { Client, Token } from './token.ts'

export type Records = {
  task: Task
  grant: Grant
  credential: Credential
  request: AccessRequest
  /** Under `refKey`. */
  entity: Entity
  key: ApiKey
  invite: Invite
  session: Session
  policy: PolicyVersion
  target: TargetRecord
  replay: Replay
  signer: Signer
  flag: Flag
  token: Token
  client: Client
  proof: SpentProof
  /** Under `accountId`. */
  account: Account
  delegation: Delegation
  passkey: Passkey
  fact: Fact
  /** Under `lockId`. */
  lock: Lock
  meta: Meta
}

export type Kind = keyof Records

export const kinds = [
  'task',
  'grant',
  'credential',
  'request',
  'entity',
  'key',
  'invite',
  'session',
  'policy',
  'target',
  'replay',
  'signer',
  'flag',
  'token',
  'client',
  'proof',
  'account',
  'delegation',
  'passkey',
  'fact',
  'lock',
  'meta',
] as const satisfies readonly Kind[]

type Index<K extends Kind> = Readonly<{ kind: K; values: (value: Records[K]) => readonly string[] }>

const index = <K extends Kind>(kind: K, values: (value: Records[K]) => readonly string[]): Index<K> => ({
  kind,
  values,
})

/** What ends by itself is found under the span of time in which it ends, so that it is forgotten without being searched for. */
export const ENDING_SPAN: Millis = 5 * MINUTE
export const endingSpan = (at: Instant): string => String(Math.floor(at / ENDING_SPAN))

/** Each index lists a record under zero or more values. */
export const indexes = {
  'task.live': index('task', (t) => (isEnded(t) ? [] : ['live'])),
  'task.parent': index('task', (t) => (t.parent === undefined ? [] : [t.parent])),
  'task.subject': index('task', (t) => (isEnded(t) ? [] : [refKey(t.subject)])),
  /** Under those behind its subject. */
  'task.behind': index('task', (t) => (isEnded(t) ? [] : t.chain.slice(1).map(refKey))),
  /** Under the calendar that its window is of. */
  'task.calendar': index('task', (t) =>
    isEnded(t) || t.window?.calendar === undefined ? [] : [t.window.calendar.name],
  ),
  'task.delegation': index('task', (t) => (isEnded(t) || t.delegation === undefined ? [] : [t.delegation])),
  /** `active` and, until its credentials are absent, `ended`. */
  'grant.state': index('grant', (g) => (g.state === 'closed' ? [] : [g.state])),
  'grant.task': index('grant', (g) => (g.task === undefined ? [] : [g.task])),
  'grant.subject': index('grant', (g) => (g.state === 'active' ? g.chain.map(refKey) : [])),
  'grant.delegation': index('grant', (g) =>
    g.state === 'active' && g.delegation !== undefined ? [g.delegation] : [],
  ),
  'credential.grant': index('credential', (c) => [c.grant]),
  'credential.open': index('credential', (c) => (isAtTarget(c) ? ['open'] : [])),
  'credential.state': index('credential', (c) => (c.state === 'absent' ? [] : [c.state])),
  'credential.target': index('credential', (c) => (isAtTarget(c) ? [c.target] : [])),
  /** Under target and a name that its sessions have there, also those that are absent: a target's log comes late. */
  'credential.name': index('credential', (c) => namesAtTarget(c).map((name) => `${c.target}\n${name}`)),
  'request.pending': index('request', (r) => (r.status === 'pending' ? ['pending'] : [])),
  'request.approval': index('request', (r) => (r.approval === undefined ? [] : [r.approval])),
  'request.task': index('request', (r) => (r.task === undefined ? [] : [r.task])),
  /** Identical open asks of one requester are merged into one. */
  'request.same': index('request', (r) =>
    r.status === 'pending' ? [`${refKey(r.requester)}\n${r.digest}`] : [],
  ),
  /** Under those that its requester acts for. */
  'request.behind': index('request', (r) => (r.status === 'pending' ? Object.keys(r.behind ?? {}) : [])),
  'request.requester': index('request', (r) => (r.status === 'pending' ? [refKey(r.requester)] : [])),
  'request.delegation': index('request', (r) =>
    r.status === 'pending' && r.delegation !== undefined ? [r.delegation] : [],
  ),
  'request.callback': index('request', (r) => (owedCallbacks(r).length === 0 ? [] : ['owed'])),
  'entity.type': index('entity', (e) => (e.deletedAt === undefined ? [e.type] : [])),
  'entity.parent': index('entity', (e) => (e.deletedAt === undefined ? e.parents.map(refKey) : [])),
  'entity.kind': index('entity', (e) => (e.deletedAt === undefined ? [e.kind] : [])),
  'key.hash': index('key', (k) => [k.hash]),
  'key.subject': index('key', (k) => [refKey(k.subject)]),
  'session.person': index('session', (s) => (s.endedAt === undefined ? [refKey(s.person)] : [])),
  'invite.open': index('invite', (i) => (i.usedAt === undefined ? ['open'] : [])),
  'policy.state': index('policy', (p) => [p.state]),
  'target.all': index('target', () => ['all']),
  'flag.open': index('flag', (f) => (f.resolvedAt === undefined ? ['open'] : [])),
  'token.ends': index('token', (t) => [endingSpan(t.endsAt)]),
  'proof.ends': index('proof', (p) => [endingSpan(p.endsAt)]),
  'account.person': index('account', (a) => (a.endedAt === undefined ? [refKey(a.person)] : [])),
  'passkey.person': index('passkey', (p) => (p.endedAt === undefined ? [refKey(p.person)] : [])),
  /** Under both parties, until it is revoked or was seen to be over. */
  'delegation.party': index('delegation', (d) =>
    d.revokedAt === undefined && d.sweptAt === undefined ? [refKey(d.delegator), refKey(d.actor)] : [],
  ),
  'delegation.ends': index('delegation', (d) =>
    d.revokedAt === undefined && d.sweptAt === undefined ? [endingSpan(d.endsAt)] : [],
  ),
  /** All that is known about one thing, and all of one name. */
  'fact.about': index('fact', (f) => [f.about]),
  'fact.name': index('fact', (f) => [f.name]),
  /** Until somebody takes it away; those that are over too. */
  'lock.all': index('lock', (l) => (l.endedAt === undefined ? ['all'] : [])),
  'client.all': index('client', () => ['all']),
  /** Keys by use, those that are retired too. */
  'signer.use': index('signer', (s) => [s.use]),
} as const

export type IndexName = keyof typeof indexes
export type IndexKind<I extends IndexName> = (typeof indexes)[I]['kind']
