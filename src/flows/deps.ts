/**
 * What the flows work with; made once in `app.ts`.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import type { StaticLog } from '../audit/static.ts'
import type { TargetRecord } from '../model/access.ts'
import type { Artifacts } from '../model/artifact.ts'
import type { Kind, Records } from '../model/records.ts'
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
import type { SignalDeps } from './signals.ts'
import type { TokenDeps } from './tokens.ts'
import type { Given } from './verifying.ts'
import type { WebhookDeps } from './webhooks.ts'
import type { Change, Watch } from './watch.ts'
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
  /** Which grants read what. */
  watch: Watch
  targets: Targets
  log: Log
  defaults: Readonly<{ request: Millis; task: Millis; heartbeat: Millis; grant: Millis }>
  /** How long a fact is believed that somebody pushes without saying so. */
  believed?: Millis
  /** Things that one source may tell of by itself. */
  mostTold?: number
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
  /** Systems that tell by webhooks. */
  webhooks?: Pick<WebhookDeps, 'hooks' | 'sources' | 'secret'>
  /** Where the record is sent. */
  exports: readonly Export[]
  /** Of Writ. */
  version: string
  callbacks: CallbackPort
  /** Whose signals are listened to, and who is told; nobody if not given. */
  signals?: SignalDeps
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
 * The store as the flows use it: what is written is entered in the schedule and told to `changed`, once it is durable and
 * in the order of the log.
 */
export function scheduled(
  store: Store,
  schedule: Schedule,
  changed: (changes: readonly Change[]) => void,
): Store {
  return {
    ...bound(store),
    async commit<T>(item: Item<T>): Promise<T> {
      const changes: Change[] = []
      const result = await store.commit<T>({
        ...item,
        run(tx) {
          changes.length = 0
          const note = <K extends Kind>(
            kind: K,
            id: string,
            before: Records[K] | undefined,
            after: Records[K] | undefined,
          ): Records[K] | undefined => {
            changes.push({ kind, id, before, after } as unknown as Change)
            return before
          }
          const noting: Transaction = {
            get now() {
              return tx.now
            },
            get nextSeq() {
              return tx.nextSeq
            },
            get: (kind, id) => tx.get(kind, id),
            scan: (index, value) => tx.scan(index, value),
            append: (entry) => tx.append(entry),
            put: (kind, id, value) => note(kind, id, tx.put(kind, id, value), value),
            delete: (kind, id) => note(kind, id, tx.delete(kind, id), undefined),
          }
          return item.run(noting)
        },
      })
      for (const { kind, id, after } of changes) {
        if (dueKinds.has(kind)) schedule.set(kind as DueKind, id, after && dueAt(kind, after))
      }
      if (changes.length > 0) changed(changes)
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
