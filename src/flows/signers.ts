/**
 * The keys that Writ signs with: made at the first start, sealed at rest, rotated, and given up when somebody else may
 * have them. Every change is on the record.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import type { Meta } from '../model/access.ts'
import type { Signer, SignerUse } from '../model/signer.ts'
import type { Transaction } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'

/** A key that is in use in this process. */
export type Signing = Readonly<{ signer: Signer; privateKey: KeyObject }>

/** `signal` is made by the first transmitter that is configured. */
const USES = ['log', 'artifact', 'token', 'signal'] as const satisfies readonly SignerUse[]

/** The type of key that signs with each. */
const kinds = { RS256: 'RSA', ES256: 'EC' } as const

export class Signers {
  readonly #deps: FlowDeps
  readonly #current = new Map<SignerUse, Signing>()
  readonly #all = new Map<SignerUse, readonly Signer[]>()

  constructor(deps: FlowDeps) {
    this.#deps = deps
  }

  /** Opens the keys, and makes those that are missing. */
  async recover(): Promise<void> {
    for (const use of USES) {
      await this.#load(use)
      if (!this.#lacks(use)) continue
      const current = this.#current.get(use)?.signer
      await this.#deps.store.commit({
        reads: [
          { index: 'signer.use', value: use },
          { kind: 'meta', id: 'epoch' },
        ],
        run: (tx) => {
          if (current !== undefined) this.retire(tx, current, { untilSize: tx.nextSeq })
          this.make(tx, use, epochOf(tx.get('meta', 'epoch')?.value))
        },
      })
      await this.#load(use)
    }
  }

  #lacks(use: SignerUse): boolean {
    if (use !== 'signal') return !this.#current.has(use)
    const algorithm = this.#deps.signals?.config.transmitter?.algorithm
    return algorithm !== undefined && this.#current.get(use)?.signer.public['kty'] !== kinds[algorithm]
  }

  /** The key that signs now. */
  current(use: SignerUse): Signing {
    const signing = this.#current.get(use)
    if (signing === undefined) throw new TypeError('the signing keys have not been opened')
    return signing
  }

  /** Every key of a use, the oldest first; retired ones too. */
  all(use: SignerUse): readonly Signer[] {
    return this.#all.get(use) ?? []
  }

  /** Writes a new key into `tx`; the caller loads it with `reload` once that is durable. */
  make(tx: Transaction, use: SignerUse, epoch: number): Signer {
    const { decision, seal } = this.#deps
    const isRsa = use === 'signal' && this.#deps.signals?.config.transmitter?.algorithm !== 'ES256'
    const pair =
      use === 'log'
        ? generateKeyPairSync('ed25519')
        : isRsa
          ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
          : generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const id = decision.newId('key')
    const pem = pair.privateKey.export({ format: 'pem', type: 'pkcs8' })
    const signer: Signer = {
      id,
      use,
      public: pair.publicKey.export({ format: 'jwk' }) as Readonly<Record<string, string>>,
      sealed: seal(`signer/${id}`, String(pem)),
      createdAt: tx.now,
      epoch,
      fromSize: tx.nextSeq,
    }
    tx.put('signer', id, signer)
    tx.append({ kind: 'signer.made', refs: [id], signer: id, use, epoch, public: signer.public })
    return signer
  }

  /** Opens what is sealed for a key. */
  open(signer: Signer): KeyObject {
    return createPrivateKey(this.#deps.open(`signer/${signer.id}`, signer.sealed))
  }

  /** Writes into `tx` that a key signs nothing more; `keep` while it still owes its last words. */
  retire(
    tx: Transaction,
    signer: Signer,
    how: Readonly<{ untilSize: number; compromised?: true; keep?: true; endorsement?: string }>,
  ): void {
    const { keep, ...rest } = how
    const sealed = keep === true ? signer.sealed : ''
    tx.put('signer', signer.id, { ...signer, ...rest, sealed, retiredAt: tx.now })
  }

  /** Forgets the private half of a key that has said its last words. */
  async forget(id: string): Promise<void> {
    await this.#deps.store.commit({
      reads: [{ kind: 'signer', id }],
      narrowing: true,
      run: (tx) => {
        const signer = tx.get('signer', id)?.value
        if (signer?.retiredAt !== undefined) tx.put('signer', id, { ...signer, sealed: '' })
      },
    })
    await this.reload()
  }

  async reload(): Promise<void> {
    for (const use of USES) await this.#load(use)
  }

  /** Whether there is a key of that use. */
  has(use: SignerUse): boolean {
    return this.#current.has(use)
  }

  async #load(use: SignerUse): Promise<void> {
    const view = await this.#deps.store.read([{ index: 'signer.use', value: use }])
    const all = view
      .scan('signer.use', use)
      .map(({ value }) => value)
      .toSorted((a, b) => a.fromSize - b.fromSize)
    this.#all.set(use, all)
    const signer = all.findLast((it) => it.retiredAt === undefined)
    if (signer === undefined) return
    this.#current.set(use, { signer, privateKey: this.open(signer) })
  }
}

/** The number of the epoch in its record. */
export function epochOf(record: Meta | undefined): number {
  return (record?.['number'] as number | undefined) ?? 1
}
