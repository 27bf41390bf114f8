/**
 * The challenge search: the inclusion-minimal sets of obtainable evidence that would turn a deny into a permit, each
 * verified by a full evaluation with that evidence assumed. Bounded; a truncated answer says so.
 *
 * @module
 */
import type { RequirementSet } from '../model/request.ts'
import { seated } from '../model/request.ts'
import type { Evaluation } from '../policy/index.ts'

/** Evidence assumed present: approvals per pool, and whether the attempt is justified. */
export type Proof = Readonly<{ approvals: Readonly<Record<string, number>>; justification: boolean }>

export const MAX_CANDIDATES = 256
export const MAX_SEARCH_MS = 5

/** Tried whatever the clock says, so that a cold start never hides the one remedy there is. */
export const ALWAYS_TRIED = 8

export type Search = Readonly<{ sets: readonly RequirementSet[]; truncated: boolean; tried: number }>

/**
 * Tries candidate sets smallest first. Nothing is pruned but supersets of a set that was found, which cannot be
 * minimal: policies need not be monotone in their evidence. Only what an eligible giver could supply now is assumed:
 * `givers(pool)` lists distinct human roots.
 */
export async function searchChallenge(options: {
  /** Counts that policies compare, per pool. */
  approvals: ReadonlyMap<string, readonly number[]>
  justification: boolean
  present: Proof
  givers(pool: string): Promise<readonly string[]>
  evaluate(proof: Proof): Evaluation
  bindingOf(evaluation: Evaluation): 'attempt' | 'task'
  monotonic(): number
}): Promise<Search> {
  const { present } = options
  const roots = new Map<string, readonly string[]>()
  const choices: { pool: string; counts: number[] }[] = []
  for (const [pool, literals] of options.approvals) {
    const counts = [...new Set(literals)]
      .filter((n) => n > (present.approvals[pool] ?? 0))
      .sort((a, b) => a - b)
    if (counts.length === 0) continue
    const givers = await options.givers(pool)
    roots.set(pool, givers)
    const supplied = counts.filter((n) => n <= givers.length)
    if (supplied.length > 0) choices.push({ pool, counts: supplied })
  }
  const pairs = [...roots].flatMap(([pool, people]) => people.map((root) => ({ pool, root })))
  const candidates = [...combine(choices, options.justification && !present.justification)].sort(
    (a, b) => size(a) - size(b),
  )

  // eligibility is precomputed and cached, it does not count against the search
  const startedAt = options.monotonic()
  const found: { candidate: Candidate; set: RequirementSet }[] = []
  let tried = 0
  let truncated = candidates.length >= MAX_CANDIDATES
  for (const candidate of candidates) {
    if (found.some(({ candidate: smaller }) => within(smaller, candidate))) continue
    const seats = [...candidate.approvals].flatMap(([pool, n]) => Array.from({ length: n }, () => pool))
    if (seated(seats, pairs) < seats.length) continue
    const late = tried >= ALWAYS_TRIED && options.monotonic() - startedAt > MAX_SEARCH_MS
    if (tried >= MAX_CANDIDATES || late) {
      truncated = true
      break
    }
    tried += 1
    const evaluation = options.evaluate({
      approvals: { ...present.approvals, ...Object.fromEntries(candidate.approvals) },
      justification: present.justification || candidate.justification,
    })
    if (evaluation.decision !== 'permit') continue
    const { ttl, uses } = evaluation.obligations
    found.push({
      candidate,
      set: {
        requirements: [
          ...[...candidate.approvals].map(([pool, count]) => ({ kind: 'approval' as const, pool, count })),
          ...(candidate.justification ? [{ kind: 'justification' as const }] : []),
        ],
        binding: options.bindingOf(evaluation),
        ...(ttl === undefined ? {} : { ttl }),
        ...(uses === undefined ? {} : { uses }),
      },
    })
  }
  return { sets: found.map(({ set }) => set), truncated, tried }
}

type Candidate = Readonly<{ approvals: ReadonlyMap<string, number>; justification: boolean }>

/** Every combination but the empty one, at most `MAX_CANDIDATES`, fewest pools first so that a cut keeps the small. */
function combine(
  choices: readonly { pool: string; counts: readonly number[] }[],
  justifiable: boolean,
): Candidate[] {
  let layer: ReadonlyMap<string, number>[] = [new Map()]
  const all: ReadonlyMap<string, number>[] = [new Map()]
  for (let picked = 0; picked < choices.length && all.length < MAX_CANDIDATES; picked += 1) {
    const next: ReadonlyMap<string, number>[] = []
    for (const base of layer) {
      const last = [...base.keys()].at(-1)
      const from = last === undefined ? 0 : choices.findIndex(({ pool }) => pool === last) + 1
      for (const { pool, counts } of choices.slice(from)) {
        for (const count of counts) next.push(new Map([...base, [pool, count]]))
      }
    }
    all.push(...next)
    layer = next
  }
  return all
    .flatMap((approvals) =>
      justifiable
        ? [
            { approvals, justification: false },
            { approvals, justification: true },
          ]
        : [{ approvals, justification: false }],
    )
    .filter((c) => c.approvals.size > 0 || c.justification)
    .slice(0, MAX_CANDIDATES)
}

const size = (c: Candidate): number =>
  [...c.approvals.values()].reduce((sum, n) => sum + n, 0) + (c.justification ? 1 : 0)

/** Whether everything `smaller` asks for is in `larger`. */
const within = (smaller: Candidate, larger: Candidate): boolean =>
  (!smaller.justification || larger.justification) &&
  [...smaller.approvals].every(([pool, n]) => n <= (larger.approvals.get(pool) ?? 0))
