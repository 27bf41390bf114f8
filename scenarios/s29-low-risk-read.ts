import assert from 'node:assert/strict'
import { openInstallation } from './support/installation.ts'
import type { Scenario } from './support/story.ts'
import { denied } from './support/story.ts'

/** Measured after as many again to warm up. */
const READS = 60

export const scenario: Scenario = {
  id: 'S29',
  name: 'low-risk-read',
  right: 'a low-risk read runs on standing access: no request, no grant, no task',
  wrong: 'calling a sensitive or unregistered resource low-risk, by whoever is trusted for whatever',

  async run(story) {
    const writ = await story.part(
      openInstallation({
        people: { grace: ['dba'] },
        entities: [
          { type: 'Agent', id: 'helper', kind: 'agent', owner: 'Person/ada' },
          { type: 'Service', id: 'wiki', kind: 'workload', owner: 'Person/ada' },
          { type: 'Document', id: 'handbook', kind: 'resource', sensitivity: 'low' },
          { type: 'Document', id: 'salaries', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    // the enforcement point in front of the documents: trusted for what it may know, and for more than it should be
    const wiki = await writ.key('Service/wiki', {
      subjects: ['Agent'],
      attributes: { Document: ['language', 'sensitivity', 'owner', 'parents'] },
    })
    const helper = await writ.key('Agent/helper')
    const read = (id: string, properties = {}) => ({
      subject: 'Agent/helper',
      action: 'read',
      resource: { type: 'Document', id, properties },
    })

    await story.right('an agent reads the handbook, at once and on its own word', async () => {
      const decision = await helper.writ.evaluate(read('handbook'))
      assert.equal(decision.outcome, 'permit')
      assert.ok(!('grant' in decision))
      const entry = (await helper.writ.decisions.get(decision.id ?? '')) as Record<string, unknown>
      assert.equal(entry['reason'], 'standing')
    })
    await story.right('an enforcement point asks for many agents at once', async () => {
      const decisions = await wiki.writ.evaluations(
        Array.from({ length: 20 }, () => read('handbook', { language: 'en' })),
      )
      assert.deepEqual([...new Set(decisions.map(({ outcome }) => outcome))], ['permit'])
    })
    await story.right('nobody was asked and nothing was granted', async () => {
      const [requests, grants, tasks] = await Promise.all([
        writ.ada.requests.list(),
        writ.ada.grants.list(),
        writ.ada.tasks.list(),
      ])
      assert.deepEqual([requests.items, grants.items, tasks.items], [[], [], []])
    })
    await story.right('and it is on the record', async () => {
      const { items } = await writ.ada.decisions.list({ ref: 'Document/handbook', limit: 100 })
      assert.equal(items.length, 21)
    })

    await story.wrong('reading what is sensitive', async () => {
      denied(await helper.writ.evaluate(read('salaries')), 'policy_denied')
    })
    await story.wrong('the agent says that it is low-risk', async () => {
      for (const lie of [{ sensitivity: 1 }, { sensitivity: 'low' }, { low_risk: true }]) {
        denied(await helper.writ.evaluate(read('salaries', lie)), 'policy_denied')
        denied(
          await helper.writ.evaluate({ ...read('salaries'), context: { ...lie, resource: lie } }),
          'policy_denied',
        )
      }
    })
    await story.wrong(
      'the enforcement point says so, which is trusted for other attributes and even for this one',
      async () => {
        for (const lie of [{ sensitivity: 1 }, { sensitivity: 0 }, { sensitivity: 1, language: 'en' }]) {
          denied(await wiki.writ.evaluate(read('salaries', lie)), 'policy_denied')
        }
        const [first, second] = await wiki.writ.evaluations([
          read('handbook'),
          read('salaries', { sensitivity: 1 }),
        ])
        assert.deepEqual([first?.outcome, second?.outcome], ['permit', 'deny'])
      },
    )
    await story.wrong('it borrows the label of something else: parents, owner', async () => {
      const lie = { parents: ['Document/handbook'], owner: 'Agent/helper' }
      denied(await wiki.writ.evaluate(read('salaries', lie)), 'policy_denied')
    })
    await story.wrong('a document that nobody registered', async () => {
      denied(await wiki.writ.evaluate(read('unregistered', { sensitivity: 1 })), 'policy_denied')
    })
    await story.wrong('another action on the low-risk document', async () => {
      denied(await helper.writ.evaluate({ ...read('handbook'), action: 'write' }), 'policy_denied')
    })
    await story.wrong('a question says no more than the attempt would', async () => {
      denied(await wiki.writ.ask(read('salaries', { sensitivity: 1 })), 'policy_denied')
    })
    await story.right(
      'what the administrator relabels is what counts, from the next attempt on',
      async () => {
        const relabel = (sensitivity: 'low' | 'high') =>
          writ.ada.inventory.put([{ type: 'Document', id: 'salaries', kind: 'resource', sensitivity }])
        await relabel('low')
        assert.equal((await helper.writ.evaluate(read('salaries'))).outcome, 'permit')
        await relabel('high')
        denied(await helper.writ.evaluate(read('salaries')), 'policy_denied')
      },
    )

    const decided = await median(() => helper.writ.evaluate(read('handbook')))
    const plain = await median(async () => (await fetch(`${writ.url}/healthz`)).text())
    story.figure(`decided and on the record in ${decided} ms, a plain /healthz takes ${plain} ms (medians)`)
  },
}

async function median(act: () => Promise<unknown>): Promise<string> {
  const times: number[] = []
  for (let run = 0; run < 2 * READS; run += 1) {
    const started = performance.now()
    await act()
    times.push(performance.now() - started)
  }
  const kept = times.slice(READS).sort((a, b) => a - b)
  return (kept[READS / 2] ?? 0).toFixed(2)
}
