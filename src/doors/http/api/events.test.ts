import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { NOW, fakeCallers, knock } from '../../../../test/support/doors.ts'
import type { LiveEvent } from '../../../flows/port.ts'
import type { Callers } from '../../../identity/callers.ts'
import { WritError } from '../../../model/errors.ts'
import { Stream } from './events.ts'

const event = (id: number): LiveEvent => ({
  id,
  kind: 'grant.ended',
  refs: ['grant_1'],
  at: NOW,
  entry: { a: 'line\nbreak' },
})
const bearer = { authorization: 'Bearer writ_key_test' }

/** The text of a stream until it holds `mark`, or all of it when it ends. */
async function readUntil(reader: ReadableStreamDefaultReader<Uint8Array>, mark: string): Promise<string> {
  let text = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return text
    text += new TextDecoder().decode(value)
    if (text.includes(mark)) return text
  }
}

/** Flows that keep their listeners, so that a test can tell them something. */
function hub() {
  const listeners = new Set<(event: LiveEvent) => void>()
  const asked: (number | undefined)[] = []
  const reader = { is: true }
  return {
    listeners,
    asked,
    /** Whether whoever asks may read everything. */
    reader,
    entries: () =>
      reader.is
        ? Promise.resolve([])
        : Promise.reject(new WritError('ERR_FORBIDDEN', 'may not read the log')),
    events: async (_caller: unknown, after: number | undefined, listener: (event: LiveEvent) => void) => {
      asked.push(after)
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    tell: (said: LiveEvent) => listeners.forEach((listener) => listener(said)),
  }
}

describe('live events', () => {
  test('arrive with id, kind and data, and resume after the last one seen', async () => {
    const flows = hub()
    await using door = await knock(flows)
    const response = await door.fetch('/v1/events', { headers: { ...bearer, 'last-event-id': '41' } })
    assert.equal(response.status, 200)
    assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/)
    assert.equal(response.headers.get('cache-control'), 'no-store')
    assert.ok(response.headers.get('x-request-id'))
    const reader = response.body!.getReader()
    await readUntil(reader, 'retry:')
    flows.tell(event(42))
    const text = await readUntil(reader, '\n\n')
    assert.equal(
      text,
      'id: 42\nevent: grant.ended\ndata: {"id":42,"kind":"grant.ended","refs":["grant_1"],"at":"2026-11-22T14:00:00.000Z","entry":{"a":"line\\nbreak"}}\n\n',
    )
    assert.deepEqual(flows.asked, [41])
    await reader.cancel()
    await door.fetch('/v1/events?after=7', { headers: bearer }).then((other) => other.body?.cancel())
    assert.deepEqual(flows.asked, [41, 7])
    assert.equal(
      (await door.fetch('/v1/events', { headers: { ...bearer, 'last-event-id': 'x' } })).status,
      400,
    )
    assert.equal((await door.fetch('/v1/events?after=-1', { headers: bearer })).status, 400)
  })
  test('a refusal is a problem, not a stream', async () => {
    await using door = await knock({
      entries: async () => [],
      events: () => Promise.reject(new WritError('ERR_FORBIDDEN', 'no')),
    })
    const response = await door.fetch('/v1/events', { headers: bearer })
    assert.equal(response.status, 403)
    assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/)
  })
  test(
    'B59 end with the credentials they were opened with, before anything more is told',
    { timeout: 20_000 },
    async () => {
      const flows = hub()
      let known = true
      const callers: Callers = {
        authenticate: (credentials) =>
          known
            ? fakeCallers.authenticate(credentials)
            : Promise.reject(new WritError('ERR_UNAUTHENTICATED', 'over')),
      }
      await using door = await knock(flows, { callers })
      const response = await door.fetch('/v1/events', { headers: bearer })
      const reader = response.body!.getReader()
      await readUntil(reader, 'retry:')
      known = false
      door.clock.at += 50
      flows.tell(event(1))
      assert.equal(await readUntil(reader, 'never'), '')
      assert.equal(flows.listeners.size, 0)
    },
  )
  test(
    'B59 end when what the caller may see has changed, before anything more is told',
    { timeout: 20_000 },
    async () => {
      const flows = hub()
      await using door = await knock(flows)
      const response = await door.fetch('/v1/events', { headers: bearer })
      const reader = response.body!.getReader()
      await readUntil(reader, 'retry:')
      flows.reader.is = false
      door.clock.at += 50
      flows.tell(event(1))
      assert.equal(await readUntil(reader, 'never'), '')
      assert.equal(flows.listeners.size, 0)
    },
  )
  test('who may not read everything sees the names of nobody else', async () => {
    const flows = hub()
    flows.reader.is = false
    await using door = await knock(flows)
    const response = await door.fetch('/v1/events', { headers: bearer })
    const reader = response.body!.getReader()
    await readUntil(reader, 'retry:')
    const refs = ['Person/ada', 'Workload/pep', 'task_1', 'Database/orders']
    flows.tell({ ...event(2), refs, entry: { kind: 'inventory.put', refs } })
    const text = await readUntil(reader, '\n\n')
    assert.match(text, /"refs":\["Workload\/pep","task_1"\].*"refs":\["Workload\/pep","task_1"\]/)
    assert.doesNotMatch(text, /ada|orders/)
    await reader.cancel()
  })
  test('a reader that leaves is forgotten', async () => {
    const flows = hub()
    await using door = await knock(flows)
    const left = new Promise<void>((resolve) => {
      const socket = connect(Number(new URL(door.url).port), '127.0.0.1', () =>
        socket.write(
          'GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer writ_key_test\r\n\r\n',
        ),
      )
      socket.once('data', () => {
        socket.destroy()
        const look = setInterval(() => {
          if (flows.listeners.size > 0) return
          clearInterval(look)
          resolve()
        }, 5)
      })
    })
    await left
    assert.equal(flows.listeners.size, 0)
  })
  test('one caller has eight streams, and a place again when one ends', async () => {
    const flows = hub()
    await using door = await knock(flows)
    const open = async () => {
      const response = await door.fetch('/v1/events', { headers: bearer })
      return response
    }
    const streams = await Promise.all(Array.from({ length: 8 }, open))
    const ninth = await open()
    assert.equal(ninth.status, 429)
    const session = await door.fetch('/v1/events', { headers: { authorization: 'Bearer writ_sess_test' } })
    assert.equal(session.status, 200)
    for (const response of [...streams, session]) await response.body?.cancel()
  })
  test('closing the server ends them', async () => {
    const flows = hub()
    const door = await knock(flows)
    const response = await door.fetch('/v1/events', { headers: bearer })
    const reader = response.body!.getReader()
    await readUntil(reader, 'retry:')
    await door.server.close()
    assert.equal(await readUntil(reader, 'never'), '')
  })
})

