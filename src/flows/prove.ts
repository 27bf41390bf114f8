/**
 * Making the proof of why: everything in the log that has to do with a decision, grant, credential, task or access
 * request, and what shows that it is in the log.
 *
 * @module
 */
import { setImmediate as breathe, setTimeout as pause } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { BundleEntry, BundlePolicy } from '../audit/bundle.ts'
import { BUNDLE_LIMIT, encodeBundle } from '../audit/bundle.ts'
import type { VerifierKey } from '../audit/note.ts'
import {
  formatNote,
  formatVerifierKey,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  verifierKey,
  verifyNote,
} from '../audit/note.ts'
import { Prover } from '../audit/proofs.ts'
import { wasEvaluated } from '../decision/redecide.ts'
import type { EntityData } from '../policy/index.ts'
import { hex } from '../store/hash.ts'
import { isPruned } from '../store/port.ts'
import type { Attempts, Entry } from './attempts.ts'
import { parseEntry } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { History } from './history.ts'
import type { Signers } from './signers.ts'
import type { Transparency } from './transparency.ts'

/** More entries than anybody reads; a task of that size is proved grant by grant. */
const MOST_ENTRIES = 20_000

/** Entries about retention, the newest: what they took before is gone by more than one of them. */
const MOST_PRUNINGS = 1_000

/** How long witnesses may take, and how often it is looked whether they have answered, ms. */
const WITNESSED_WITHIN = 3_000
const LOOK_AGAIN = 50

/** Entries read before others get their turn. */
const AT_ONCE = 100

/** What is said about the log itself, and belongs to every proof. */
const ABOUT_THE_LOG = [
  'installation.made',
  'signer.made',
  'signer.rotated',
  'signer.compromised',
  'epoch.began',
]

export class Proving {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #parts: Readonly<{ transparency: Transparency; signers: Signers; history: History }>
  readonly #prover: Prover
  /** Keys of the witnesses that may cosign. */
  readonly #witnesses: readonly VerifierKey[]

  constructor(
    deps: FlowDeps,
    attempts: Attempts,
    parts: Readonly<{ transparency: Transparency; signers: Signers; history: History }>,
  ) {
    this.#deps = deps
    this.#attempts = attempts
    this.#parts = parts
    this.#prover = new Prover(deps.store.log)
    this.#witnesses = (deps.witnesses ?? [])
      .map(({ key }) => parseVerifierKey(key))
      .filter((key) => key !== undefined)
  }

