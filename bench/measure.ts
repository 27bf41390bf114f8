/**
 * Measuring: warm up, five runs, the median of each figure. A figure counts as a ratio with its peer of the same run.
 *
 * @module
 */

/** One line of `--json`. `ratio` is how many times better than `peer` the value is; below 1 it is worse. */
export type Row = Readonly<{
  bench: string
  metric: string
  value: number
  unit: 'µs' | 'ms' | '/s' | 'MiB' | '×'
  peer: string | null
  ratio: number | null
}>

export type Sample = Readonly<{ p50: number; p99: number; p999: number; rate: number }>

export const RUNS = 5

/**
 * Calls `once` from `concurrency` loops for `seconds`, `RUNS` times after a warm-up; medians over the runs. Latencies in
 * milliseconds. `once` checks its own answer and throws for a wrong one, which voids the bench.
 */
export async function sample(
  once: () => Promise<void>,
  options: Readonly<{ seconds: number; concurrency: number; warmup?: number }>,
): Promise<Sample> {
  await loop(once, options.warmup ?? 2, options.concurrency)
  const runs: Sample[] = []
  for (let run = 0; run < RUNS; run += 1) runs.push(await loop(once, options.seconds, options.concurrency))
  return medians(runs)
}

const medians = (runs: readonly Sample[]): Sample => ({
  p50: median(runs.map((r) => r.p50)),
  p99: median(runs.map((r) => r.p99)),
  p999: median(runs.map((r) => r.p999)),
  rate: median(runs.map((r) => r.rate)),
})

/** As `sample`, of two by turns, so that whatever else the machine does hits both. */
export async function pair(
  ours: () => Promise<void>,
  theirs: () => Promise<void>,
  { seconds, concurrency, warmup = 1 }: Parameters<typeof sample>[1],
): Promise<Readonly<{ ours: Sample; theirs: Sample }>> {
  const runs: Record<'ours' | 'theirs', Sample[]> = { ours: [], theirs: [] }
  await loop(theirs, warmup, concurrency)
  await loop(ours, warmup, concurrency)
  for (let run = 0; run < RUNS; run += 1) {
    runs.theirs.push(await loop(theirs, seconds, concurrency))
    runs.ours.push(await loop(ours, seconds, concurrency))
  }
  return { ours: medians(runs.ours), theirs: medians(runs.theirs) }
}

async function loop(once: () => Promise<void>, seconds: number, concurrency: number): Promise<Sample> {
  const latencies: number[] = []
  const startedAt = performance.now()
  const until = startedAt + seconds * 1_000
  const worker = async (): Promise<void> => {
    for (let before = performance.now(); before < until;) {
      await once()
      const after = performance.now()
      latencies.push(after - before)
      before = after
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return percentiles(latencies, (performance.now() - startedAt) / 1_000)
}

/** The percentiles of `latencies`, and their number per second. */
export function percentiles(latencies: number[], seconds: number): Sample {
  const sorted = latencies.toSorted((a, b) => a - b)
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), rate: latencies.length / seconds }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

/** Rows for one sample against its peer's. */
export function rows(
  bench: string,
  what: string,
  ours: Sample,
  peer: { name: string; sample: Sample },
): Row[] {
  const line = (metric: string, value: number, unit: Row['unit'], theirs: number, more: boolean): Row => ({
    bench,
    metric: `${what} ${metric}`,
    value,
    unit,
    peer: peer.name,
    ratio: more ? value / theirs : theirs / value,
  })
  return [
    line('p50', ours.p50, 'ms', peer.sample.p50, false),
    line('p99', ours.p99, 'ms', peer.sample.p99, false),
    line('p99.9', ours.p999, 'ms', peer.sample.p999, false),
    line('rate', ours.rate, '/s', peer.sample.rate, true),
  ]
}

export const rss = (bench: string): Row => ({
  bench,
  metric: 'rss',
  value: process.memoryUsage().rss / 2 ** 20,
  unit: 'MiB',
  peer: null,
  ratio: null,
})
