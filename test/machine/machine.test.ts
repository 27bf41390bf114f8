import assert from 'node:assert/strict'
import { relative } from 'node:path'
import test, { after, before } from 'node:test'
import fc from 'fast-check'
import { runs } from './commands.ts'
import type { Run } from './commands.ts'
import { kept } from './kept.ts'
import { runMachine } from './machine.ts'
import type { Template } from './setup.ts'
import { makeTemplate } from './setup.ts'

// `WRIT_SEED` and `WRIT_PATH` repeat a failure as it says, `WRIT_RUNS` sets how many runs, `WRIT_REACHED=1` shows what they
// came to, `WRIT_SOAK=1` goes on for long
const { WRIT_SEED, WRIT_PATH, WRIT_SOAK, WRIT_RUNS, WRIT_REACHED } = process.env
const numRuns = Number(WRIT_RUNS ?? (WRIT_SOAK === undefined ? 100 : 5_000))
const MOST_COMMANDS = 64

/** What a hundred runs reach whatever the seed: a machine that reaches nothing proves nothing. */
const REACHED_BY_HUNDRED = [
  'permit standing',
  'permit evidence',
  'challenge evidence_required',
  'deny task_limit',
  'deny task_ended',
  'deny subject_locked',
  'deny forbidden_assertion',
  'approval',
  'child task',
  'replay again',
  'burst that spends all',
  'issue none',
  'issue race revoke',
  'issue race crash',
  'race task',
  'race subject',
  'crash',
  'restart',
  'lock',
  'recreate',
  'obtained db:look',
  'obtained db:stow',
  'obtained db:keep',
  'obtained db:change',
  'obtained db:fix',
  'obtained db:release',
  'obtained db:sit',
  'ended by report',
  'ended by signal',
  'ended by lapse',
  'ended by source',
  'ended by cut',
  'ended by tool',
  'ended by owner',
  'deny locked',
  'lock resource',
  'unlock tool',
  'cut before',
  'cut after',
  'race tool',
  'race fact',
  'late answer',
  'signal about others',
  'signal that comes again',
  'sessions ended',
  'task in a window of a calendar',
]

let template: Template
before(async () => {
  template = await makeTemplate()
})
after(() => template.dispose())

/** What was reached, by the kept runs too. */
const reached = new Map<string, number>()

for (const [why, commands] of Object.entries(kept)) {
  test(`kept: ${why}`, () => runMachine(template, { seed: 0, commands }, reached))
}

test('laws 1-6 and 8-11: whatever happens in whatever order, Writ does what the model says', async (t) => {
  const result = await fc.check(
    fc.asyncProperty(runs(MOST_COMMANDS), (run) => runMachine(template, run, reached)),
    {
      numRuns,
      // the first runs would be short otherwise
      unbiased: true,
      ...(WRIT_SEED === undefined ? {} : { seed: Number(WRIT_SEED) }),
      ...(WRIT_PATH === undefined ? {} : { path: WRIT_PATH, endOnFailure: true }),
    },
  )
  if (result.failed) assert.fail(reportOf(result))
  if (WRIT_REACHED !== undefined)
    for (const what of [...reached.keys()].sort()) t.diagnostic(`${reached.get(what)} ${what}`)
  if (numRuns < 100 || WRIT_PATH !== undefined) return
  const missed = REACHED_BY_HUNDRED.filter((what) => !reached.has(what))
  assert.deepEqual(missed, [], `seed ${result.seed} reaches too little`)
})

/** Why, after which commands, and how to see it again. */
function reportOf({ seed, counterexamplePath, counterexample, errorInstance }: fc.RunDetails<[Run]>): string {
  const file = relative(process.cwd(), import.meta.filename)
  const why = errorInstance instanceof Error ? errorInstance.message : String(errorInstance)
  const commands = counterexample?.[0].commands.map((command) => `  ${JSON.stringify(command)},`).join('\n')
  const again = `WRIT_SEED=${seed} WRIT_PATH=${counterexamplePath} node --test ${file}`
  return `${why}\n\nafter (seed ${counterexample?.[0].seed}):\n${commands}\n\nagain: ${again}`
}