  /**
   * One file (its text), sealed, that verifies without this server.
   *
   * @throws {WritError} `ERR_FORBIDDEN` for who may not read the log; `ERR_NOT_FOUND`; `ERR_TOO_LARGE`.
   */
  async prove(caller: Caller, id: string): Promise<string> {
    if (!(await this.#attempts.may(caller, 'read'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the log`)
    }
    const { store } = this.#deps
    const { transparency, signers } = this.#parts
    // first the checkpoint, then what it covers: nothing can come in between
    const newest = await transparency.checkpoint()
    const { size: most } = checkpointOf(newest)
    const closure = await new Closure(store.log, most).about(id)
    const { entries } = closure
    if (entries.size === 0) {
      throw new WritError('ERR_NOT_FOUND', `nothing in the log is about \`${id}\``, {
        hint: 'name a decision, grant, credential, task or access request by its id',
      })
    }
    const bodies = new Map<string, string>()
    const policies = new Map<string, BundlePolicy>()
    await this.#decisions(closure, bodies, policies)
    await this.#cut(closure, bodies)

    const last = Math.max(...entries.keys(), ...closure.pruned.keys())
    await this.#cosigned(last)
    const { checkpoint, witnesses } = this.#chosen(newest, last)
    const { size, origin } = checkpointOf(checkpoint)
    const all = [...entries.keys(), ...closure.pruned.keys()].toSorted((a, b) => a - b)
    const proven: BundleEntry[] = []
    for (const [at, seq] of all.entries()) {
      if (at % AT_ONCE === AT_ONCE - 1) await breathe()
      const proof = (await this.#prover.inclusion(seq, size)).map(hex)
      const found = entries.get(seq)
      proven.push(
        found === undefined
          ? { seq, leaf: closure.pruned.get(seq) ?? '', proof }
          : { seq, body: found.text, proof },
      )
    }
    const { signer, privateKey } = signers.current('log')
    const key = verifierKey(origin, 'log', Buffer.from(signer.public['x'] ?? '', 'base64url'))
    const { now } = await store.read([])
    const text = encodeBundle(
      {
        about: id,
        made_at: now,
        checkpoint,
        witnesses,
        entries: proven,
        bodies: [...bodies.values()],
        policies: [...policies.values()],
      },
      key,
      privateKey,
    )
    // what nobody verifies is no proof
    if (Buffer.byteLength(text) > BUNDLE_LIMIT) {
      throw new WritError('ERR_TOO_LARGE', `the proof would be longer than ${BUNDLE_LIMIT} bytes`, {
        hint: 'prove its grants one by one',
      })
    }
    return text
  }

  /** What each decision was made on: entities, policy and schema, with the entries that they come from. */
  async #decisions(
    closure: Closure,
    bodies: Map<string, string>,
    policies: Map<string, BundlePolicy>,
  ): Promise<void> {
    for (const { seq, entry } of closure.ofKind('decision')) {
      if (!wasEvaluated(entry)) continue
      const { history } = this.#parts
      const rebuilt = await history.rebuild(seq)
      if (rebuilt.ok) {
        bodies.set(entry['inputs'] as string, entitiesText(rebuilt.entities))
        await closure.add(rebuilt.entitySeqs)
      }
      // what retention took of the inventory cannot be shown, and whoever verifies is told; policy stays
      const ran = { schema: entry['schema'] as string | undefined, before: seq }
      const policy =
        (rebuilt.ok ? rebuilt.policy : undefined) ?? (await history.policy(entry['policy'] as string, ran))
      if ('ok' in policy) continue
      await closure.add(policy.seqs)
      const { version, files, schemaName: name, schemaText: text } = policy
      if (policies.has(version)) continue
      policies.set(version, {
        version,
        files: files.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
        ...(name === undefined ? {} : { schema: { name, text } }),
      })
    }
  }

  /** What was too long for its entry. */
  async #cut(closure: Closure, bodies: Map<string, string>): Promise<void> {
    for (const { entry } of closure.entries.values()) {
      if (entry['cut'] === undefined) continue
      const wanted = digestsIn(entry)
      for (const digest of wanted) {
        if (bodies.has(digest)) continue
        const bytes = await this.#deps.store.log.body(digest)
        if (bytes === undefined) continue
        const text = Buffer.from(bytes).toString()
        bodies.set(digest, text)
        // one place may lie in what was cut at another
        for (const inner of digestsIn(JSON.parse(text) as Json)) wanted.add(inner)
      }
    }
  }

  /** Waits a little for the witnesses, which are asked as soon as a checkpoint is signed. */
  async #cosigned(last: number): Promise<void> {
    if (this.#witnesses.length === 0) return
    for (let waited = 0; waited < WITNESSED_WITHIN; waited += LOOK_AGAIN) {
      const cosigned = this.#parts.transparency.cosigned()
      if (cosigned !== undefined && checkpointOf(cosigned).size > last) return
      await pause(LOOK_AGAIN)
    }
  }

  /** The newest checkpoint with cosignatures, if it covers everything. Lines of which nobody knows the key are left out. */
  #chosen(newest: string, last: number): Readonly<{ checkpoint: string; witnesses: readonly string[] }> {
    const cosigned = this.#parts.transparency.cosigned()
    const covers = cosigned !== undefined && checkpointOf(cosigned).size > last
    const origin = checkpointOf(newest).origin
    const chosen = covers && checkpointOf(cosigned).origin === origin ? cosigned : newest
    const note = parseNote(chosen)
    if (note === undefined) throw new TypeError('a checkpoint is a signed note')
    const known = this.#witnesses.filter((key) => verifyNote(note, key) !== undefined)
    const signatures = note.signatures.filter(
      ({ name, id }) => name === origin || known.some((key) => key.name === name && key.id === id),
    )
    return {
      checkpoint: formatNote({ text: note.text, signatures }),
      witnesses: known.map(formatVerifierKey),
    }
  }
}

type Found = Readonly<{ entry: Entry; text: string }>
type Log = FlowDeps['store']['log']

/** The entries that have to do with one id. */
class Closure {
  readonly entries = new Map<number, Found>()
  /** Hashes of entries that retention has pruned, in hex. */
  readonly pruned = new Map<number, string>()
  readonly #log: Log
  readonly #most: number
  readonly #seen = new Set<string>()

  constructor(log: Log, most: number) {
    this.#log = log
    this.#most = most
  }

  async about(id: string): Promise<this> {
    await this.#whole(id)
    if (this.entries.size === 0) return this
    const [first] = [...this.entries.keys()].toSorted((a, b) => a - b)
    for (const kind of ABOUT_THE_LOG) await this.#search([`kind=${kind}`])
    // the configuration that it all began under, and every change since
    await this.#newest([`kind=server.started`], (first ?? 0) + 1)
    await this.#newest([`kind=config.changed`], (first ?? 0) + 1)
    await this.#search([`kind=config.changed`], first)
    await this.#prunings()
    return this
  }

