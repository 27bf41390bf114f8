/**
 * What tests have shown of a policy set: which policies decided, and which clauses were ever seen to hold and to fail.
 *
 * @module
 */
import type { ClauseResult, Effect, PolicyInfo, RuleResult } from './types.ts'

/** A clause over all tests; one that is always the same would not be missed by any of them. */
export type ClauseCoverage = Readonly<{
  /** Of an `unless`, `held` is that it did not exclude the attempt: what it says did not hold. */
  kind: 'when' | 'unless'
  text: string
  line: number
  column: number
  held: boolean
  failed: boolean
}>

/** `decided` counts the attempts that this policy decided, `inScope` those that it spoke about. */
export type PolicyCoverage = Readonly<{
  policy: string
  file: string
  line: number
  effect: Effect
  inScope: number
  decided: number
  clauses: readonly ClauseCoverage[]
}>

/**
 * `percent` is over policies and clauses together: policies that decided something, clauses that were seen both ways.
 * Of a policy that was never in scope no clause is known, so it counts as a policy alone.
 */
export type CoverageReport = Readonly<{
  policies: readonly PolicyCoverage[]
  percent: number
  decided: number
  /** Clauses seen to hold and to fail. */
  telling: number
  clauses: number
}>

type Seen = {
  kind: 'when' | 'unless'
  text: string
  line: number
  column: number
  held: boolean
  failed: boolean
}

/** Collects over many attempts. */
export class Coverage {
  readonly #policies: ReadonlyMap<string, PolicyInfo>
  readonly #decided = new Map<string, number>()
  readonly #inScope = new Map<string, number>()
  readonly #clauses = new Map<string, Map<string, Seen>>()

  constructor(policies: readonly PolicyInfo[]) {
    this.#policies = new Map(policies.map((policy) => [policy.id, policy]))
  }

  /** One attempt: `rules` are the policies in scope clause by clause, `determining` those that decided. */
  note(rules: readonly RuleResult[], determining: readonly string[]): void {
    for (const id of determining) increase(this.#decided, id)
    for (const { policy, clauses } of rules) {
      increase(this.#inScope, policy)
      const seen = this.#clauses.get(policy) ?? new Map<string, Seen>()
      this.#clauses.set(policy, seen)
      for (const clause of clauses) this.#see(seen, clause)
    }
  }

  #see(seen: Map<string, Seen>, clause: ClauseResult): void {
    // the head holds wherever a policy is in scope
    if (clause.kind === 'scope') return
    const { kind, text, line, column, endLine, endColumn, status } = clause
    const key = `${line}:${column}-${endLine}:${endColumn}`
    const known = seen.get(key) ?? { kind, text, line, column, held: false, failed: false }
    seen.set(key, known)
    if (status === 'holds') known.held = true
    // what errors or is unknown does not let the policy apply either
    else known.failed = true
    for (const part of clause.any ?? []) this.#see(seen, part)
  }

  report(): CoverageReport {
    const policies = [...this.#policies.values()].map(({ id, file, line, effect }): PolicyCoverage => ({
      policy: id,
      file,
      line,
      effect,
      inScope: this.#inScope.get(id) ?? 0,
      decided: this.#decided.get(id) ?? 0,
      clauses: [...(this.#clauses.get(id)?.values() ?? [])].sort(
        (a, b) => a.line - b.line || a.column - b.column,
      ),
    }))
    return summed(policies)
  }
}

/** The report of some policies. */
export function summed(policies: readonly PolicyCoverage[]): CoverageReport {
  const clauses = policies.flatMap((policy) => policy.clauses)
  const decided = policies.filter((policy) => policy.decided > 0).length
  const telling = clauses.filter(({ held, failed }) => held && failed).length
  const whole = policies.length + clauses.length
  return {
    policies,
    percent: whole === 0 ? 100 : Math.floor((1_000 * (decided + telling)) / whole) / 10,
    decided,
    telling,
    clauses: clauses.length,
  }
}

function increase(counts: Map<string, number>, id: string): void {
  counts.set(id, (counts.get(id) ?? 0) + 1)
}
