/**
 * Emits the package's JavaScript and declarations into `dist/`: `npm run build -- [FOLDER]`.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { cpSync, globSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '..')
const [elsewhere] = process.argv.slice(2)
const DIST = resolve(elsewhere ?? join(ROOT, 'dist'))

if (elsewhere === undefined) rmSync(DIST, { recursive: true, force: true })
const { status, error } = spawnSync(
  join(ROOT, 'node_modules/.bin/tsc'),
  ['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', DIST],
  { stdio: 'inherit' },
)
if (status !== 0) {
  console.error(`build failed${error === undefined ? '' : `: ${error.message}`}`)
  process.exit(1)
}
// what the code reads at run time and the compiler does not know
const assets = globSync('{src,client/src}/**/*.{sql,css,html,svg,cedar,cedarschema,json}', { cwd: ROOT })
for (const file of assets) cpSync(join(ROOT, file), join(DIST, file))
