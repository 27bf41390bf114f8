import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Credential } from '../model/credential.ts'
import type { Fact } from '../model/fact.ts'
import type { Grant } from '../model/grant.ts'
import type { Lock } from '../model/lock.ts'
import { declaredTask, migrator } from '../../test/support/task.ts'
import type { Change } from './watch.ts'
import { lockKey, Watch } from './watch.ts'

const NOW = Date.UTC(2026, 10, 22, 14, 0, 0)

/** A live grant that read `reads`. */
function grant(id: string, reads: readonly string[], more: Partial<Grant> = {}): Grant {
  return {
    id,
    state: 'active',
    subject: migrator,
    chain: [migrator],
    generations: {},
    action: 'read',
    resource: { type: 'Document', id: 'handbook' },
    binding: 'task',
    statement: 's',
    attempt: 'a',
    analysed: {},
    evidence: { approvals: [], justification: false },
    used: 0,
    startedAt: NOW,
    endsAt: NOW + 60_000,
    obligations: { binding: 'task', notify: [] },
    decision: 'dec_1',
    policy: 'p',
    caller: 'key:k',
    asked: { id: 'key:k', kind: 'key', subject: migrator, generation: 0 },
    reads,
    urgency: 7,
    ...more,
  }
}

const fact = (about: string, more: Partial<Fact> = {}): Change => ({
  kind: 'fact',
  id: `posture ${about}`,
  before: undefined,
  after: {
    id: `posture ${about}`,
    name: 'posture',
    about,
    value: { compliant: false, status: 'lost' },
    observedAt: NOW,
    source: 'mdm',
    receivedAt: NOW,
    by: 'x',
    ...more,
  },
})

const credential = (more: Pick<Credential, 'id' | 'grant' | 'state'>): Credential => ({
  target: 'orders-db',
  planned: {},
  plannedAt: NOW,
  endsAt: NOW,
  tries: 0,
  ...more,
})

const ids = (watch: Watch, most = 100): string[] => watch.take(most).map(({ id }) => id)

describe('who is affected', () => {
  test('exactly the grants that read what changed, absent records too, whatever was noted and forgotten before', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd', 'e')
    const step = fc.record({
      id: fc.constantFrom('g1', 'g2', 'g3', 'g4'),
      reads: fc.option(fc.uniqueArray(key), { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), key, (steps, changed) => {
        const watch = new Watch()
        const model = new Map<string, readonly string[]>()
        for (const { id, reads } of steps) {
          if (reads === undefined) {
            model.delete(id)
            watch.changed([
              { kind: 'grant', id, before: undefined, after: grant(id, [], { state: 'ended' }) },
            ])
          } else {
            model.set(id, reads)
            const keys = reads.map((one) => `fact/posture ${one}`)
            watch.changed([{ kind: 'grant', id, before: undefined, after: grant(id, keys) }])
          }
        }
        watch.changed([fact(changed)])
        const expected = [...model].filter(([, reads]) => reads.includes(changed)).map(([id]) => id)
        assert.deepEqual(ids(watch).sort(), expected.sort())
        assert.equal(watch.size, model.size)
      }),
    )
  })

  test('counters, heartbeats and the same said again affect nobody', () => {
    const watch = new Watch()
    watch.note(grant('g', ['task/task_1', 'fact/posture a', 'session/s']))
    const task = declaredTask(NOW)
    const { after } = fact('a') as { after: Fact }
    watch.changed([
      { kind: 'task', id: 'task_1', before: task, after: { ...task, calls: 7, heartbeatAt: NOW } },
      { kind: 'fact', id: 'posture a', before: after, after: { ...after, observedAt: NOW + 1, by: 'y' } },
    ])
    assert.equal(watch.isWaiting, false)
    watch.changed([{ kind: 'task', id: 'task_1', before: task, after: { ...task, state: 'open' } }])
    assert.deepEqual(ids(watch), ['g'])
  })

  test('a policy concerns all, a lock those that read what it is about, and what ends meanwhile is not looked at', () => {
    const watch = new Watch()
    watch.note(grant('g1', ['entity/Document/handbook', 'meta/policy']))
    watch.note(grant('g2', ['entity/Agent/migrator', 'meta/policy'], { action: 'stow' }))
    watch.changed([{ kind: 'meta', id: 'policy', before: { version: '1' }, after: { version: '2' } }])
    assert.equal(watch.isWaiting, true)
    watch.changed([
      { kind: 'grant', id: 'g1', before: undefined, after: grant('g1', [], { state: 'ended' }) },
    ])
    assert.deepEqual(watch.take(9), [{ id: 'g2', why: 'policy changed', turn: 31 }])
    const lock = (what: Lock['what'], about: string): Change => ({
      kind: 'lock',
      id: `${what} ${about}`,
      before: undefined,
      after: { id: `${what} ${about}`, what, about, reason: 'r', by: 'x', at: NOW },
    })
    watch.changed([lock('tool', 'stow')])
    assert.deepEqual(ids(watch), ['g2'])
    watch.changed([lock('resource', 'Document/other'), lock('tool', 'read')])
    assert.deepEqual(ids(watch), [])
    assert.equal(lockKey({ what: 'task', about: 'task_1' }), 'task/task_1')
  })

  test('a grant of an earlier version, which does not say what it read, is found by what it is of', () => {
    const watch = new Watch()
    const { reads: _reads, ...old } = grant('g', [])
    watch.note(old)
    assert.deepEqual(watch.under('entity/Agent/migrator'), ['g'])
    assert.deepEqual(watch.under('entity/Document/handbook'), ['g'])
  })
})

