/**
 * Administration of Writ itself: inventory, keys, people, targets. Each is an attempt in the `Writ` namespace.
 *
 * @module
 */
import type { ApiKey, Caller, Invite, PepTrust, TargetRecord } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { PERSON, refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import { isIdentity, isTypeName } from '../model/name.ts'
import { Secret } from '../model/secret.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE } from '../model/time.ts'
import { ADMINISTRATORS } from '../decision/analyse.ts'
import { checkHierarchy, remade, toEntity } from '../identity/inventory.ts'
import { checkNames } from '../identity/names.ts'
import { KEY_PREFIX, newSecret, secretDigest, SESSION_PREFIX } from '../identity/secrets.ts'
import { newSession } from '../identity/people/session.ts'
import type { Page, Read, Transaction } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Access } from './grants.ts'
import type { Narrower } from './narrow.ts'
import { NOTHING } from './narrow.ts'
import { endTasks, findUnder } from '../lives/ending.ts'
import type { EntityInput } from './port.ts'
import type { Publishing } from './publish.ts'
import { everything } from './versions.ts'

/** Entities that one call may write. */
export const MAX_ENTITIES = 1_000

/** How long a one-time code lives. */
export const CODE_LIFE: Millis = 10 * MINUTE

/** People who get a code after a restore; administrators are few. */
const MOST_CODES = 16

export class Administration {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #narrower: Narrower
  readonly #publishing: Publishing

  constructor(
    deps: FlowDeps,
    parts: Readonly<{ attempts: Attempts; narrower: Narrower; publishing: Publishing }>,
  ) {
    this.#deps = deps
    this.#attempts = parts.attempts
    this.#narrower = parts.narrower
    this.#publishing = parts.publishing
  }

