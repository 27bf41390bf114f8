/**
 * Emits the package's JavaScript and declarations into `dist/`: `npm run build`.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { cpSync, globSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '..')
const DIST = join(ROOT, 'dist')

rmSync(DIST, { recursive: true, force: true })
const { status, error } = spawnSync(
  join(ROOT, 'node_modules/.bin/tsc'),
  ['-p', join(ROOT, 'tsconfig.build.json')],
  { stdio: 'inherit' },
)
if (status !== 0) {
  console.error(`build failed${error === undefined ? '' : `: ${error.message}`}`)
  process.exit(1)
}
// what the code reads at run time and the compiler does not know
const assets = globSync('{src,client/src}/**/*.{sql,css,html,svg,cedar,cedarschema,json}', { cwd: ROOT })
for (const file of assets)
  cpSync(join(ROOT, file), join(DIST, dirname(file), file.slice(dirname(file).length + 1)))
