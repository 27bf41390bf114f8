/**
 * The challenge search: the inclusion-minimal sets of obtainable evidence that would turn a deny into a permit, each
 * verified by a full evaluation with that evidence assumed. Bounded; a truncated answer says so.
 *
 * @module
 */
import type { RequirementSet } from '../model/request.ts'
import { seated } from '../model/request.ts'
import type { ClauseResult, Evaluation, Explanation, Proof, RequiredValue } from '../policy/index.ts'

export type { Proof } from '../policy/index.ts'

export const MAX_CANDIDATES = 256
export const MAX_SEARCH_MS = 5

/** Tried whatever the clock says, so that a cold start never hides the one remedy there is. */
export const ALWAYS_TRIED = 8

/** Steps of making candidates, the fruitless ones too: what cannot be seated costs time as well. */
const MAX_STEPS = 16_384

export type Search = Readonly<{ sets: readonly RequirementSet[]; truncated: boolean; tried: number }>

/** Evidence that would clear what stands in the way of one rule: how many by pool, whether a justification or a proof. */
export type Hint = Readonly<{
  approvals: ReadonlyMap<string, number>
  justification: boolean
  reauth: boolean
}>

/**
 * Tries candidate sets smallest first, those that the hints name before others of their size. Up to half of the tries
 * go ahead to what each hint names by itself, so that the remedy of the nearest rule is found however many other kinds
 * of evidence there are. A set is tried after everything it contains: each that is found is minimal.
 *
 * Nothing is pruned but supersets of a set that was found, which cannot be minimal, and what too few people could give:
 * policies need not be monotone in their evidence. Only what an eligible giver could supply now is assumed:
 * `givers(pool)` lists distinct human roots.
 */
export async function searchChallenge(options: {
  /** Counts that policies compare, per pool. */
  approvals: ReadonlyMap<string, readonly number[]>
  justification: boolean
  /** Who would prove anew that it is them, by `refKey`; nobody where that helps nothing or cannot be had. */
  reauth: readonly string[]
  present: Proof
  givers(pool: string): Promise<readonly string[]>
  evaluate(proof: Proof): Evaluation
  bindingOf(evaluation: Evaluation): 'attempt' | 'task'
  monotonic(): number
  /** Asked for only where the order may matter. */
  hints?(): readonly Hint[]
}): Promise<Search> {
  const { present } = options
  const roots = new Map<string, readonly string[]>()
  const choices: Choice[] = []
  for (const [pool, literals] of options.approvals) {
    const counts = [...new Set(literals)]
      .filter((n) => n > (present.approvals[pool] ?? 0))
      .sort((a, b) => a - b)
    if (counts.length === 0) continue
    const givers = await options.givers(pool)
    roots.set(pool, givers)
    const supplied = counts.filter((n) => n <= givers.length)
    if (supplied.length > 0) choices.push({ kind: pool, counts: supplied })
  }
  // these are kinds of evidence of which there is one
  if (options.justification && !present.justification) choices.push({ kind: REASON, counts: [1] })
  if (options.reauth.length > 0 && !present.reauth) choices.push({ kind: REAUTH, counts: [1] })
  const seats = new Seats(choices, roots)

  // eligibility is precomputed and cached, it does not count against the search
  const startedAt = options.monotonic()
  const found: { candidate: Candidate; set: RequirementSet }[] = []
  const seen = new Set<string>()
  const isLate = (share: number): boolean =>
    seen.size >= ALWAYS_TRIED && options.monotonic() - startedAt > MAX_SEARCH_MS * share
  const boundsOf = (share: number): Bounds => {
    let steps = 0
    return {
      most: seats.people + 1,
      // what contains a set that was found, or has too few people, has no superset worth trying either
      isOpen: (candidate) =>
        !found.some(({ candidate: smaller }) => within(smaller, candidate)) && seats.fit(candidate),
      isOver() {
        steps += 1
        return steps > MAX_STEPS || (steps % 128 === 0 && isLate(share))
      },
    }
  }
  /** Whether all of the candidates from these were tried. */
  const tryAll = (likely: readonly Allowed[], others: readonly Allowed[], share: number): boolean => {
    const candidates = bySize(choices.length, likely, others, boundsOf(share))
    for (;;) {
      const { done, value: candidate } = candidates.next()
      if (done) return candidate
      const key = candidate.join()
      if (seen.has(key)) continue
      if (seen.size >= MAX_CANDIDATES * share || isLate(share)) return false
      seen.add(key)
      const evaluation = options.evaluate(withEvidence(present, choices, candidate))
      if (evaluation.decision !== 'permit') continue
      const binding = options.bindingOf(evaluation)
      const set = setOf(choices, candidate, evaluation, binding, options.reauth)
      found.push({ candidate: [...candidate], set })
    }
  }
  const space = choices.reduce((product, { counts }) => product * (counts.length + 1), 1) - 1
  const hints = space > ALWAYS_TRIED ? (options.hints?.() ?? []) : []
  const allowed = choices.map(({ counts }, at): Allowed => ({ at, counts: counts.toReversed() }))
  for (const hint of hints) {
    const named = allowed.flatMap(({ at, counts }): readonly Allowed[] => {
      const enough = counts.filter((n) => n <= mostOf(hint, (choices[at] as Choice).kind))
      return enough.length === 0 ? [] : [{ at, counts: enough }]
    })
    tryAll(named, [], 0.5)
  }
  const isLikely = ({ at }: Allowed): boolean =>
    hints.some((hint) => mostOf(hint, (choices[at] as Choice).kind) > 0)
  const complete = tryAll(
    allowed.filter(isLikely),
    allowed.filter((one) => !isLikely(one)),
    1,
  )
  return {
    // the hint decides what is tried, never how the answer looks
    sets: found.sort((a, b) => compare(a.candidate, b.candidate)).map(({ set }) => set),
    truncated: !complete,
    tried: seen.size,
  }
}