  async inventory(
    caller: Caller,
    query: { type?: string; after?: string; limit?: number },
  ): Promise<Page<Entity>> {
    await this.#mayRead(caller)
    const page = await this.#deps.store.list('entity', {
      ...(query.type === undefined ? {} : { index: 'entity.type' as const, value: query.type }),
      ...(query.after === undefined ? {} : { after: query.after }),
      limit: query.limit ?? 100,
    })
    return {
      items: page.items.map(({ value }) => value).filter((e) => e.deletedAt === undefined),
      next: page.next,
    }
  }

  /** Adds or replaces entities. A deleted one that comes back is a new generation and inherits nothing (B34). */
  async putEntities(caller: Caller, inputs: readonly EntityInput[]): Promise<readonly Entity[]> {
    if (inputs.length === 0) return []
    if (inputs.length > MAX_ENTITIES) {
      throw new WritError('ERR_TOO_LARGE', `one call writes at most ${MAX_ENTITIES} entities`)
    }
    const seen = new Set<string>()
    for (const input of inputs) {
      const key = refKey(input)
      if (seen.has(key)) throw new WritError('ERR_INPUT_INVALID', `\`${key}\` is listed twice`)
      seen.add(key)
      this.#checkEntity(input)
    }
    // asked before anything is loaded: what others send must not be worth the work, nor say what policies say
    if (!(await this.#attempts.may(caller, 'administer'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not change the inventory`)
    }
    const written: Entity[] = []
    await this.#publishing.exclusively(async () => {
      const all = await everything(this.#deps.store)
      for (const input of inputs) all.set(refKey(input), toEntity(input, all.get(refKey(input))))
      checkHierarchy(all, inputs.map(refKey))
      checkNames(all, inputs.map(refKey))
      const fitting = await this.#publishing.fits(all.values())
      await this.#attempts.administer(caller, 'administer', {
        also: {
          reads: [...inputs.map((input): Read => ({ kind: 'entity', id: refKey(input) })), ...fitting.reads],
          run: (tx) => {
            written.length = 0
            for (const input of inputs) {
              const key = refKey(input)
              const entity = toEntity(input, tx.get('entity', key)?.value, tx.now)
              tx.put('entity', key, entity)
              written.push(entity)
            }
            appendInBatches(tx, caller, written)
            fitting.note(tx)
            return undefined
          },
        },
      })
      fitting.adopt()
    })
    this.#deps.decision.givers.changed()
    return written
  }

  async deleteEntity(caller: Caller, ref: EntityRef): Promise<void> {
    const key = refKey(ref)
    if (!(await this.#attempts.may(caller, 'administer'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not change the inventory`)
    }
    const { store } = this.#deps
    const view = await store.read([
      { kind: 'entity', id: key },
      { index: 'entity.parent', value: key },
    ])
    const existing = view.get('entity', key)?.value
    if (existing === undefined || existing.deletedAt !== undefined) {
      throw new WritError('ERR_NOT_FOUND', `there is no \`${key}\` in the inventory`)
    }
    // members are so by their own word: they would still be in it, and in the next group of this name (B34)
    const members = existing.kind === 'group' ? view.scan('entity.parent', key).length : 0
    if (members > 0) {
      throw new WritError('ERR_CONFLICT', `\`${key}\` still has members, ${members} of them`, {
        hint: 'take them out of it first',
      })
    }
    await this.#narrower.narrow({
      barred: [{ kind: 'subject', id: key }],
      find: () => findUnder(store, key),
      reads: [{ kind: 'entity', id: key }],
      apply: (tx, below) => {
        const entity = tx.get('entity', key)?.value
        if (entity !== undefined && entity.deletedAt === undefined) {
          tx.put('entity', key, { ...entity, deletedAt: tx.now, generation: entity.generation + 1 })
          tx.append({ kind: 'inventory.deleted', refs: [key], entity: key, by: caller.id })
        }
        return endTasks(tx, below, below.tasks, 'cancelled', {
          reason: 'its subject was deleted',
          by: caller.id,
        })
      },
    })
    this.#deps.decision.givers.changed()
  }

  async createKey(
    caller: Caller,
    input: { name: string; subject: EntityRef; pep?: PepTrust; life?: Millis },
  ): Promise<Readonly<{ id: string; secret: Secret<string> }>> {
    const secret = newSecret(KEY_PREFIX, this.#deps.randomBytes)
    const id = this.#deps.decision.newId('key')
    const subject = { type: input.subject.type, id: input.subject.id }
    if (!isIdentity(subject.id))
      throw new WritError('ERR_INPUT_INVALID', '`subject` has characters no identity may have')
    await this.#attempts.administer(caller, 'administer', {
      also: {
        reads: [{ kind: 'entity', id: refKey(subject) }],
        run: (tx) => {
          const entity = tx.get('entity', refKey(subject))?.value
          if (entity === undefined || entity.deletedAt !== undefined) {
            throw new WritError('ERR_NOT_FOUND', `there is no \`${refKey(subject)}\` in the inventory`, {
              hint: 'register it first with `writ inventory apply`',
            })
          }
          if (entity.kind === 'human') {
            throw new WritError('ERR_FORBIDDEN', 'people do not get API keys', {
              hint: 'use `writ people invite`',
            })
          }
          tx.put('key', id, {
            id,
            hash: secretDigest(secret.expose()),
            name: input.name,
            subject,
            generation: entity.generation,
            ...(input.pep === undefined ? {} : { pep: input.pep }),
            createdBy: caller.id,
            createdAt: tx.now,
            ...(input.life === undefined ? {} : { endsAt: tx.now + input.life }),
          })
          tx.append({
            kind: 'key.created',
            refs: [id, refKey(subject)],
            key: id,
            name: input.name,
            subject: refKey(subject),
            by: caller.id,
            ...(input.pep === undefined ? {} : { pep: input.pep }),
          })
          return undefined
        },
      },
    })
    return { id, secret }
  }

  async keys(caller: Caller, query: { after?: string; limit?: number }): Promise<Page<ApiKey>> {
    if (!(await this.#attempts.may(caller, 'administer'))) await this.#mayRead(caller)
    const { after, limit = 100 } = query
    const page = await this.#deps.store.list('key', { limit, ...(after === undefined ? {} : { after }) })
    return { items: page.items.map(({ value }) => value), next: page.next }
  }

  /** Ends a key: what it asks from now on is refused, and what it obtained ends. */
  async revokeKey(caller: Caller, id: string): Promise<void> {
    const allowed =
      (await this.#attempts.may(caller, 'administer')) || (await this.#attempts.may(caller, 'revoke'))
    if (!allowed) throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not revoke keys`)
    await this.#narrower.narrow({
      barred: [{ kind: 'caller', id: `key:${id}` }],
      reads: [{ kind: 'key', id }],
      apply: (tx) => {
        const key = tx.get('key', id)?.value
        if (key === undefined) throw new WritError('ERR_NOT_FOUND', `there is no key \`${id}\``)
        if (key.revokedAt !== undefined) return NOTHING
        tx.put('key', id, { ...key, revokedAt: tx.now })
        tx.append({ kind: 'key.revoked', refs: [id, refKey(key.subject)], key: id, by: caller.id })
        return NOTHING
      },
    })
  }

  async invite(
    caller: Caller,
    input: { id: string; name?: string; groups?: readonly EntityRef[] },
  ): Promise<Readonly<{ code: Secret<string>; endsAt: Instant }>> {
    if (!isIdentity(input.id))
      throw new WritError('ERR_INPUT_INVALID', '`id` has characters no identity may have')
    const code = newCode(this.#deps)
    let endsAt = 0
    await this.#attempts.administer(caller, 'administer', {
      also: {
        reads: [],
        run: (tx) => {
          endsAt = putInvite(tx, code, {
            person: { type: PERSON, id: input.id },
            ...(input.name === undefined ? {} : { name: input.name }),
            purpose: 'invite',
            groups: input.groups ?? [],
            createdBy: caller.id,
          })
          return undefined
        },
      },
    })
    return { code, endsAt }
  }

  /**
   * A one-time code for the first administrator, only if none ever existed (`undefined` otherwise), or for `writ dev`.
   */
  async bootstrapCode(person: string, purpose: 'bootstrap' | 'dev'): Promise<Secret<string> | undefined> {
    const code = newCode(this.#deps)
    return this.#deps.store.commit({
      reads: [{ kind: 'meta', id: 'founded' }],
      run: (tx) => {
        if (purpose === 'bootstrap' && tx.get('meta', 'founded') !== undefined) return undefined
        putInvite(tx, code, {
          person: { type: PERSON, id: person },
          purpose,
          groups: [ADMINISTRATORS],
          createdBy: 'writ',
        })
        return code
      },
    })
  }

  /**
   * While a restore waits to be acknowledged: one-time codes for people who may administer, since all sessions of the
   * copy have ended and nobody could sign in otherwise.
   */
  async restoreCodes(): Promise<readonly Readonly<{ person: EntityRef; code: Secret<string> }>[]> {
    const { store, decision } = this.#deps
    if (!decision.barrier.restored) return []
    const codes: { person: EntityRef; code: Secret<string> }[] = []
    let after: string | undefined
    do {
      const page = await store.list('entity', {
        index: 'entity.type',
        value: PERSON,
        limit: 100,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value: person } of page.items) {
        const { type, id, generation } = person
        const caller: Caller = { id: 'writ', kind: 'session', subject: { type, id }, generation }
        if (codes.length >= MOST_CODES || !(await this.#attempts.may(caller, 'administer'))) continue
        codes.push({ person: { type, id }, code: newCode(this.#deps) })
      }
      after = codes.length < MOST_CODES ? page.next : undefined
    } while (after !== undefined)
    await store.commit({
      reads: [],
      run: (tx) => {
        for (const { person, code } of codes) {
          putInvite(tx, code, { person, purpose: 'restore', groups: [], createdBy: 'writ' })
        }
      },
    })
    return codes
  }

  /** @throws {WritError} `ERR_UNAUTHENTICATED` for wrong, used and late codes alike. */
  async redeem(
    text: string,
  ): Promise<Readonly<{ token: Secret<string>; person: EntityRef; endsAt: Instant }>> {
    const { store } = this.#deps
    const id = secretDigest(text.trim())
    const refused = (): WritError =>
      new WritError('ERR_UNAUTHENTICATED', 'this code is wrong, was used, or is too old', {
        hint: 'ask for a new one',
      })
    const view = await store.read([{ kind: 'invite', id }])
    const found = view.get('invite', id)?.value
    if (found === undefined || found.usedAt !== undefined || view.now >= found.endsAt) throw refused()
    const key = refKey(found.person)
    const token = newSecret(SESSION_PREFIX, this.#deps.randomBytes)
    const session = secretDigest(token.expose())
    const answer = await this.#publishing.exclusively(async () => {
      const prospective = await everything(this.#deps.store)
      prospective.set(key, enrolled(found, prospective.get(key)))
      for (const group of found.groups)
        prospective.set(refKey(group), prospective.get(refKey(group)) ?? groupOf(group))
      checkHierarchy(prospective, [key])
      checkNames(prospective, [key])
      const fitting = await this.#publishing.fits(prospective.values())
      const redeemed = await store.commit({
        reads: [
          { kind: 'invite', id },
          { kind: 'entity', id: key },
          { kind: 'meta', id: 'founded' },
          ...found.groups.map((group): Read => ({ kind: 'entity', id: refKey(group) })),
          ...fitting.reads,
        ],
        run: (tx) => {
          const invite = tx.get('invite', id)?.value
          if (invite === undefined || invite.usedAt !== undefined || tx.now >= invite.endsAt) throw refused()
          // a second bootstrap code must not make a second first administrator
          if (invite.purpose === 'bootstrap' && tx.get('meta', 'founded') !== undefined) throw refused()
          // an administrator who is in lets others in by invitation, where the record says who did
          if (invite.purpose === 'restore' && !this.#deps.decision.barrier.restored) throw refused()
          const existing = tx.get('entity', key)?.value
          if (existing?.locked !== undefined && tx.now < (existing.locked.until ?? Infinity)) throw refused()
          const person = enrolled(invite, existing, tx.now)
          tx.put('invite', id, { ...invite, usedAt: tx.now })
          tx.put('entity', key, person)
          const groups: Entity[] = []
          for (const group of invite.groups) {
            if (tx.get('entity', refKey(group)) !== undefined) continue
            tx.put('entity', refKey(group), groupOf(group))
            groups.push(groupOf(group))
          }
          if (['bootstrap', 'dev'].includes(invite.purpose) && tx.get('meta', 'founded') === undefined) {
            tx.put('meta', 'founded', { by: key, at: tx.now })
          }
          const begun = newSession(session, invite.person, person.generation, tx.now, { provider: 'code' })
          tx.put('session', session, begun)
          tx.append({
            kind: 'person.enrolled',
            refs: [key, ...groups.map(refKey)],
            person: key,
            purpose: invite.purpose,
            groups: person.parents.map(refKey),
            invited_by: invite.createdBy,
            session,
            entities: [person, ...groups],
          })
          fitting.note(tx)
          return { token, person: invite.person, endsAt: begun.endsAt }
        },
      })
      fitting.adopt()
      return redeemed
    })
    this.#deps.decision.givers.changed()
    return answer
  }

  async signOut(caller: Caller): Promise<void> {
    if (caller.kind !== 'session') throw new WritError('ERR_FORBIDDEN', 'only a session can sign out')
    const id = caller.id.slice('session:'.length)
    await this.#narrower.narrow({
      barred: [{ kind: 'caller', id: caller.id }],
      reads: [{ kind: 'session', id }],
      apply: (tx) => {
        const session = tx.get('session', id)?.value
        if (session === undefined || session.endedAt !== undefined) return NOTHING
        tx.put('session', id, { ...session, endedAt: tx.now })
        tx.append({
          kind: 'session.ended',
          refs: [refKey(session.person)],
          session: id,
          person: refKey(session.person),
        })
        return NOTHING
      },
    })
  }

  async addTarget(
    caller: Caller,
    input: { id: string; kind: string; config: Json; admin: { user: string; password: string } },
  ): Promise<Readonly<{ id: string; notices: readonly string[]; findings: readonly Json[] }>> {
    const access = accessOf(input.id, input.config)
    const config = {
      ...(input.config as Record<string, Json>),
      access: access as unknown as Json,
      user: input.admin.user,
    }
    const record: TargetRecord = {
      id: input.id,
      kind: input.kind,
      config,
      sealed: this.#deps.seal(`target/${input.id}`, input.admin.password),
      createdBy: caller.id,
      createdAt: 0,
    }
    if (!(await this.#attempts.may(caller, 'administer'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not add targets`)
    }
    const target = this.#deps.targets.open(record)
    const findings = await target.check()
    const fatal = findings.find((finding) => finding.level === 'error')
    if (fatal !== undefined) {
      await target.close()
      throw new WritError(
        'ERR_TARGET_REFUSED',
        fatal.message.startsWith('target `') ? fatal.message : `target \`${input.id}\`: ${fatal.message}`,
        fatal.hint === undefined ? {} : { hint: fatal.hint },
      )
    }
    await this.#attempts.administer(caller, 'administer', {
      also: {
        reads: [
          { kind: 'target', id: input.id },
          { index: 'credential.target', value: input.id },
        ],
        run: (tx) => {
          const existing = tx.get('target', input.id)?.value
          if (existing !== undefined && tx.scan('credential.target', input.id).length > 0) {
            throw new WritError(
              'ERR_CONFLICT',
              `target \`${input.id}\` has credentials and cannot be replaced now`,
              {
                hint: 'revoke its grants first',
              },
            )
          }
          tx.put('target', input.id, { ...record, createdAt: tx.now })
          tx.append({
            kind: 'target.added',
            refs: [input.id],
            target: input.id,
            target_kind: input.kind,
            config,
            by: caller.id,
            notices: [...target.notices],
            // the administrator's role is standing privilege: it is on the record as the exception that it is
            exception: `${input.admin.user} at ${input.id}`,
          })
          return undefined
        },
      },
    })
    this.#deps.targets.set(target)
    return { id: input.id, notices: target.notices, findings: findings as unknown as readonly Json[] }
  }

  async targets(
    caller: Caller,
  ): Promise<readonly Readonly<{ id: string; kind: string; config: Json; notices: readonly string[] }>[]> {
    await this.#mayRead(caller)
    const view = await this.#deps.store.read([{ index: 'target.all', value: 'all' }])
    return view.scan('target.all', 'all').map(({ value }) => ({
      id: value.id,
      kind: value.kind,
      config: value.config,
      notices: this.#deps.targets.get(value.id)?.notices ?? [],
    }))
  }

  async checkTarget(caller: Caller, id: string): Promise<readonly Json[]> {
    await this.#mayRead(caller)
    const target = this.#deps.targets.get(id)
    if (target === undefined) throw new WritError('ERR_NOT_FOUND', `there is no target \`${id}\``)
    return await target.check()
  }

  async #mayRead(caller: Caller): Promise<void> {
    if (await this.#attempts.may(caller, 'read')) return
    throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the inventory or targets`)
  }

  #checkEntity(input: EntityInput): void {
    const key = refKey(input)
    const named = [input, input.owner, input.team, ...(input.parents ?? [])]
    if (named.some((ref) => ref && !(isIdentity(ref.id) && isTypeName(ref.type)))) {
      throw new WritError('ERR_INPUT_INVALID', `\`${key}\` is, or names, what can be no name for an entity`)
    }
    if (
      input.type === 'Writ' ||
      input.type.startsWith('Writ::') ||
      input.type === 'Action' ||
      input.type.endsWith('::Action')
    ) {
      throw new WritError('ERR_INPUT_INVALID', `\`${input.type}\` is a type of Writ's own`)
    }
    if (input.type === PERSON && input.kind !== undefined && input.kind !== 'human') {
      throw new WritError('ERR_INPUT_INVALID', `\`${key}\` is a person, so its kind is \`human\``)
    }
    if (input.type !== PERSON && input.kind === 'human') {
      throw new WritError('ERR_INPUT_INVALID', `\`${key}\`: people have the type \`${PERSON}\``)
    }
  }
}