  /** What retention took before the last of these: something of this may have been among it. */
  async #prunings(): Promise<void> {
    const last = Math.max(...this.entries.keys())
    for (const seq of (await this.#found(['kind=log.pruned'])).slice(0, MOST_PRUNINGS)) {
      const from = (await this.#peek(seq))?.['from']
      if (typeof from === 'number' && from <= last) await this.#add(seq)
    }
  }

  ofKind(kind: string): Readonly<{ seq: number; entry: Entry }>[] {
    return [...this.entries]
      .filter(([, { entry }]) => entry['kind'] === kind)
      .map(([seq, { entry }]) => ({ seq, entry }))
  }

  async add(seqs: readonly number[]): Promise<void> {
    for (const seq of seqs) await this.#add(seq)
  }

  /** Everything that mentions `id`, and what that leads to. */
  async #whole(id: string): Promise<void> {
    if (this.#seen.has(id)) return
    this.#seen.add(id)
    for (let after = -1; ;) {
      const seqs = await this.#log.find(id, { after, limit: 1_000 })
      for (const seq of seqs) await this.#add(seq, id)
      const last = seqs.at(-1)
      if (last === undefined || seqs.length < 1_000) return
      after = last
    }
  }

  async #add(seq: number, about?: string): Promise<void> {
    if (seq >= this.#most) return
    let found = this.entries.get(seq)
    if (found === undefined) {
      const [read] = await this.#log.entries(seq, seq + 1)
      if (read === undefined) return
      if (isPruned(read)) {
        this.pruned.set(seq, hex(read.leaf))
        return
      }
      found = { entry: parseEntry(read.bytes), text: Buffer.from(read.bytes).toString() }
      this.entries.set(seq, found)
      if (this.entries.size > MOST_ENTRIES) {
        throw new WritError('ERR_TOO_LARGE', `more than ${MOST_ENTRIES} entries belong to this`, {
          hint: 'prove its grants one by one',
        })
      }
      if (this.entries.size % AT_ONCE === 0) await breathe()
    }
    const key = `entry ${seq} ${about ?? ''}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    await this.#follow(seq, found.entry, about)
  }

  async #follow(seq: number, entry: Entry, about: string | undefined): Promise<void> {
    const kind = entry['kind'] as string
    const family = kind.slice(0, Math.max(kind.indexOf('.'), 0))
    const follow = async (...members: readonly string[]): Promise<void> => {
      for (const member of members) {
        const id = entry[member]
        if (typeof id === 'string') await this.#whole(id)
      }
    }
    if (kind === 'decision') {
      const attempt = entry['attempt'] as Entry | undefined
      await follow('id', 'grant')
      const request = (entry['evidence'] as Entry | undefined)?.['request']
      if (typeof request === 'string') await this.#whole(request)
      if (typeof attempt?.['task'] === 'string') await this.#lineage(attempt['task'])
      await this.#delegation(attempt?.['delegation'])
      await this.#accounts(entry, seq)
      await this.#caller(entry['caller'], seq)
      await this.#newest(['kind=policy.published'], seq)
      if (typeof entry['policy'] === 'string')
        await this.#search([entry['policy'], 'kind=policy.proposed'], 0, seq)
      return
    }
    if (family === 'grant' || family === 'request' || kind === 'approval.given' || kind === 'reauth.given') {
      await follow('grant', 'request', 'decision')
      if (kind === 'approval.given') await this.#person(entry['by'], seq)
      if (kind === 'reauth.given') await this.#person(entry['person'], seq)
      for (const ref of refsOf(entry)) if (ref.startsWith('task_')) await this.#lineage(ref)
      return
    }
    if (family === 'credential') {
      for (const ref of refsOf(entry))
        if (ref.startsWith('grant_') || ref.startsWith('cred_')) await this.#whole(ref)
      if (typeof entry['target'] === 'string') await this.#newest([entry['target'], 'kind=target.added'], seq)
      return
    }
    if (family === 'token') {
      // the permits that it was issued by, and the tokens that it came of
      for (const member of [entry['decisions'], entry['parents']]) {
        for (const id of Array.isArray(member) ? (member as readonly Json[]) : [])
          if (typeof id === 'string') await this.#whole(id)
      }
      return
    }
    if (family === 'task') {
      const id = entry['task']
      if (typeof id !== 'string') return
      // of what is proved itself, all that hangs below; of tasks above, their lives alone
      if (about !== undefined && id !== about && refsOf(entry).includes(about)) await this.#whole(id)
      else await this.#lineage(id)
    }
  }

  /** The lives of a task and of those above it. */
  async #lineage(id: string): Promise<void> {
    const key = `above ${id}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    for (const kind of ['task.declared', 'task.ended']) {
      for (const seq of await this.#found([id, `kind=${kind}`])) {
        const entry = await this.#peek(seq)
        if (entry?.['task'] !== id) continue
        await this.#add(seq)
        const parent = (entry['declared'] as Entry | undefined)?.['parent']
        if (typeof parent === 'string') await this.#lineage(parent)
      }
    }
  }

  /** Who may ask in this way: the key's making and end. */
  async #caller(caller: Json | undefined, seq: number): Promise<void> {
    if (typeof caller !== 'string' || !caller.startsWith('key:')) return
    const id = caller.slice('key:'.length)
    await this.#newest([id, 'kind=key.created'], seq)
    await this.#search([id, 'kind=key.revoked'])
  }