/** What the nearest permits of `explanation` miss of evidence, one by one, whatever else they miss. */
export function hintsOf({ nearest }: Pick<Explanation, 'nearest'>): Hint[] {
  return nearest
    .map(({ clauses }): Hint => {
      const approvals = new Map<string, number>()
      let justification = false
      let reauth = false
      const note = (path: string, count: number): void => {
        const pool = path.startsWith(APPROVALS)
          ? path.slice(APPROVALS.length)
          : path.startsWith(QUOTED)
            ? unquoted(path.slice(QUOTED.length - 1))
            : undefined
        if (pool !== undefined) approvals.set(pool, Math.max(approvals.get(pool) ?? 0, count))
        else if (path === 'context.proof.justification') justification = true
        else if (path === 'context.proof.reauth') reauth = true
      }
      const visit = ({ status, required, actual, any }: ClauseResult): void => {
        if (status === 'holds') return
        // what is not a comparison says only what it read
        if (required !== undefined) note(required.path, countOf(required))
        else if (any === undefined) for (const { path } of actual) note(path, Infinity)
        any?.forEach(visit)
      }
      clauses.forEach(visit)
      return { approvals, justification, reauth }
    })
    .filter(({ approvals, justification, reauth }) => approvals.size > 0 || justification || reauth)
}

/** How many approvals a comparison asks for. */
function countOf({ operator, value }: RequiredValue): number {
  if (typeof value !== 'number') return Infinity
  return operator === '>=' || operator === '==' ? value : operator === '>' ? value + 1 : Infinity
}

function mostOf(hint: Hint, kind: Kind): number {
  if (typeof kind === 'string') return hint.approvals.get(kind) ?? 0
  return (kind === REASON ? hint.justification : hint.reauth) ? 1 : 0
}

const APPROVALS = 'context.proof.approvals.'
/** Of a pool whose name is no identifier. */
const QUOTED = 'context.proof.approvals["'

/** The name in `"name"]`. */
function unquoted(text: string): string {
  try {
    return String(JSON.parse(text.slice(0, -1)))
  } catch {
    return text // no pool of that name: a hint that helps nothing
  }
}

/** The kinds of evidence that have no pool. */
const REASON = Symbol('justification')
const REAUTH = Symbol('reauth')
type Kind = string | typeof REASON | typeof REAUTH

type Choice = Readonly<{ kind: Kind; counts: readonly number[] }>

/** How many of each kind of evidence, in the order of the choices. Changed in place while candidates are made. */
type Candidate = readonly number[]

/** A choice by its place, with the counts that may be chosen, descending. */
type Allowed = Readonly<{ at: number; counts: readonly number[] }>

type Bounds = Readonly<{
  /** The most that is asked for in all. */
  most: number
  /** Asked of every part of a combination; below one that is not open nothing is made. */
  isOpen(candidate: Candidate): boolean
  /** Asked at every step. */
  isOver(): boolean
}>

/** Who could fill the seats of a candidate, each person one. */
class Seats {
  readonly people: number
  /** Places of the pools of which somebody could sit for another pool too, with their people. */
  readonly #shared: readonly Readonly<{ at: number; pool: string; people: readonly string[] }>[]

  constructor(choices: readonly Choice[], roots: ReadonlyMap<string, readonly string[]>) {
    const pools = choices.flatMap(({ kind }, at) =>
      typeof kind === 'string' ? [{ at, pool: kind, people: roots.get(kind) ?? [] }] : [],
    )
    const times = new Map<string, number>()
    for (const { people } of pools)
      for (const person of people) times.set(person, (times.get(person) ?? 0) + 1)
    this.people = times.size
    this.#shared = pools.filter(({ people }) => people.some((person) => (times.get(person) ?? 0) > 1))
  }