function enrolled(invite: Invite, existing: Entity | undefined, now?: Instant): Entity {
  const kept = existing === undefined || existing.deletedAt !== undefined ? undefined : existing
  const parents = new Map(
    [...(kept?.parents ?? []), ...invite.groups].map((p) => [refKey(p), { type: p.type, id: p.id }]),
  )
  const name = invite.name ?? kept?.name
  return {
    ...(kept ?? { type: invite.person.type, id: invite.person.id, sensitivity: 4 as const, attrs: {} }),
    kind: 'human',
    ...(name === undefined ? {} : { name }),
    parents: [...parents.values()],
    generation: existing?.generation ?? 0,
    ...remade(existing, now),
  }
}

function groupOf(ref: EntityRef): Entity {
  return { type: ref.type, id: ref.id, kind: 'group', sensitivity: 4, parents: [], attrs: {}, generation: 0 }
}

/** 50 random bits would do behind the rate limit; 80 keep it safe without one. */
function newCode(deps: FlowDeps): Secret<string> {
  return new Secret(Buffer.from(deps.randomBytes(10)).toString('hex'))
}

function putInvite(
  tx: Transaction,
  code: Secret<string>,
  invite: Omit<Invite, 'id' | 'createdAt' | 'endsAt'>,
): Instant {
  const id = secretDigest(code.expose())
  const endsAt = tx.now + CODE_LIFE
  tx.put('invite', id, { ...invite, id, createdAt: tx.now, endsAt })
  tx.append({
    kind: 'person.invited',
    refs: [refKey(invite.person)],
    person: refKey(invite.person),
    ...(invite.name === undefined ? {} : { name: invite.name }),
    purpose: invite.purpose,
    groups: invite.groups.map(refKey),
    by: invite.createdBy,
    ends_at: endsAt,
  })
  return endsAt
}

