/**
 * The mission, executed: `npm run scenarios [-- S16 S26 …] [--json]`. One row for each scenario; exit 1 if one is red.
 *
 * @module
 */
import { globSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs, styleText } from 'node:util'
import type { Check, Scenario } from './support/story.ts'
import { Story } from './support/story.ts'

const USAGE = 'usage: npm run scenarios [-- S16 S26 …] [--json]'

/** A scenario that has not ended by then never will. */
const WITHIN = 600_000

/** File by id: `s16-migration.ts` is S16. */
const files = new Map(
  globSync('s*-*.ts', { cwd: import.meta.dirname })
    .sort()
    .map((file) => [(basename(file).split('-', 1)[0] ?? '').toUpperCase(), file]),
)

type Row = Readonly<{
  id: string
  name: string
  ok: boolean
  right: string
  wrong: string
  ms: number
  figures: readonly string[]
  checks: readonly Check[]
  error?: string
}>

process.exitCode = await main()
// what a story that went red has left behind must not keep anybody waiting
setTimeout(() => {
  console.error(`still open: ${[...new Set(process.getActiveResourcesInfo())].join(', ')}`)
  process.exit()
}, 5_000).unref()

async function main(): Promise<number> {
  let wanted: string[]
  let json: boolean
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean' } },
    })
    json = values.json ?? false
    wanted = positionals.map((id) => id.toUpperCase())
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
    return 2
  }
  const unknown = wanted.filter((id) => !files.has(id))
  if (unknown.length > 0) {
    console.error(`unknown: ${unknown.join(', ')}; there are ${[...files.keys()].join(', ')}\n${USAGE}`)
    return 2
  }
  const stop = new AbortController()
  let running: Story | undefined
  const interrupt = (): void => {
    if (stop.signal.aborted) return
    stop.abort()
    // whatever the story waits for ends with its parts
    void running?.dispose().finally(() => process.exit(130))
    if (running === undefined) process.exit(130)
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)

  let red = 0
  for (const [id, file] of files) {
    if (wanted.length > 0 && !wanted.includes(id)) continue
    const { scenario } = (await import(join(import.meta.dirname, file))) as { scenario: Scenario }
    if (scenario.id !== id) throw new Error(`${file} says that it is ${scenario.id}`)
    running = new Story(stop.signal)
    const row = await play(scenario, running)
    running = undefined
    if (stop.signal.aborted) return 130
    if (!row.ok) red += 1
    console.log(json ? JSON.stringify(row) : render(row))
    if (!json && row.error !== undefined) console.error(row.error)
  }
  return red === 0 ? 0 : 1
}

async function play(scenario: Scenario, story: Story): Promise<Row> {
  const { id, name, right, wrong } = scenario
  const started = performance.now()
  const failures: string[] = []
  const attempt = async (act: () => Promise<void>): Promise<void> => {
    try {
      await act()
    } catch (error) {
      const at = story.failing === undefined ? '' : `${story.failing.half}: ${story.failing.what}: `
      failures.push(at + (error instanceof Error ? (error.stack ?? error.message) : String(error)))
    }
  }
  await attempt(async () => {
    await within(scenario.run(story))
    await within(story.finish())
  })
  story.failing = undefined
  if (failures.length > 0) failures.push(...story.logs())
  await attempt(() => story.dispose())
  return {
    id,
    name,
    ok: failures.length === 0,
    right,
    wrong,
    ms: Math.round(performance.now() - started),
    figures: story.figures,
    checks: story.checks,
    ...(failures.length === 0 ? {} : { error: failures.join('\n') }),
  }
}

async function within(work: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`not done within ${WITHIN} ms`)), WITHIN)
  try {
    await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

function render(row: Row): string {
  const mark = row.ok ? styleText('green', '✓ green') : styleText('red', '✗ red  ')
  const head = `${mark} ${row.id} ${row.name.padEnd(15)}`
  const ms = `${row.ms} ms`.padStart(8)
  if (!row.ok) return `${head} ${ms}  ${row.error?.split('\n', 1)[0] ?? ''}`
  const figures = row.figures.map((figure) => `  · ${figure}`).join('')
  return `${head} ${ms}  right: ${row.right}  · fails: ${row.wrong}${figures}`
}
