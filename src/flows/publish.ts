/**
 * Publishing policy: checked whole, refused with every problem, agreed by a second human root once there are two, kept
 * in every version.
 *
 * @module
 */
import type { Caller, PolicyVersion } from '../model/access.ts'
import { refKey } from '../model/entity.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import { isAble } from '../decision/givers.ts'
import { ownFacts } from '../context/facts.ts'
import { cedarEntities, loadClosure, refOf } from '../identity/inventory.ts'
import { humanRoots, personBehind } from '../identity/roots.ts'
import type { PolicySet, PolicySource } from '../policy/index.ts'
import { NO_PROOF } from '../policy/index.ts'
import { schemaDigest } from '../decision/redecide.ts'
import { hex, sha256 } from '../store/hash.ts'
import { Picture } from '../store/picture.ts'
import type { Read, Transaction } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import { SYSTEM } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Lines } from './versions.ts'
import { everything, linesOf, loadAgain, sourceOf } from './versions.ts'

/** What a change of the inventory takes along: call `note` in its transaction, having read `reads`, and `adopt` after. */
export type Fitting = Readonly<{
  reads: readonly Read[]
  note(tx: Transaction): void
  adopt(): void
}>

/**
 * Records the text of a schema that was derived, whenever it is another than before: without it nobody could decide
 * again what was decided under it.
 */
function noteSchema(tx: Transaction, set: PolicySet): void {
  const digest = schemaDigest(set.ownSchemaText)
  const before = tx.get('meta', 'schema')?.value
  if (before?.['policy'] === set.version && before['schema'] === digest) return
  tx.put('meta', 'schema', { policy: set.version, schema: digest })
  tx.append({
    kind: 'policy.schema',
    refs: [set.version, digest],
    policy: set.version,
    schema: digest,
    text: set.ownSchemaText,
  })
}

