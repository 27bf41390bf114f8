/**
 * Publishing policy: checked whole, refused with every problem, agreed by a second human root once there are two, kept
 * in every version.
 *
 * @module
 */
import type { Caller, PolicyVersion } from '../model/access.ts'
import { refKey } from '../model/entity.ts'
import type { Entity } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import { ownFacts } from '../context/facts.ts'
import { cedarEntities, cedarEntity, loadClosure } from '../identity/inventory.ts'
import type { EntityData, PolicySet, PolicySource } from '../policy/index.ts'
import { loadPolicySet, renderProblem } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'
import { Picture } from '../store/picture.ts'
import type { Attempts } from './attempts.ts'
import { SYSTEM } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Grants } from './grants.ts'

export class Publishing {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #grants: Grants

  constructor(deps: FlowDeps, attempts: Attempts, grants: Grants) {
    this.#deps = deps
    this.#attempts = attempts
    this.#grants = grants
  }

  /** Loads the version in force at start. */
  async recover(): Promise<void> {
    const current = await this.#current()
    if (current === undefined) return
    this.#deps.decision.policies.add(load(sourceOf(current), await this.#entities()))
  }

  /**
   * What must hold of the inventory before it is written: a schema that was derived from it still validates. Returns
   * what takes the new schema into use.
   */
  async fits(prospective: readonly EntityData[]): Promise<() => void> {
    const current = await this.#current()
    const set = current === undefined ? undefined : this.#deps.decision.policies.get(current.version)
    if (set === undefined || !set.derivedSchema) return () => undefined
    const derived = load(set.source, prospective)
    return () => this.#deps.decision.policies.add(derived)
  }

  /**
   * @throws {WritError} `ERR_POLICY_INVALID` with every problem; `ERR_FORBIDDEN` for who may not; `ERR_CONFLICT` when
   * nobody could publish afterwards. The set in force stays.
   */
  async publish(caller: Caller, source: PolicySource): Promise<PolicyVersion> {
    const set = load(source, await this.#entities())
    const after = await this.#publishers(set)
    if (after.length === 0) {
      throw new WritError('ERR_CONFLICT', 'nobody could publish after this set, so it is refused', {
        hint: 'permit `Writ::Action::"publish"` to somebody, e.g. `principal in Group::"administrators"`',
      })
    }
    const current = await this.#current()
    const inForce = current === undefined ? undefined : this.#deps.decision.policies.get(current.version)
    const before = inForce === undefined ? [] : await this.#publishers(inForce)
    const root = refKey(caller.subject)
    const second = before.some((person) => person !== root)
    const version: PolicyVersion = {
      version: set.version,
      policies: set.source.policies,
      ...(set.source.schema === undefined ? {} : { schema: set.source.schema }),
      composed: set.schemaText,
      state: second ? 'proposed' : 'published',
      proposedBy: root,
      proposedAt: 0,
      agreedBy: [root],
    }
    this.#deps.decision.policies.add(set)
    return this.#write(caller, version, second ? 'policy.proposed' : 'policy.published')
  }

  /** The second human root agrees; the set is checked again against the inventory of now. */
  async agree(caller: Caller, id: string): Promise<PolicyVersion> {
    if (caller.kind !== 'session') {
      throw new WritError('ERR_FORBIDDEN', 'only a person in their own session can agree to a policy set')
    }
    const view = await this.#deps.store.read([{ kind: 'policy', id }])
    const proposed = view.get('policy', id)?.value
    if (proposed === undefined) throw new WritError('ERR_NOT_FOUND', `there is no policy set \`${id}\``)
    if (proposed.state !== 'proposed')
      throw new WritError('ERR_CONFLICT', `policy set \`${id}\` is ${proposed.state}`)
    const root = refKey(caller.subject)
    if (proposed.agreedBy.includes(root)) {
      throw new WritError('ERR_FORBIDDEN', 'a second person must agree', {
        hint: 'you proposed this set yourself',
      })
    }
    this.#deps.decision.policies.add(load(sourceOf(proposed), await this.#entities()))
    const version: PolicyVersion = { ...proposed, state: 'published', agreedBy: [...proposed.agreedBy, root] }
    return this.#write(caller, version, 'policy.published')
  }

  async policy(caller: Caller, id?: string): Promise<PolicyVersion | undefined> {
    if (!(await this.#attempts.may(caller, 'read'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read policies`)
    }
    if (id === undefined) return this.#current()
    return (await this.#deps.store.read([{ kind: 'policy', id }])).get('policy', id)?.value
  }

  async #write(caller: Caller, version: PolicyVersion, kind: string): Promise<PolicyVersion> {
    let written: PolicyVersion = version
    await this.#attempts.administer(caller, 'publish', {
      also: {
        reads: [
          { kind: 'policy', id: version.version },
          { kind: 'meta', id: 'policy' },
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
          return undefined
        },
      },
    })
    this.#deps.decision.givers.changed()
    if (version.state === 'published') await this.#grants.react('policy changed')
    return written
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
        proof: { approvals: {}, justification: false },
        entities: cedarEntities(picture, [principal]),
      })
      if (evaluation.decision === 'permit' && person.locked === undefined) found.push(refKey(person))
    }
    return found
  }

  async #people(): Promise<readonly Entity[]> {
    const view = await this.#deps.store.read([{ index: 'entity.kind', value: 'human' }])
    return view.scan('entity.kind', 'human').map(({ value }) => value)
  }

  async #entities(): Promise<readonly EntityData[]> {
    const all: EntityData[] = []
    let after: string | undefined
    do {
      const page = await this.#deps.store.list('entity', {
        limit: 1_000,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value } of page.items) if (value.deletedAt === undefined) all.push(cedarEntity(value))
      after = page.next
    } while (after !== undefined)
    return all
  }

  async #current(): Promise<PolicyVersion | undefined> {
    const meta = (await this.#deps.store.read([{ kind: 'meta', id: 'policy' }])).get('meta', 'policy')?.value
    const version = meta?.['version']
    if (typeof version !== 'string') return undefined
    return (await this.#deps.store.read([{ kind: 'policy', id: version }])).get('policy', version)?.value
  }
}

const sourceOf = (version: PolicyVersion): PolicySource => ({
  policies: version.policies,
  ...(version.schema === undefined ? {} : { schema: version.schema }),
})

function load(source: PolicySource, inventory: readonly EntityData[]): PolicySet {
  const loaded = loadPolicySet(source, { hash: (text) => hex(sha256(text)), inventory })
  if (loaded.ok) return loaded.set
  const [first] = loaded.problems
  throw new WritError('ERR_POLICY_INVALID', first?.message ?? 'the policy set does not load', {
    hint: loaded.problems.map(renderProblem).join('\n\n'),
  })
}
