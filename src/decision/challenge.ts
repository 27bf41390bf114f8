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

/** Evidence that would clear what stands in the way of one rule: how many by pool, and whether a justification. */
export type Hint = Readonly<{ approvals: ReadonlyMap<string, number>; justification: boolean }>

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
  present: Proof
  givers(pool: string): Promise<readonly string[]>
  evaluate(proof: Proof): Evaluation
  bindingOf(evaluation: Evaluation): 'attempt' | 'task'
  monotonic(): number
  /** Asked for only where the order may matter. */
  hints?(): readonly Hint[]
}): Promise<Search> {
  const { present, monotonic } = options
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
  // a reason is one more kind of evidence, of which there is one
  if (options.justification && !present.justification) choices.push({ kind: REASON, counts: [1] })
  const seats = new Seats(roots)
  const order: ReadonlyMap<Kind, number> = new Map(choices.map(({ kind }, at) => [kind, at] as const))

  // eligibility is precomputed and cached, it does not count against the search
  const startedAt = monotonic()
  const found: { candidate: Candidate; set: RequirementSet }[] = []
  const seen = new Set<string>()
  const isLate = (share: number): boolean =>
    seen.size >= ALWAYS_TRIED && monotonic() - startedAt > MAX_SEARCH_MS * share
  const made = (share: number): Bounds => {
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
  /** Whether all of `candidates` were tried. */
  const tryAll = (from: readonly [likely: readonly Choice[], others: readonly Choice[]], share: number) => {
    const candidates = bySize(...from, made(share))
    for (;;) {
      const { done, value: candidate } = candidates.next()
      if (done) return candidate
      const key = keyOf(candidate, order)
      if (seen.has(key)) continue
      if (seen.size >= MAX_CANDIDATES * share || isLate(share)) return false
      seen.add(key)
      const evaluation = options.evaluate(withEvidence(present, candidate))
      if (evaluation.decision !== 'permit') continue
      found.push({ candidate, set: setOf(candidate, order, evaluation, options.bindingOf(evaluation)) })
    }
  }
  const space = choices.reduce((product, { counts }) => product * (counts.length + 1), 1) - 1
  const hints = space > ALWAYS_TRIED ? (options.hints?.() ?? []) : []
  const likely = choices.filter(({ kind }) => hints.some((hint) => mostOf(hint, kind) > 0))
  const others = choices.filter((choice) => !likely.includes(choice))
  for (const hint of hints) {
    const named = choices.flatMap(({ kind, counts }): readonly Choice[] => {
      const enough = counts.filter((n) => n <= mostOf(hint, kind))
      return enough.length === 0 ? [] : [{ kind, counts: enough }]
    })
    tryAll([named, []], 0.5)
  }
  const complete = tryAll([likely, others], 1)
  return {
    // the hint decides what is tried, never how the answer looks
    sets: found.sort((a, b) => compare(a.candidate, b.candidate, order)).map(({ set }) => set),
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
      const note = (path: string, count: number): void => {
        const pool = path.startsWith(APPROVALS)
          ? path.slice(APPROVALS.length)
          : path.startsWith(QUOTED)
            ? unquoted(path.slice(QUOTED.length - 1))
            : undefined
        if (pool !== undefined) approvals.set(pool, Math.max(approvals.get(pool) ?? 0, count))
        else if (path === 'context.proof.justification') justification = true
      }
      const visit = ({ status, required, actual, any }: ClauseResult): void => {
        if (status === 'holds') return
        // what is not a comparison says only what it read
        if (required !== undefined) note(required.path, countOf(required))
        else if (any === undefined) for (const { path } of actual) note(path, Infinity)
        any?.forEach(visit)
      }
      clauses.forEach(visit)
      return { approvals, justification }
    })
    .filter(({ approvals, justification }) => approvals.size > 0 || justification)
}

/** How many approvals a comparison asks for. */
function countOf({ operator, value }: RequiredValue): number {
  if (typeof value !== 'number') return Infinity
  return operator === '>=' || operator === '==' ? value : operator === '>' ? value + 1 : Infinity
}

const mostOf = (hint: Hint, kind: Kind): number =>
  kind === REASON ? (hint.justification ? 1 : 0) : (hint.approvals.get(kind) ?? 0)

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

/** The kind of evidence that has no pool. */
const REASON = Symbol('justification')
type Kind = string | typeof REASON

type Choice = Readonly<{ kind: Kind; counts: readonly number[] }>

