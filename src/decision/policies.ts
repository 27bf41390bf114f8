/**
 * The policy sets in memory, by version. Writ's versions are loaded before they are published, so that a decision
 * always runs the version that the store says is in force, and never half of one.
 *
 * @module
 */
import type { PolicySet } from '../policy/index.ts'

/** What a decision says it ran when no policy was ever published: everything is denied. */
export const NO_POLICY = 'none'

/** Most versions kept loaded; older ones are loaded again from the store when a replay wants them. */
const MOST_LOADED = 8

export class Policies {
  readonly #sets = new Map<string, PolicySet>()

  add(set: PolicySet): void {
    this.#sets.delete(set.version)
    this.#sets.set(set.version, set)
    for (const version of this.#sets.keys()) {
      if (this.#sets.size <= MOST_LOADED) break
      this.#sets.delete(version)
    }
  }

  /** What is asked for stays: the version in force cannot be pushed out by sets that nobody decides with. */
  get(version: string): PolicySet | undefined {
    const set = this.#sets.get(version)
    if (set !== undefined) this.add(set)
    return set
  }
}
