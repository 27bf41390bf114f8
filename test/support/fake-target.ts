/**
 * A fake target, named as such: what exists there is a list of names, and a test decides what goes wrong.
 *
 * @module
 */
import { closeSync, existsSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { WritError } from '../../src/model/errors.ts'
import { Secret } from '../../src/model/secret.ts'
import type { IssuedSecret, RevokeReport, Target } from '../../src/targets/port.ts'

/** Where the names are: in memory, or on a disk that survives the process. */
export interface Shelf {
  add(name: string): void
  remove(name: string): void
  names(): readonly string[]
}

export function memoryShelf(): Shelf {
  const names = new Set<string>()
  return {
    add: (name) => names.add(name),
    remove: (name) => names.delete(name),
    names: () => [...names].sort(),
  }
}

/** One empty file per name; `folder` must exist. */
export function diskShelf(folder: string): Shelf {
  return {
    add: (name) => closeSync(openSync(join(folder, name), 'wx')),
    remove: (name) => rmSync(join(folder, name), { force: true }),
    names: () => (existsSync(folder) ? readdirSync(folder).sort() : []),
  }
}

/**
 * `down`: nothing answers, nothing happens. `lost`: an issue happens, its answer is lost. `refuses`: an issue is answered
 * no. `stays`: a revocation reports that the thing is still there.
 */
export type Fault = 'none' | 'down' | 'lost' | 'refuses' | 'stays'

export type Call = 'issue' | 'revoke' | 'list'
export type Moment = 'before' | 'after'

/** The system behind; `connect` gives a driver of it, as a process would open. */
export class FakeSystem {
  readonly shelf: Shelf
  fault: Fault = 'none'
  /** Called around what happens at the target; a promise holds the call there. */
  around: ((call: Call, moment: Moment, name: string) => void | Promise<void>) | undefined

  constructor(shelf: Shelf = memoryShelf()) {
    this.shelf = shelf
  }

  /** Has `work` done at this moment of such calls, and nothing at any other. */
  at(call: Call, moment: Moment, work: (name: string) => void | Promise<void>): void {
    this.around = (which, when, name) => (which === call && when === moment ? work(name) : undefined)
  }

  connect(id: string): FakeTarget {
    return new FakeTarget(this, id)
  }
}

/** A driver of the fake. */
export class FakeTarget implements Target {
  readonly kind = 'fake'
  readonly id: string
  readonly notices = ['this target is a fake']
  readonly #system: FakeSystem
  #cut = false

  constructor(system: FakeSystem, id: string) {
    this.#system = system
    this.id = id
  }

  /** The process behind this driver is no more: what it sent may still happen, but nobody hears of it. */
  cut(): void {
    this.#cut = true
  }

  async check(): Promise<readonly never[]> {
    return []
  }

  plan(credentialId: string, { role }: { role: string }): ReturnType<Target['plan']> {
    return { id: credentialId, target: this.id, name: `fake_${credentialId}`, shape: { role } }
  }

  async issue(planned: ReturnType<Target['plan']>): Promise<IssuedSecret> {
    return this.#call('issue', planned.name, () => {
      if (this.#system.fault === 'refuses')
        throw new WritError('ERR_TARGET_REFUSED', 'the fake target says no')
      this.#system.shelf.add(planned.name)
      if (this.#system.fault === 'lost') throw unreachable(this.id)
      const password = `canary-${planned.name}`
      return new Secret({
        kind: 'postgres' as const,
        host: 'fake.invalid',
        port: 0,
        database: 'fake',
        user: planned.name,
        password,
        sslmode: 'disable' as const,
        url: `postgres://fake.invalid/fake`,
        env: { PGUSER: planned.name, PGPASSWORD: password },
      })
    })
  }

  async revoke({ name }: { name: string }): Promise<RevokeReport> {
    return this.#call('revoke', name, () => {
      const stays = this.#system.fault === 'stays'
      if (!stays) this.#system.shelf.remove(name)
      return {
        absent: !stays,
        ...(stays ? { problem: 'something else holds on to it' } : {}),
        sessionsCut: 0,
        leftBehind: {
          objects: [],
          aclChanges: [],
          securityDefiner: [],
          preparedTransactions: [],
          unseen: [],
        },
        took: { denied: 0, cut: 0, total: 0 },
      }
    })
  }

  async list(): Promise<readonly string[]> {
    return this.#call('list', '', () => this.#system.shelf.names())
  }

  async close(): Promise<void> {}

  async #call<T>(call: Call, name: string, happen: () => T): Promise<T> {
    await this.#moment(call, 'before', name)
    if (this.#system.fault === 'down') throw unreachable(this.id)
    const happened = happen()
    await this.#moment(call, 'after', name)
    return happened
  }

  async #moment(call: Call, moment: Moment, name: string): Promise<void> {
    if (this.#cut) await new Promise<never>(() => undefined)
    await this.#system.around?.(call, moment, name)
    if (this.#cut && moment === 'after') await new Promise<never>(() => undefined)
  }
}

const unreachable = (id: string): WritError =>
  new WritError('ERR_TARGET_UNREACHABLE', `target \`${id}\` does not answer`)
