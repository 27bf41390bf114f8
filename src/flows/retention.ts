/**
 * Retention: entries older than what is kept give way to their hashes, a few at a time, on the record. Every proof about
 * them still holds; what they said is gone.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Kind } from '../model/records.ts'
import { isEnded } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { HOUR } from '../model/time.ts'
import type { Read, Store, View } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import { digestOf } from '../decision/statement.ts'
import { parseEntry } from './attempts.ts'
import type { Log } from './deps.ts'

export type RetentionOptions = Readonly<{
  /** How old an entry gets. */
  keep: Millis
  /** Whether everybody who is sent entries has got this one, and nobody else needs it. */
  mayPrune(seq: number): boolean
  /** Hears what is pruned, to take it from wherever else it is. */
  pruned?(seqs: readonly number[]): Promise<void>
}>

/** What tells how Writ itself came to be as it is is never pruned. */
const KEPT =
  /^(?:installation\.made|server\.started|config\.changed|log\.pruned|(?:signer|epoch|policy|witness)\..*)$/u

/** Entries of one step, and steps before others get a longer turn. */
const STEP = 200
const STEPS = 50
/** How long after one walk through the log the next begins: what was held then may be free. */
const AGAIN: Millis = HOUR

type Held = Readonly<{ seq: number; at: Instant; reads: readonly Read[] }>

export class Retention {
  readonly #store: Pick<Store, 'read' | 'commit' | 'log'>
  readonly #log: Log
  readonly #options: RetentionOptions
  #next = 0
  #restUntil: Instant = 0
  #running: Promise<void> | undefined
  #stopped = false

  constructor(
    deps: Readonly<{ store: Pick<Store, 'read' | 'commit' | 'log'>; log: Log }>,
    options: RetentionOptions,
  ) {
    this.#store = deps.store
    this.#log = deps.log
    this.#options = options
  }