/** One entry per few entities, so that each stays readable and within the bound of an entry. */
function appendInBatches(tx: Transaction, caller: Caller, entities: readonly Entity[]): void {
  for (let from = 0; from < entities.length; from += 20) {
    const some = entities.slice(from, from + 20)
    tx.append({
      kind: 'inventory.put',
      refs: some.map(refKey),
      by: caller.id,
      ...(caller.dev === true ? { dev: true } : {}),
      entities: some,
    })
  }
}

/**
 * Which actions on which resources a target serves with which role.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` naming the line.
 */
function accessOf(target: string, config: Json): readonly Access[] {
  const listed =
    typeof config === 'object' && config !== null && 'access' in config ? config.access : undefined
  const invalid = (): WritError =>
    new WritError('ERR_CONFIG_INVALID', `target \`${target}\`: \`access\` must list what it serves`, {
      hint: 'e.g. [{"action":"db:migrate","resource":"Database/orders","role":"migrate"}]',
    })
  if (!Array.isArray(listed) || listed.length === 0) throw invalid()
  return (listed as readonly Json[]).map((line) => {
    if (typeof line !== 'object' || line === null || Array.isArray(line)) throw invalid()
    const { action, resource, role } = line as Record<string, Json>
    if (typeof action !== 'string' || typeof resource !== 'string' || typeof role !== 'string')
      throw invalid()
    return { action, resource, role }
  })
}
