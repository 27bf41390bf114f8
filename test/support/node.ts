/**
 * Node.js of other versions than ours, for what must run on them: the client, and the sentence of `writ`.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

import { cachedFolder } from '../../src/cli/cached-folder.ts'
import { isExecutable } from './executable.ts'

const run = promisify(execFile)

/** What npm brings when the machine has none of that major version. */
const VERSIONS = { 20: '20.20.2', 22: '22.23.3' } as const

/** A major version that the client supports. */
export type NodeMajor = 20 | 22 | 24

/**
 * Path of a Node.js of version `major`: ours, one of this machine, or one installed from the registry into a
 * folder that is kept.
 *
 * @throws {Error} if there is none and none can be installed.
 */
export async function nodeOf(major: NodeMajor): Promise<string> {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const node = join(folder, 'node')
    if (isExecutable(node) && (await versionOf(node)).startsWith(`v${major}.`)) return node
  }
  if (major === 24) throw new Error('no Node.js 24 here: run the tests with `npm test`')
  const name = `node-${process.platform}-${process.arch}`
  const version = VERSIONS[major]
  const folder = await cachedFolder(`writ-node-${version}-${process.arch}`, async (target) => {
    await run(
      'npm',
      ['install', '--prefix', target, '--ignore-scripts', '--no-audit', `${name}@${version}`],
      {
        cwd: target,
      },
    )
  })
  return join(folder, 'node_modules', name, 'bin/node')
}

async function versionOf(node: string): Promise<string> {
  return (await run(node, ['--version'])).stdout
}