  fit(candidate: Candidate): boolean {
    let all = 0
    for (const { at } of this.#shared) all += candidate[at] ?? 0
    // a pool with as many people as there are seats in all has somebody left whoever sits elsewhere
    const tight = this.#shared.filter(({ at, people }) => (candidate[at] ?? 0) > 0 && people.length < all)
    if (tight.length === 0) return true
    const seats = tight.flatMap(({ at, pool }) => Array.from({ length: candidate[at] ?? 0 }, () => pool))
    const pairs = tight.flatMap(({ pool, people }) => people.map((root) => ({ pool, root })))
    return seated(seats, pairs) === seats.length
  }
}

/**
 * Every combination but the empty one, made when it is asked for: by what it asks for in all, then by how much of that
 * is not `likely`. Returns whether these were all.
 */
function* bySize(
  length: number,
  likely: readonly Allowed[],
  others: readonly Allowed[],
  bounds: Bounds,
): Generator<Candidate, boolean> {
  const { most } = bounds
  const [first, second] = [sumsOf(likely, most), sumsOf(others, most)]
  const rests = [...(second[0] ?? []).entries()].flatMap(([sum, can]) => (can === 1 ? [sum] : []))
  const candidate = Array.from({ length }, () => 0)
  for (let whole = 1; whole <= most; whole += 1) {
    for (const rest of rests) {
      if (rest > whole) break
      if (first[0]?.[whole - rest] !== 1) continue
      if (bounds.isOver()) return false
      for (const isMade of combinations(likely, first, whole - rest, candidate, bounds)) {
        if (!isMade) return false
        for (const isWhole of combinations(others, second, rest, candidate, bounds)) {
          if (!isWhole) return false
          yield candidate
        }
      }
    }
  }
  return true
}

/** For each position, which sums the choices from there on can make. */
function sumsOf(choices: readonly Allowed[], most: number): Uint8Array[] {
  const sums = [...choices, undefined].map(() => new Uint8Array(most + 1))
  for (let at = choices.length; at >= 0; at -= 1) {
    const here = sums[at] as Uint8Array
    here[0] = 1
    const below = sums[at + 1]
    if (below === undefined) continue
    for (let sum = 0; sum <= most; sum += 1) {
      if (below[sum] !== 1) continue
      here[sum] = 1
      for (const count of choices[at]?.counts ?? []) if (sum + count <= most) here[sum + count] = 1
    }
  }
  return sums
}

/** Adds evidence from `choices` that comes to `sum`; large counts, and so few kinds, first. Yields `false` when over. */
function* combinations(
  choices: readonly Allowed[],
  sums: readonly Uint8Array[],
  sum: number,
  candidate: number[],
  bounds: Bounds,
  from = 0,
): Generator<boolean> {
  if (sum === 0) {
    yield true
    return
  }
  for (let next = from; next < choices.length; next += 1) {
    const { at, counts } = choices[next] as Allowed
    for (const count of counts) {
      if (count > sum || sums[next + 1]?.[sum - count] !== 1) continue
      if (bounds.isOver()) {
        yield false
        return
      }
      candidate[at] = count
      if (bounds.isOpen(candidate))
        yield* combinations(choices, sums, sum - count, candidate, bounds, next + 1)
      candidate[at] = 0
    }
  }
}

function withEvidence(present: Proof, choices: readonly Choice[], candidate: Candidate): Proof {
  const approvals: Record<string, number> = { ...present.approvals }
  let { justification, reauth } = present
  for (const [at, { kind }] of choices.entries()) {
    const count = candidate[at] ?? 0
    if (count === 0) continue
    if (kind === REASON) justification = true
    else if (kind === REAUTH) reauth = true
    else approvals[kind] = count
  }
  return { approvals, justification, reauth }
}

function setOf(
  choices: readonly Choice[],
  candidate: Candidate,
  { obligations: { ttl, uses } }: Evaluation,
  binding: 'attempt' | 'task',
  people: readonly string[],
): RequirementSet {
  const requirements = choices.flatMap(({ kind }, at): RequirementSet['requirements'] => {
    const count = candidate[at] ?? 0
    if (count === 0) return []
    if (kind === REASON) return [{ kind: 'justification' }]
    return kind === REAUTH ? [{ kind: 'reauth', people }] : [{ kind: 'approval', pool: kind, count }]
  })
  return {
    requirements,
    // that it is them, people prove for one act
    binding: requirements.some(({ kind }) => kind === 'reauth') ? 'attempt' : binding,
    ...(ttl === undefined ? {} : { ttl }),
    ...(uses === undefined ? {} : { uses }),
  }
}

/** Whether everything `smaller` asks for is in `larger`. */
const within = (smaller: Candidate, larger: Candidate): boolean =>
  smaller.every((n, at) => n <= (larger[at] ?? 0))

/** Smaller first, then fewer kinds, then in the order in which policies name them. */
function compare(a: Candidate, b: Candidate): number {
  const size = (candidate: Candidate): number => candidate.reduce((sum, n) => sum + n, 0)
  const kinds = (candidate: Candidate): number => candidate.filter((n) => n > 0).length
  const first = a.findIndex((n, at) => n !== b[at])
  return size(a) - size(b) || kinds(a) - kinds(b) || (b[first] ?? 0) - (a[first] ?? 0)
}
