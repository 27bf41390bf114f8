/**
 * What must hold before a change is committed: `npm run check`. Every step runs; exit 1 if one failed.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs, styleText } from 'node:util'

const ROOT = resolve(import.meta.dirname, '..')
const BIN = join(ROOT, 'node_modules/.bin')

type Step = Readonly<{ name: string; mend: string; command: readonly string[] }>

const STEPS: readonly Step[] = [
  { name: 'types', mend: 'see above', command: [join(BIN, 'tsc'), '-p', ROOT] },
  {
    name: 'types of the client (web APIs alone)',
    mend: 'see above',
    command: [join(BIN, 'tsc'), '-p', join(ROOT, 'tsconfig.client.json')],
  },
  { name: 'lint', mend: 'see above', command: [join(BIN, 'oxlint'), '--quiet'] },
  { name: 'format', mend: 'run `npm run format`', command: [join(BIN, 'oxfmt'), '--check', '.'] },
  {
    name: 'architecture',
    mend: 'see above',
    command: [process.execPath, '--test', '--test-reporter=dot', join(ROOT, 'test/architecture.test.ts')],
  },
  {
    name: 'docs in step',
    mend: 'run `npm run docs`',
    command: [process.execPath, join(ROOT, 'scripts/docs.ts'), '--check'],
  },
]

const { positionals } = parseArgs({ allowPositionals: true })
const failed: Step[] = []
const steps = STEPS.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
for (const step of steps) {
  const script = step.command.find((part) => part.endsWith('docs.ts'))
  if (script !== undefined && !existsSync(script)) continue
  const [program = '', ...args] = step.command
  const started = performance.now()
  const { status, error, stdout } = spawnSync(program, args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  if (status === 0) {
    console.log(`${styleText('green', '✔')} ${step.name} ${styleText('dim', `${seconds} s`)}`)
  } else {
    console.log(`${stdout}${error?.message ?? ''}\n${styleText('red', '✖')} ${step.name}: ${step.mend}`)
    failed.push(step)
  }
}
if (failed.length > 0) {
  console.log(`\n${failed.map(({ name }) => name).join(', ')} failed`)
  process.exitCode = 1
}
