/**
 * What the flows work with; made once in `app.ts`.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import type { StaticLog } from '../audit/static.ts'
import type { TargetRecord } from '../model/access.ts'
import type { Artifacts } from '../model/artifact.ts'
import type { Kind } from '../model/records.ts'
import type { Signer } from '../model/signer.ts'
import type { Millis } from '../model/time.ts'
import type { DecisionDeps } from '../decision/analyse.ts'
import type { Item, LogHead, Store, Transaction } from '../store/port.ts'
import type { Target } from '../targets/port.ts'
import type { CallbackPort } from './callbacks.ts'
import type { Checking } from './checking.ts'
import type { DueKind, Schedule } from './schedule.ts'
import { dueAt } from './schedule.ts'
import type { Export } from './exports.ts'
import type { Marks } from './transparency.ts'
import type { RelyingParty } from '../identity/people/relying.ts'
import type { PasskeyDeps } from './passkeys.ts'
import type { TokenDeps } from './tokens.ts'
import type { Given } from './verifying.ts'
import type { WitnessConfig } from './witnesses.ts'

export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void

export type FlowDeps = Readonly<{
  store: Store
  decision: DecisionDeps
  checking: Checking
  /** What decisions were evaluated on, if each is taken again by reference Cedar. */
  given?: Given
  schedule: Schedule
  targets: Targets
  log: Log
  defaults: Readonly<{ request: Millis; task: Millis; heartbeat: Millis; grant: Millis }>
  /** Random bytes, for codes, keys and session tokens. */
  randomBytes(size: number): Uint8Array
  /** In [0, 1): spreads retries. */
  jitter(): number
  /** Encrypts and opens what is secret at rest, bound to `label`. */
  seal(label: string, secret: string): string
  open(label: string, sealed: string): string
  /** What was signed last, kept outside the data folder. */
  marks: Marks
  /** The log as files, if it is published so. */
  files?: StaticLog
  /** How old entries of the log get; for ever if not given. */
  retention?: Millis
  /** Who cosigns the heads of the log. */
  witnesses?: readonly WitnessConfig[]
  /** The log as this start found it. */
  found: LogHead
  /** Where the record is sent. */
  exports: readonly Export[]
  /** Of Writ. */
  version: string
  callbacks: CallbackPort
  /** Access tokens: what is configured, and how tokens of others are verified. */
  tokens: TokenDeps
  passkeys: PasskeyDeps
  /** Names of configured issuers: whose accounts can be told apart. */
  issuers: readonly string[]
  /** The providers that people sign in with. */
  relying: RelyingParty
  /** Makes and verifies what callers carry signed, by the keys it is given. */
  artifacts(keys: ArtifactKeys): Artifacts
  /** Every entry of `writ dev` is marked, and a server refuses its folder. */
  dev: boolean
}>

/** The keys that artifacts are signed and verified with. */
export type ArtifactKeys = Readonly<{
  current(): Readonly<{ signer: Signer; privateKey: KeyObject }>
  /** Retired ones too. */
  all(): readonly Signer[]
}>

/** The configured targets that are open in this process. */
export type Targets = Readonly<{
  get(id: string): Target | undefined
  all(): readonly Target[]
  /** Opens (or opens again) the driver of a record. @throws {WritError} `ERR_CONFIG_INVALID`. */
  open(record: TargetRecord): Target
  set(target: Target): void
}>

const dueKinds: ReadonlySet<Kind> = new Set<Kind>(['task', 'grant', 'request', 'credential'])

/**
 * The store as the flows use it: whatever is put is also entered in the schedule once it is durable, and `onEntities`
 * hears that the inventory has changed.
 */
export function scheduled(store: Store, schedule: Schedule, onEntities: () => void): Store {
  return {
    ...bound(store),
    async commit<T>(item: Item<T>): Promise<T> {
      const touched: { kind: DueKind; id: string; at: number | undefined }[] = []
      let entities = false
      const result = await store.commit<T>({
        ...item,
        run(tx) {
          touched.length = 0
          entities = false
          const noting: Transaction = {
            get now() {
              return tx.now
            },
            get nextSeq() {
              return tx.nextSeq
            },
            get: (kind, id) => tx.get(kind, id),
            scan: (index, value) => tx.scan(index, value),
            delete: (kind, id) => tx.delete(kind, id),
            append: (entry) => tx.append(entry),
            put(kind, id, value) {
              tx.put(kind, id, value)
              if (dueKinds.has(kind)) touched.push({ kind: kind as DueKind, id, at: dueAt(kind, value) })
              if (kind === 'entity') entities = true
            },
          }
          return item.run(noting)
        },
      })
      for (const { kind, id, at } of touched) schedule.set(kind, id, at)
      if (entities) onEntities()
      return result
    },
  }
}

function bound(store: Store): Store {
  return {
    read: (reads) => store.read(reads),
    commit: (item) => store.commit(item),
    list: (kind, options) => store.list(kind, options),
    log: store.log,
    problems: () => store.problems(),
    clockBehind: () => store.clockBehind(),
    close: () => store.close(),
  }
}