describe('who is first', () => {
  test('of very many, some are put in their places with each slice; third parties do not wait for the others', () => {
    const watch = new Watch()
    // the urgent ones come last
    for (let i = 0; i < 5_000; i += 1)
      watch.note(grant(`g${i}`, ['fact/posture a'], { urgency: i < 4_000 ? 7 : 4 }))
    watch.note(grant('third', ['fact/risk b'], { urgency: 3 }))
    watch.changed([fact('a')])
    assert.deepEqual(ids(watch, 8), [])
    watch.again('third', 'time has passed')
    assert.deepEqual(ids(watch, 8), ['third'])
    const taken: string[] = []
    for (let slices = 0; watch.isWaiting && slices < 10_000; slices += 1) taken.push(...ids(watch, 8))
    assert.equal(new Set(taken).size, 5_000)
    assert.ok(taken.slice(0, 1_000).every((id) => Number(id.slice(1)) >= 4_000))
  })

  test('what has a credential at a target goes ahead of what is denied already, but not of third parties', () => {
    const watch = new Watch()
    const at = (id: string, grant: string, state: 'live' | 'absent') => credential({ id, grant, state })
    watch.note(grant('sensitive', ['fact/posture a'], { urgency: 4 }))
    watch.note(grant('open', ['fact/posture a'], { urgency: 7 }))
    watch.note(grant('third', ['fact/posture a'], { urgency: 3 }))
    watch.noteCredential(at('c1', 'open', 'live'))
    watch.noteCredential(at('c2', 'open', 'live'))
    watch.changed([fact('a')])
    assert.deepEqual(ids(watch), ['third', 'open', 'sensitive'])
    // one of two is gone; then both
    const gone = at('c1', 'open', 'absent')
    watch.changed([fact('a'), { kind: 'credential', id: 'c1', before: gone, after: gone }])
    assert.deepEqual(ids(watch), ['third', 'open', 'sensitive'])
    watch.noteCredential(at('c2', 'open', 'absent'))
    watch.changed([fact('a')])
    assert.deepEqual(ids(watch), ['third', 'sensitive', 'open'])
  })

  test('law 12 ever more changes of what very many read keep nobody else waiting', () => {
    const watch = new Watch()
    for (let i = 0; i < 2_100; i += 1) watch.note(grant(`g${i}`, ['fact/posture a']))
    watch.note(grant('other', ['fact/posture b'], { urgency: 4 }))
    watch.changed([fact('b')])
    let slices = 0
    for (; slices < 100; slices += 1) {
      watch.changed([fact('a')])
      if (ids(watch, 8).includes('other')) break
    }
    assert.ok(slices < 70, `it waited for ${slices} slices`)
  })

  test('third parties, then the most sensitive; what concerns single grants goes ahead of what concerns all', () => {
    const watch = new Watch()
    for (const urgency of [7, 4, 0, 3, 6]) watch.note(grant(`g${urgency}`, ['fact/posture a'], { urgency }))
    watch.note(grant('beside', [], { urgency: 0 }))
    watch.all('policy changed')
    watch.changed([fact('a')])
    assert.deepEqual(ids(watch), ['g0', 'g3', 'g4', 'g6', 'g7', 'beside'])
  })

  test('one that is waiting is looked at once, for all there is to say', () => {
    const watch = new Watch()
    watch.note(grant('g', ['fact/posture a', 'entity/Agent/migrator']))
    watch.all('policy changed')
    watch.changed([fact('a')])
    watch.again('g', 'time has passed')
    assert.deepEqual(watch.take(9), [
      { id: 'g', why: 'time has passed, policy changed, `posture` changed', turn: 15 },
    ])
    assert.deepEqual(watch.take(9), [])
  })

  test('what the catalogue of facts hides is not told', () => {
    const watch = new Watch()
    watch.note(grant('g', ['fact/risk a', 'fact/calendar c']))
    watch.changed([{ ...fact('a'), id: 'risk a' }])
    assert.deepEqual(watch.take(9), [{ id: 'g', why: 'what is known changed', turn: 15 }])
    watch.changed([{ ...fact('c'), id: 'calendar c' }])
    assert.deepEqual(watch.take(9), [{ id: 'g', why: '`calendar` changed', turn: 15 }])
  })
})