describe('a stream', () => {
  const setup = () => {
    const written: string[] = []
    const state = { unsent: 0, ended: false, now: 0, checks: 0 }
    const stream = new Stream(
      {
        write: (text) => void written.push(text),
        unsent: () => state.unsent,
        end: () => void (state.ended = true),
      },
      {
        now: () => state.now,
        recheck: async () => void state.checks++,
        failed: () => undefined,
      },
    )
    return { written, state, stream }
  }
  const settled = () => new Promise((resolve) => setImmediate(resolve))

  test('writes nothing before it is opened, and everything in order after', async () => {
    const { written, stream } = setup()
    stream.push(event(1))
    stream.push(event(2))
    await settled()
    assert.deepEqual(written, [])
    stream.open()
    stream.push(event(3))
    await settled()
    assert.deepEqual(
      written.map((text) => /id: (\d+)/.exec(text)?.[1]),
      ['1', '2', '3'],
    )
  })
  test('B80 a reader that takes nothing costs no more than its bound', async () => {
    const { written, state, stream } = setup()
    stream.open()
    state.unsent = 2_000_000
    stream.push(event(1))
    await settled()
    assert.equal(state.ended, true)
    assert.deepEqual(written, [])
  })
  test('more than may wait: what waits is sent, then it ends, so that resuming gets further', async () => {
    const { written, state, stream } = setup()
    for (let i = 0; i < 10_005; i++) stream.push(event(i))
    stream.open()
    while (!state.ended) await settled()
    assert.equal(written.length, 10_000)
  })
  test('looks at the caller once for a burst, and at every beat', async () => {
    const { written, state, stream } = setup()
    stream.open()
    stream.push(event(1))
    await settled()
    assert.equal(state.checks, 0)
    state.now = 50
    stream.push(event(2))
    stream.push(event(3))
    await settled()
    assert.equal(state.checks, 1)
    await stream.beat()
    assert.equal(state.checks, 2)
    assert.equal(written.at(-1), ': \n\n')
  })
})
