/**
 * The YAML library, loaded with the first YAML: most commands meet none, and it is a quarter of what they would load.
 *
 * @module
 */
import { createRequire } from 'node:module'
import type * as Yaml from 'yaml'

let library: typeof Yaml | undefined

export const yaml = (): typeof Yaml => (library ??= createRequire(import.meta.url)('yaml') as typeof Yaml)
