/**
 * The version of this package.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs'

// one level up from the source, two from the build
const manifest = ['../package.json', '../../package.json']
  .map((path) => new URL(path, import.meta.url))
  .find((url) => existsSync(url))

export const version: string =
  manifest === undefined
    ? '0.0.0'
    : (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
