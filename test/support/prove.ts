/**
 * The property over a whole log: what happened has a proof of why, and it verifies.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { App } from '../../src/app.ts'
import { findingText } from '../../src/audit/bundle.ts'
import { parseVerifierKey } from '../../src/audit/note.ts'
import { verifyBundle } from '../../src/audit/proof.ts'
import { referee } from '../../src/decision/reference.ts'
import type { Caller } from '../../src/model/access.ts'
import { unpruned } from './store.ts'

const judge = referee()

/**
 * Proves the newest `most` grants, tasks, requests and credentials of a log of which nothing was pruned.
 *
 * @throws {AssertionError} naming the first of which the proof does not verify.
 */
export async function proveNewest(
  { flows, store }: Pick<App, 'flows' | 'store'>,
  caller: Caller,
  most: number,
): Promise<void> {
  const { size } = await store.log.head()
  const ids = new Set<string>()
  for (const { bytes } of unpruned(await store.log.entries(0, size)).toReversed()) {
    const { refs } = JSON.parse(Buffer.from(bytes).toString()) as { refs?: unknown }
    for (const id of Array.isArray(refs) ? (refs as string[]) : [])
      if (ids.size < most && /^(?:grant|task|req|cred|tok)_/u.test(id)) ids.add(id)
  }
  const keys = flows.transparency.keys().keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? [])
  for (const id of ids) {
    const text = await flows.prove(caller, id)
    const { failures, notShown } = verifyBundle(Buffer.from(text), { keys }, judge)
    assert.deepEqual([...failures.map(findingText), ...notShown], [], `the proof of ${id}`)
  }
}