  /** Who let whom act for them: its making and its end, not all that was done under it. */
  async #delegation(id: Json | undefined): Promise<void> {
    if (typeof id !== 'string') return
    for (const kind of ['delegation.made', 'delegation.revoked']) await this.#search([id, `kind=${kind}`])
  }

  /** Which of its roots the accounts were that set it going. */
  async #accounts({ instigators, roots }: Entry, seq: number): Promise<void> {
    if (!Array.isArray(instigators) || !Array.isArray(roots)) return
    const accounts = (instigators as readonly Entry[]).map(({ issuer, id }) =>
      canonical([issuer ?? '', id ?? '']),
    )
    for (const root of roots as readonly string[]) {
      for (const linked of await this.#found([root, 'kind=account.linked'], 0, seq)) {
        const { issuer, account } = (await this.#peek(linked)) ?? {}
        if (accounts.includes(canonical([issuer ?? '', account ?? '']))) await this.#add(linked)
      }
    }
  }

  /** Since when a person has been known here. */
  async #person(person: Json | undefined, seq: number): Promise<void> {
    if (typeof person === 'string') await this.#newest([person, 'kind=person.enrolled'], seq)
  }

  async #newest(terms: readonly string[], before: number): Promise<void> {
    const key = `newest ${terms.join()}`
    const [seq] = (await this.#log.search({ terms, before, limit: 1 })).items
    if (seq === undefined || this.#seen.has(`${key} ${seq}`)) return
    this.#seen.add(`${key} ${seq}`)
    await this.#add(seq)
  }

  async #search(terms: readonly string[], from = 0, before = this.#most): Promise<void> {
    const key = `search ${terms.join()} ${from} ${before}`
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    for (const seq of await this.#found(terms, from, before)) await this.#add(seq)
  }

  async #found(terms: readonly string[], from = 0, before = this.#most): Promise<readonly number[]> {
    const found: number[] = []
    for (let next: number | undefined = before; next !== undefined && next > from;) {
      const page: Readonly<{ items: readonly number[]; next: string | undefined }> = await this.#log.search({
        terms,
        from,
        before: next,
        limit: 1_000,
      })
      found.push(...page.items)
      next = page.next === undefined ? undefined : Number(page.next)
    }
    return found
  }

  async #peek(seq: number): Promise<Entry | undefined> {
    const known = this.entries.get(seq)
    if (known !== undefined) return known.entry
    const [read] = await this.#log.entries(seq, seq + 1)
    return read === undefined || isPruned(read) ? undefined : parseEntry(read.bytes)
  }
}

const refsOf = (entry: Entry): readonly string[] =>
  Array.isArray(entry['refs']) ? (entry['refs'] as readonly string[]) : []

function checkpointOf(note: string): Readonly<{ origin: string; size: number; root: string }> {
  const parsed = parseNote(note)
  const checkpoint = parsed && parseCheckpoint(parsed.text)
  if (checkpoint === undefined) throw new TypeError('a checkpoint is a signed note')
  return checkpoint
}

/** What the digest of entities is taken over, see `entitiesDigest`. */
function entitiesText(entities: readonly EntityData[]): string {
  const plain = entities
    .map(({ uid, attrs, parents }) => ({
      uid: { type: uid.type, id: uid.id },
      attrs,
      parents: parents.map(({ type, id }) => ({ type, id })),
    }))
    .toSorted((a, b) => (refKey(a.uid) < refKey(b.uid) ? -1 : 1))
  return canonical(plain)
}

function digestsIn(value: Json | undefined, found = new Set<string>()): Set<string> {
  if (Array.isArray(value)) for (const item of value) digestsIn(item as Json, found)
  else if (typeof value === 'object' && value !== null) {
    const { $digest: digest, kept } = value as Entry
    if (typeof digest === 'string' && kept === true) found.add(digest)
    for (const member of Object.values(value)) digestsIn(member, found)
  }
  return found
}
