/**
 * What of the record is told to others: each entry by which Writ takes something away is one event about whom it was taken
 * from.
 *
 * @module
 */
import type { EntityRef } from '../../../model/entity.ts'
import { parseRef } from '../../../model/entity.ts'
import type { Json } from '../../../model/canonical.ts'
import type { SignalEvent, StreamStatus } from '../../../model/signal.ts'
import type { Store } from '../../../store/port.ts'

/** An entry of the log, parsed. */
export type Entry = Readonly<Record<string, Json>>

/** `listener`: for that one alone; about its stream and nobody. */
export type Told =
  | Readonly<{ event: SignalEvent; subject: EntityRef; listener?: undefined }>
  | Readonly<{ event: SignalEvent; listener: string; subject?: undefined }>

/** What the entry of that kind says, or nothing that concerns others. */
export async function toldBy(entry: Entry, store: Pick<Store, 'read'>): Promise<Told | undefined> {
  const text = (name: string): string | undefined => {
    const value = entry[name]
    return typeof value === 'string' ? value : undefined
  }
  const about = (ref: unknown, event: SignalEvent): Told | undefined => {
    const subject = typeof ref === 'string' ? parseRef(ref) : undefined
    return subject === undefined ? undefined : { event, subject }
  }
  const refs = Array.isArray(entry['refs']) ? (entry['refs'] as readonly Json[]) : []
  switch (entry['kind']) {
    case 'session.ended':
      return about(text('person'), { kind: 'session-revoked' })
    case 'subject.locked':
      return about(text('subject'), { kind: 'session-revoked' })
    case 'inventory.deleted': {
      const key = text('entity') ?? ''
      const entity = (await store.read([{ kind: 'entity', id: key }])).get('entity', key)?.value
      // things have no sessions
      return entity === undefined || entity.kind === 'resource' || entity.kind === 'group'
        ? undefined
        : about(key, { kind: 'session-revoked' })
    }
    case 'key.revoked':
      return about(refs[1], { kind: 'credential-change', credential: 'api-key', change: 'revoke' })
    case 'passkey.removed': {
      const id = text('passkey') ?? ''
      const passkey = (await store.read([{ kind: 'passkey', id }])).get('passkey', id)?.value
      const isPlatform = passkey?.transports.includes('internal') !== false
      const credential = isPlatform ? 'fido2-platform' : 'fido2-roaming'
      return about(text('person'), { kind: 'credential-change', credential, change: 'delete' })
    }
    case 'credential.absent': {
      const id = text('credential') ?? ''
      const grantId =
        (await store.read([{ kind: 'credential', id }])).get('credential', id)?.value.grant ?? ''
      const grant = (await store.read([{ kind: 'grant', id: grantId }])).get('grant', grantId)?.value
      if (grant === undefined) return undefined
      const event: SignalEvent = { kind: 'credential-change', credential: 'password', change: 'revoke' }
      return { event, subject: { type: grant.subject.type, id: grant.subject.id } }
    }
    case 'token.revoked':
      return about(refs[1], {
        kind: 'token-claims-change',
        claims: { jti: text('token') ?? '', active: false },
      })
    case 'grant.ended':
      // what ends by itself was never more
      return text('end') === 'revoked'
        ? about(refs[1], {
            kind: 'token-claims-change',
            claims: { writ_grant: text('grant') ?? '', active: false },
          })
        : undefined
    case 'signal.verify': {
      const state = text('state')
      const event: SignalEvent = { kind: 'verification', ...(state === undefined ? {} : { state }) }
      return { event, listener: text('listener') ?? '' }
    }
    case 'signal.stream': {
      const reason = text('reason')
      const status = (text('status') ?? 'enabled') as StreamStatus
      const event: SignalEvent = {
        kind: 'stream-updated',
        status,
        ...(reason === undefined ? {} : { reason }),
      }
      return { event, listener: text('listener') ?? '' }
    }
    default:
      return undefined
  }
}

/** Kinds of entries that are looked at; everything else is passed over unread. */
export const TELLING = [
  'session.ended',
  'subject.locked',
  'inventory.deleted',
  'key.revoked',
  'passkey.removed',
  'credential.absent',
  'token.revoked',
  'grant.ended',
  'signal.verify',
  'signal.stream',
] as const
