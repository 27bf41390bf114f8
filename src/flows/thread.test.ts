import assert from 'node:assert/strict'
import { constants, getPriority, platform } from 'node:os'
import { describe, test } from 'node:test'
import { setImmediate as breathe } from 'node:timers/promises'
import { entryOf, Thread, ThreadError } from './thread.ts'
import type { ThreadOptions } from './thread.ts'

/** A thread that does what its input says: it answers, or comes to an end in the named way. */
const entry = new URL(
  `data:text/javascript,${encodeURIComponent(`
    import { parentPort, threadId } from 'node:worker_threads'
    const trap = new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,7,5,1,1,102,0,0,10,5,1,3,0,0,11])
    const ends = {
      overflow: () => { const f = () => f() + 1; f() },
      memory: () => { const all = []; for (;;) all.push(new Array(10_000).fill(all.length)) },
      trap: () => new WebAssembly.Instance(new WebAssembly.Module(trap)).exports.f(),
      exit: () => process.exit(3),
      never: () => { for (;;); },
      failed: () => parentPort.postMessage({ failed: 'a sentence' }),
      last: () => parentPort.postMessage({ output: threadId, last: true }),
    }
    parentPort.on('message', (input) => {
      const end = ends[input]
      if (end === undefined) parentPort.postMessage({ output: threadId, last: false })
      else end()
    })
  `)}`,
)

const open = (more: Partial<ThreadOptions> = {}): Thread<string, number> =>
  new Thread({ entry, waiting: 8, timeout: 60_000, memory: 64, ...more })

const why =
  (expected: ThreadError['why'], message = /./u) =>
  (error: unknown): boolean =>
    error instanceof ThreadError && error.why === expected && message.test(error.message)

describe('a thread', () => {
  test('answers one after another, from the same thread', async () => {
    const thread = open()
    const answers = await Promise.all(['a', 'b', 'c'].map((input) => thread.run(input)))
    assert.equal(new Set(answers).size, 1)
    await thread.stop()
  })

  test('C12 works below decisions in priority, and leaves theirs alone', async () => {
    const before = getPriority()
    const served = new URL(
      `data:text/javascript,${encodeURIComponent(`
        import { getPriority } from 'node:os'
        import { serveThread } from ${JSON.stringify(new URL('thread.ts', import.meta.url).href)}
        serveThread(() => getPriority())
      `)}`,
    )
    const thread = open({ entry: served })
    // a process that is lower still has threads that are as low, and no lower
    const below = platform() === 'linux' ? constants.priority.PRIORITY_BELOW_NORMAL : before
    assert.equal(await thread.run('a'), Math.max(before, below))
    assert.equal(getPriority(), before)
    await thread.stop()
  })

  for (const how of ['overflow', 'memory', 'trap', 'exit', 'failed']) {
    test(`that ends by ${how} fails the work it had, and what waits gets another`, async () => {
      const thread = open()
      const first = await thread.run('a')
      const [broken, next] = await Promise.allSettled([thread.run(how), thread.run('b')])
      assert.ok(broken.status === 'rejected' && why('died')(broken.reason), JSON.stringify(broken))
      assert.ok(next.status === 'fulfilled' && next.value !== first, JSON.stringify(next))
      await thread.stop()
    })
  }

  test('that never answers is given up', async () => {
    const thread = open({ timeout: 200 })
    await assert.rejects(thread.run('never'), why('late', /longer than 0.2 s/u))
    await thread.stop()
  })

  test('that says so is not asked again', async () => {
    const thread = open()
    const first = await thread.run('last')
    assert.notEqual(await thread.run('a'), first)
    await thread.stop()
  })

  test('refuses what it has no room for, and everything once it was stopped', async () => {
    const thread = open({ waiting: 1 })
    const [running, waiting] = [thread.run('never'), thread.run('b')]
    await breathe()
    await assert.rejects(thread.run('c'), why('busy'))
    const both = Promise.allSettled([running, waiting])
    await thread.stop()
    for (const one of await both) assert.ok(one.status === 'rejected' && why('stopped')(one.reason))
    await assert.rejects(thread.run('d'), why('stopped'))
  })

  test('that cannot be started, or cannot be told, is an error and no crash', async () => {
    const missing = open({ entry: new URL('./nothing.ts', import.meta.url) })
    await assert.rejects(missing.run('a'), why('died'))
    const thread: Thread<unknown, number> = open()
    await assert.rejects(
      thread.run(() => 1),
      why('died', /could not be cloned/u),
    )
    await thread.stop()
  })
})

test('an entry file has the ending of who names it', () => {
  assert.equal(entryOf('x-thread', 'file:///a/flows/checking.ts').href, 'file:///a/flows/x-thread.ts')
  assert.equal(entryOf('x-thread', 'file:///a/dist/checking.js').href, 'file:///a/dist/x-thread.js')
})