export class Publishing {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  #changing: Promise<void> = Promise.resolve()

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#attempts = attempts
  }

  /** Loads the version in force at start. */
  async recover(): Promise<void> {
    const current = await this.#current()
    if (current === undefined) return
    const set = loadAgain(sourceOf(current), await this.#lines())
    if (set.derivedSchema) {
      // what it is derived from may have been written by another version of Writ, or be read in another order now
      const reads: Read[] = [{ kind: 'meta', id: 'schema' }]
      await this.#deps.store.commit({ reads, run: (tx) => noteSchema(tx, set) })
    }
    this.#deps.decision.policies.add(set)
  }

  /**
   * Changes of inventory and policy take turns: a derived schema must be that of the inventory as it is, not of what
   * two changes each thought it would be.
   */
  async exclusively<T>(change: () => Promise<T>): Promise<T> {
    const before = this.#changing
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#changing = promise
    await before
    try {
      return await change()
    } finally {
      resolve()
    }
  }

  /**
   * What must hold of the inventory before it is written: a schema that was derived from it still validates. Returns
   * what records the new schema and what takes it into use. Call it `exclusively`.
   */
  async fits(prospective: Iterable<Entity>): Promise<Fitting> {
    const current = await this.#current()
    const set = current === undefined ? undefined : this.#deps.decision.policies.get(current.version)
    if (set === undefined || !set.derivedSchema) {
      return { reads: [], note: () => undefined, adopt: () => undefined }
    }
    const derived = await this.#deps.checking.loadAgain(set.source, linesOf(prospective), set)
    return {
      reads: [{ kind: 'meta', id: 'schema' }],
      note: (tx) => noteSchema(tx, derived),
      adopt: () => this.#deps.decision.policies.add(derived),
    }
  }

  /**
   * @throws {WritError} `ERR_POLICY_INVALID` with every problem; `ERR_FORBIDDEN` for who may not; `ERR_CONFLICT` when
   * nobody could publish afterwards. The set in force stays.
   */
  async publish(caller: Caller, source: PolicySource): Promise<PolicyVersion> {
    await this.#mayPublish(caller)
    return this.exclusively(async () => {
      const current = await this.#current()
      const inForce = current === undefined ? undefined : await this.#set(current)
      const set = await this.#load(source, inForce)
      await this.#mustStayPublishable(set)
      if (current?.version === set.version) return current
      const before = inForce === undefined ? [] : await this.#publishers(inForce)
      const roots = await this.#behind(caller.subject)
      const second = before.some((person) => !roots.includes(person))
      const version: PolicyVersion = {
        version: set.version,
        policies: set.source.policies,
        ...(set.source.schema === undefined ? {} : { schema: set.source.schema }),
        composed: set.schemaText,
        state: second ? 'proposed' : 'published',
        proposedBy: refKey(caller.subject),
        proposedAt: 0,
        agreedBy: roots,
      }
      if (second) return this.#write(caller, version, 'policy.proposed', set)
      this.#deps.decision.policies.add(set)
      return this.#write(caller, version, 'policy.published', set)
    })
  }

  /** The second human root agrees; the set is checked again against the inventory of now. */
  async agree(caller: Caller, id: string): Promise<PolicyVersion> {
    if (caller.kind !== 'session') {
      throw new WritError('ERR_FORBIDDEN', 'only a person in their own session can agree to a policy set')
    }
    await this.#mayPublish(caller)
    return this.exclusively(async () => {
      const view = await this.#deps.store.read([{ kind: 'policy', id }])
      const proposed = view.get('policy', id)?.value
      if (proposed === undefined) throw new WritError('ERR_NOT_FOUND', `there is no policy set \`${id}\``)
      if (proposed.state !== 'proposed')
        throw new WritError('ERR_CONFLICT', `policy set \`${id}\` is ${proposed.state}`)
      const { root, people } = await personBehind(new Picture(this.#deps.store), caller.subject)
      // whoever stood behind the proposal then, or stands behind its proposer now, is no second person
      const barred = [...proposed.agreedBy, ...(await this.#behind(refOf(proposed.proposedBy)))]
      if (people.some((person) => barred.includes(person))) {
        throw new WritError('ERR_FORBIDDEN', 'a second person must agree', {
          hint: 'you proposed this set yourself',
        })
      }
      const current = await this.#current()
      const set = await this.#load(
        sourceOf(proposed),
        current === undefined ? undefined : await this.#set(current),
      )
      await this.#mustStayPublishable(set)
      this.#deps.decision.policies.add(set)
      const version: PolicyVersion = {
        ...proposed,
        state: 'published',
        agreedBy: [...proposed.agreedBy, root],
      }
      return this.#write(caller, version, 'policy.published', set)
    })
  }

  async policy(caller: Caller, id?: string): Promise<PolicyVersion | undefined> {
    if (!(await this.#attempts.may(caller, 'read'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read policies`)
    }
    if (id === undefined) return this.#current()
    return (await this.#deps.store.read([{ kind: 'policy', id }])).get('policy', id)?.value
  }

  async #write(caller: Caller, version: PolicyVersion, kind: string, set: PolicySet): Promise<PolicyVersion> {
    let written: PolicyVersion = version
    await this.#attempts.administer(caller, 'publish', {
      also: {
        reads: [
          { kind: 'policy', id: version.version },
          { kind: 'meta', id: 'policy' },
          { kind: 'meta', id: 'schema' },
        ],
        run: (tx) => {
          const existing = tx.get('policy', version.version)?.value
          written = {
            ...version,
            proposedAt: existing?.proposedAt ?? tx.now,
            ...(version.state === 'published' ? { publishedAt: tx.now } : {}),
          }
          tx.put('policy', version.version, written)
          if (version.state === 'published') tx.put('meta', 'policy', { version: version.version })
          tx.append({
            kind,
            refs: [version.version, refKey(caller.subject)],
            policy: version.version,
            files: version.policies.map(({ name, text }) => ({ name, sha256: hex(sha256(text)) })),
            ...(version.schema === undefined
              ? {}
              : { schema: { name: version.schema.name, sha256: hex(sha256(version.schema.text)) } }),
            agreed_by: [...version.agreedBy],
            ...(caller.dev === true ? { dev: true } : {}),
          })
          if (version.state === 'published' && set.derivedSchema) noteSchema(tx, set)
          return undefined
        },
      },
    })
    this.#deps.decision.givers.changed()
    return written
  }

  /** Asked before anything is loaded: what others send must not be worth the work, nor say what policies say. */
  async #mayPublish(caller: Caller): Promise<void> {
    if (await this.#attempts.may(caller, 'publish')) return
    throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not publish policies`)
  }

  async #mustStayPublishable(set: PolicySet): Promise<void> {
    if ((await this.#publishers(set)).length > 0) return
    throw new WritError('ERR_CONFLICT', 'nobody could publish after this set, so it is refused', {
      hint: 'permit `Writ::Action::"publish"` to somebody, e.g. `principal in Group::"administrators"`',
    })
  }

  /** The human roots behind who publishes: a pipeline's proposal is its owner's. */
  async #behind(subject: EntityRef): Promise<readonly string[]> {
    const { roots, unresolved } = await humanRoots(new Picture(this.#deps.store), [subject])
    if (!unresolved) return roots
    throw new WritError('ERR_FORBIDDEN', `nobody is known to stand behind ${refKey(subject)}`, {
      hint: 'register its owner in the inventory',
    })
  }

  /** People who could publish under `set`, as human roots. */
  async #publishers(set: PolicySet): Promise<readonly string[]> {
    const found: string[] = []
    for (const person of await this.#people()) {
      const picture = new Picture(this.#deps.store)
      await loadClosure(picture, [person])
      const principal = { type: person.type, id: person.id }
      const { live, unknown } = ownFacts(picture.now, 'writ', [principal], undefined)
      const evaluation = set.evaluate({
        principal,
        action: { type: 'Writ::Action', id: 'publish' },
        resource: SYSTEM,
        context: {},
        live,
        unknown,
        proof: NO_PROOF,
        entities: cedarEntities(picture, [principal]),
      })
      if (evaluation.decision === 'permit' && isAble(person, picture.now)) found.push(refKey(person))
    }
    return found
  }

  async #people(): Promise<readonly Entity[]> {
    const view = await this.#deps.store.read([{ index: 'entity.kind', value: 'human' }])
    return view.scan('entity.kind', 'human').map(({ value }) => value)
  }

  async #load(source: PolicySource, previous: PolicySet | undefined): Promise<PolicySet> {
    const { live: inventory } = await this.#lines()
    return this.#deps.checking.load(source, { inventory, previous })
  }

  /** The set of a version, from memory or loaded again. */
  async #set(version: PolicyVersion): Promise<PolicySet> {
    const { checking, decision } = this.#deps
    const loaded = decision.policies.get(version.version)
    if (loaded !== undefined) return loaded
    const set = await checking.loadAgain(sourceOf(version), await this.#lines(), undefined)
    decision.policies.add(set)
    return set
  }

  async #lines(): Promise<Lines> {
    return linesOf((await everything(this.#deps.store)).values())
  }

  async #current(): Promise<PolicyVersion | undefined> {
    const meta = (await this.#deps.store.read([{ kind: 'meta', id: 'policy' }])).get('meta', 'policy')?.value
    const version = meta?.['version']
    if (typeof version !== 'string') return undefined
    return (await this.#deps.store.read([{ kind: 'policy', id: version }])).get('policy', version)?.value
  }
}