/** Kinds of evidence with how many of each. */
type Candidate = ReadonlyMap<Kind, number>

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
  readonly #roots: ReadonlyMap<string, readonly string[]>

  constructor(roots: ReadonlyMap<string, readonly string[]>) {
    this.#roots = roots
    this.people = new Set([...roots.values()].flat()).size
  }

  fit(candidate: Candidate): boolean {
    const wanted = [...candidate].filter((one): one is [string, number] => one[0] !== REASON)
    const all = wanted.reduce((sum, [, n]) => sum + n, 0)
    if (all > this.people) return false
    // a pool with as many people as there are seats in all has somebody left whoever sits elsewhere
    const tight = wanted.filter(([pool]) => (this.#roots.get(pool)?.length ?? 0) < all)
    if (tight.length === 0) return true
    const seats = tight.flatMap(([pool, n]) => Array.from({ length: n }, () => pool))
    const pairs = tight.flatMap(([pool]) => (this.#roots.get(pool) ?? []).map((root) => ({ pool, root })))
    return seated(seats, pairs) === seats.length
  }
}

/**
 * Every combination but the empty one, made when it is asked for: by what it asks for in all, then by how much of that
 * is not `likely`. Returns whether these were all.
 */
function* bySize(
  likely: readonly Choice[],
  others: readonly Choice[],
  bounds: Bounds,
): Generator<Candidate, boolean> {
  const { most } = bounds
  const [first, second] = [sumsOf(likely, most), sumsOf(others, most)]
  const rests = [...(second[0] ?? []).entries()].flatMap(([sum, can]) => (can === 1 ? [sum] : []))
  for (let whole = 1; whole <= most; whole += 1) {
    for (const rest of rests) {
      if (rest > whole) break
      if (first[0]?.[whole - rest] !== 1) continue
      if (bounds.isOver()) return false
      for (const base of combinations(likely, first, whole - rest, new Map(), bounds)) {
        if (base === undefined) return false
        for (const candidate of combinations(others, second, rest, base, bounds)) {
          if (candidate === undefined) return false
          yield candidate
        }
      }
    }
  }
  return true
}

/** For each position, which sums the choices from there on can make. */
function sumsOf(choices: readonly Choice[], most: number): Uint8Array[] {
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

/** `base` with evidence from `choices` that comes to `sum`; large counts, and so few kinds, first. `undefined` when over. */
function* combinations(
  choices: readonly Choice[],
  sums: readonly Uint8Array[],
  sum: number,
  base: Candidate,
  bounds: Bounds,
  at = 0,
): Generator<Candidate | undefined> {
  if (sum === 0) {
    yield base
    return
  }
  for (let next = at; next < choices.length; next += 1) {
    const { kind, counts } = choices[next] as Choice
    for (const count of counts.toReversed()) {
      if (count > sum || sums[next + 1]?.[sum - count] !== 1) continue
      if (bounds.isOver()) {
        yield undefined
        return
      }
      const more: Candidate = new Map<Kind, number>([...base, [kind, count]])
      if (bounds.isOpen(more)) yield* combinations(choices, sums, sum - count, more, bounds, next + 1)
    }
  }
}

function withEvidence(present: Proof, candidate: Candidate): Proof {
  const approvals: Record<string, number> = { ...present.approvals }
  for (const [kind, n] of candidate) if (kind !== REASON) approvals[kind] = n
  return { approvals, justification: present.justification || candidate.has(REASON) }
}

function setOf(
  candidate: Candidate,
  order: ReadonlyMap<Kind, number>,
  { obligations: { ttl, uses } }: Evaluation,
  binding: 'attempt' | 'task',
): RequirementSet {
  return {
    requirements: [
      ...[...order.keys()].flatMap((kind) => {
        const count = candidate.get(kind)
        return kind === REASON || count === undefined
          ? []
          : [{ kind: 'approval' as const, pool: kind, count }]
      }),
      ...(candidate.has(REASON) ? [{ kind: 'justification' as const }] : []),
    ],
    binding,
    ...(ttl === undefined ? {} : { ttl }),
    ...(uses === undefined ? {} : { uses }),
  }
}

/** The same for the same evidence, in whatever order it was put together. */
const keyOf = (candidate: Candidate, order: ReadonlyMap<Kind, number>): string =>
  [...candidate]
    .map(([kind, n]) => `${order.get(kind) ?? ''}:${n}`)
    .sort()
    .join(' ')

const sizeOf = (candidate: Candidate): number => [...candidate.values()].reduce((sum, n) => sum + n, 0)

/** Whether everything `smaller` asks for is in `larger`. */
const within = (smaller: Candidate, larger: Candidate): boolean =>
  [...smaller].every(([kind, n]) => n <= (larger.get(kind) ?? 0))

/** Smaller first, then fewer kinds, then in the order in which policies name them. */
function compare(a: Candidate, b: Candidate, order: ReadonlyMap<Kind, number>): number {
  if (sizeOf(a) !== sizeOf(b)) return sizeOf(a) - sizeOf(b)
  if (a.size !== b.size) return a.size - b.size
  const places = (candidate: Candidate): number[] =>
    [...candidate.keys()].map((kind) => order.get(kind) ?? 0).sort((x, y) => x - y)
  const [left, right] = [places(a), places(b)]
  const at = left.findIndex((place, i) => place !== right[i])
  return at === -1 ? 0 : (left[at] ?? 0) - (right[at] ?? 0)
}