  /** Goes on in the background; a call while it does is none. */
  start(): void {
    this.#running ??= this.run()
      .catch((error: unknown) =>
        this.#log('error', 'old entries could not be pruned; it is tried again', { error }),
      )
      .finally(() => {
        this.#running = undefined
      })
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  /** Prunes what may be, up to a bound; returns when it is done or has done enough for now. */
  async run(): Promise<void> {
    for (let steps = 0; steps < STEPS && !this.#stopped; steps += 1) {
      const { now } = await this.#store.read([])
      if (now < this.#restUntil) return
      const end = await this.#store.log.seqAt(now - this.#options.keep)
      if (this.#next >= end) {
        this.#next = 0
        this.#restUntil = now + AGAIN
        return
      }
      const to = Math.min(this.#next + STEP, end)
      await this.#step(this.#next, to, { end, before: now - this.#options.keep })
      this.#next = to
      await breathe()
    }
  }

  /** Prunes of entries `from` to `to`, what nobody needs: first recorded, then done. All before `end` are too old. */
  async #step(from: number, to: number, { end, before }: { end: number; before: Instant }): Promise<void> {
    const candidates: Held[] = []
    for (const entry of await this.#store.log.entries(from, to)) {
      if (isPruned(entry) || !this.#options.mayPrune(entry.seq)) continue
      const { kind, refs } = parseEntry(entry.bytes)
      if (typeof kind !== 'string' || KEPT.test(kind)) continue
      // of a list too long for its entry only the digest is there
      const named = Array.isArray(refs) ? refs.filter((it) => typeof it === 'string') : undefined
      if (named === undefined) continue
      if (kind.startsWith('inventory.') && (await this.#isInForce(entry.seq, named, end))) continue
      const ids = [...named, ...(kind === 'decision' ? await this.#bound(named) : [])]
      candidates.push({ seq: entry.seq, at: entry.at, reads: await this.#recordsOf(ids) })
    }
    if (candidates.length === 0) return
    const pruned = await this.#store.commit({
      reads: candidates.flatMap(({ reads }) => reads),
      run: (tx) => {
        const free = candidates.filter(({ reads }) => !reads.some((read) => isHeld(tx, read)))
        const [first, last] = [free[0], free.at(-1)]
        if (first === undefined || last === undefined) return []
        const seqs = free.map(({ seq }) => seq)
        const range = Array.from({ length: last.seq - first.seq + 1 }, (_, i) => first.seq + i)
        const except = range.filter((seq) => !seqs.includes(seq))
        tx.append({
          kind: 'log.pruned',
          refs: [],
          from: first.seq,
          to: last.seq + 1,
          count: seqs.length,
          before,
          // their times leave the log with them: this ties those that stay beside their hashes
          times: digestOf(free.map(({ at }) => at)),
          ...(except.length === 0 ? {} : { except }),
        })
        return seqs
      },
    })
    if (pruned.length === 0) return
    await this.#store.log.prune(pruned)
    await this.#options.pruned?.(pruned)
  }

  /** Whether some entity it tells of was still so at `end`: what is decided from there on is explained by it. */
  async #isInForce(seq: number, refs: readonly string[], end: number): Promise<boolean> {
    for (const ref of refs) {
      let isReplaced = false
      for (const kind of ['inventory.put', 'inventory.deleted']) {
        const later = { terms: [ref, `kind=${kind}`], from: seq + 1, before: end, limit: 1 }
        isReplaced ||= (await this.#store.log.search(later)).items.length > 0
      }
      if (!isReplaced) return true
    }
    return false
  }

  /** What has bound itself to a decision since: a request to the denial it answers. */
  async #bound(refs: readonly string[]): Promise<readonly string[]> {
    const bound: string[] = []
    for (const id of refs.filter((ref) => ref.startsWith('dec_'))) {
      for (const seq of await this.#store.log.find(id, { limit: 50 })) {
        const [entry] = await this.#store.log.entries(seq, seq + 1)
        const more = entry === undefined || isPruned(entry) ? [] : parseEntry(entry.bytes)['refs']
        if (Array.isArray(more)) bound.push(...more.filter((it) => typeof it === 'string'))
      }
    }
    return bound
  }

  /** The records that these ids name, and those that they hang on. */
  async #recordsOf(ids: readonly string[]): Promise<readonly Read[]> {
    const reads = [...new Set(ids)].flatMap((id): { kind: Kind; id: string }[] => {
      const kind = KINDS[id.slice(0, Math.max(0, id.indexOf('_')))]
      return kind === undefined ? [] : [{ kind, id }]
    })
    const view = await this.#store.read(reads)
    const more = reads.flatMap(({ kind, id }): Read[] => {
      const grant =
        kind === 'request'
          ? view.get('request', id)?.value.grant
          : kind === 'credential'
            ? view.get('credential', id)?.value.grant
            : undefined
      return grant === undefined ? [] : [{ kind: 'grant', id: grant }]
    })
    return [...reads, ...more]
  }
}

const KINDS: Readonly<Record<string, Kind | undefined>> = {
  task: 'task',
  grant: 'grant',
  req: 'request',
  cred: 'credential',
}

/** Whether what a record stands for is not over. */
function isHeld(view: View, read: Read): boolean {
  if (!('kind' in read)) return false
  switch (read.kind) {
    case 'task': {
      const task = view.get('task', read.id)?.value
      return task !== undefined && !isEnded(task)
    }
    case 'grant': {
      const grant = view.get('grant', read.id)?.value
      return grant !== undefined && grant.state !== 'closed'
    }
    case 'credential': {
      const credential = view.get('credential', read.id)?.value
      return credential !== undefined && credential.state !== 'absent'
    }
    case 'request': {
      const request = view.get('request', read.id)?.value
      if (request?.status === 'pending') return true
      const isUnspent = request?.status === 'approved' && request.spentAt === undefined
      return isUnspent && view.now < (request.activateBy ?? Infinity)
    }
    default:
      return false
  }
}
