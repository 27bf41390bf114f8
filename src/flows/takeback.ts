/**
 * Taking credentials back at their targets: each target has its own queue, so that a dead one stalls nobody else;
 * tries are unlimited and backed off; "already gone" is success; what fails is shown as unresolved.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Credential } from '../model/credential.ts'
import {
  credentialAbsent,
  credentialRevoking,
  credentialUnresolved,
  isAtTarget,
} from '../model/credential.ts'
import { isWritError, WritError } from '../model/errors.ts'
import { closeIfClean } from '../lives/ending.ts'
import type { PlannedCredential, RevokeReport } from '../targets/port.ts'
import type { FlowDeps } from './deps.ts'

/** Revocations under way at one target at once. */
const PER_TARGET = 8

export class TakeBack {
  readonly #deps: FlowDeps
  readonly #running = new Map<string, Promise<void>>()
  readonly #lanes = new Map<string, { busy: number; waiting: (() => void)[] }>()
  #stopped = false

  constructor(deps: FlowDeps) {
    this.#deps = deps
  }

  /** Starts (or joins) the revocation of one credential. Never throws: what fails is recorded on the credential. */
  start(id: string): void {
    if (this.#stopped || this.#running.has(id)) return
    const work = this.#work(id)
      .catch((error: unknown) => {
        this.#deps.log('error', 'a revocation could not be recorded and is retried', {
          credential: id,
          error,
        })
        this.#deps.schedule.set('credential', id, this.#deps.schedule.next ?? 0)
      })
      .finally(() => this.#running.delete(id))
    this.#running.set(id, work)
  }

  /**
   * Revokes at the target although the record cannot be written; the record follows when there is room. Returns whether
   * it was verified gone; never throws.
   */
  async unrecorded(id: string): Promise<boolean> {
    try {
      const view = await this.#deps.store.read([{ kind: 'credential', id }])
      const credential = view.get('credential', id)?.value
      if (credential === undefined || !isAtTarget(credential)) return true
      return (await this.#atTarget(credential)).absent
    } catch (error) {
      this.#deps.log('error', 'a credential could not be taken back yet', { credential: id, error })
      return false
    }
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values())
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.idle()
  }

  async #work(id: string): Promise<void> {
    const { store } = this.#deps
    const credential = (await store.read([{ kind: 'credential', id }])).get('credential', id)?.value
    if (credential === undefined || !isAtTarget(credential) || credential.state === 'live') return
    const leave = await this.#enter(credential.target)
    let report: RevokeReport | undefined
    let problem: string
    try {
      report = await this.#atTarget(credential)
      problem = report.problem ?? 'the target still has it'
    } catch (error) {
      problem = isWritError(error) ? error.message : 'the target failed in an unexpected way'
      if (!isWritError(error)) this.#deps.log('error', 'a target failed', { credential: id, error })
    } finally {
      leave()
    }
    await this.#record(credential, report, problem)
  }

  async #atTarget(credential: Credential): Promise<RevokeReport> {
    const target = this.#deps.targets.get(credential.target)
    if (target === undefined) {
      throw new WritError('ERR_TARGET_UNREACHABLE', `target \`${credential.target}\` is not configured`)
    }
    return target.revoke(credential.planned as unknown as PlannedCredential)
  }

  async #record(credential: Credential, report: RevokeReport | undefined, problem: string): Promise<void> {
    const { id, grant, target } = credential
    const refs = [id, grant, ...(credential.task === undefined ? [] : [credential.task])]
    await this.#deps.store.commit({
      narrowing: true,
      reads: [
        { kind: 'credential', id },
        { kind: 'grant', id: grant },
        { index: 'credential.grant', value: grant },
      ],
      run: (tx) => {
        const found = tx.get('credential', id)?.value
        if (found === undefined || !isAtTarget(found)) return
        const current = credentialRevoking(found, tx.now)
        if (report?.absent === true) {
          tx.put('credential', id, credentialAbsent(current, tx.now, report as unknown as Json))
          tx.append({ kind: 'credential.absent', refs, credential: id, target, report: report })
          closeIfClean(tx, grant)
          return
        }
        const unresolved = credentialUnresolved(current, tx.now, problem, this.#deps.jitter())
        tx.put('credential', id, unresolved)
        // said once, and again whenever the sentence changes: a retry every minute is no news
        if (found.state !== 'unresolved' || found.problem !== problem) {
          tx.append({ kind: 'credential.unresolved', refs, credential: id, target, problem })
        }
      },
    })
  }

  async #enter(target: string): Promise<() => void> {
    const lane = this.#lanes.get(target) ?? { busy: 0, waiting: [] }
    this.#lanes.set(target, lane)
    if (lane.busy >= PER_TARGET) {
      const { promise, resolve } = Promise.withResolvers<void>()
      lane.waiting.push(resolve)
      await promise // whoever leaves hands its place over
    } else {
      lane.busy += 1
    }
    return () => {
      const next = lane.waiting.shift()
      if (next === undefined) lane.busy -= 1
      else next()
    }
  }
}
