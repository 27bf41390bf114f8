import assert from 'node:assert/strict'
import type { AttemptInput } from '../client/src/index.ts'
import {
  ShiftedClock,
  approve as approveByToken,
  ask,
  openInstallation,
  starter,
  under,
} from './support/installation.ts'
import { PersonAtPage } from './support/page.ts'
import type { Scenario } from './support/story.ts'
import { refused } from './support/story.ts'

const MINUTE = 60_000

const CLOSING = `
@id("close-in-person") @ttl("5m")
permit (principal is Person, action == Action::"ledger:close", resource is Database)
when { principal in Group::"dba" && context.proof.reauth };
`

export const scenario: Scenario = {
  id: 'S07',
  name: 'step-up-is-not-login',
  right:
    'whoever approves what is sensitive, or does what policy asks it for, proves with a passkey that it is them, for this',
  wrong: 'a fresh login, or proof that was given for another action, another time or by somebody else',

  async run(story) {
    const clock = new ShiftedClock()
    const writ = await story.part(
      openInstallation({
        clock,
        policies: [starter('migration.cedar'), { name: 'ledger.cedar', text: CLOSING }],
        people: { grace: ['dba'], hedy: ['dba'] },
        entities: [
          { type: 'Agent', id: 'migrator', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'payments', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    const { writ: workflow } = await writ.key('Agent/migrator')
    const { id: task } = await workflow.tasks.declare({
      purpose: 'nightly migration',
      reason: 'INC-42',
      scope: {
        actions: ['db:migrate'],
        resources: [
          { type: 'Database', id: 'orders' },
          { type: 'Database', id: 'payments' },
        ],
      },
    })
    const on = (resource: string): AttemptInput => under(task, { action: 'db:migrate', resource })
    const orders = await ask(workflow, on('Database/orders'))
    const payments = await ask(workflow, on('Database/payments'))

    const grace = new PersonAtPage(writ.url)
    await grace.signIn((await writ.ada.people.invite({ id: 'grace' })).code)
    await grace.register()
    const isPending = async (id: string): Promise<void> =>
      assert.equal((await writ.person('grace').requests.get(id)).status, 'pending')
    const statement = orders.digest
    const approve = (fields: Record<string, string> = {}) =>
      grace.send(`/requests/${orders.id}/approve`, { statement, ...fields })

    await story.wrong('a session, however it began: an older one, and one of this moment', async () => {
      await refused(approveByToken(writ.person('grace'), orders), 'ERR_FORBIDDEN')
      const page = await grace.get('/signin')
      const signedIn = await grace.send('/signin/passkey', grace.answer(grace.asked(page)))
      assert.equal(signedIn.status, 200)
      const { status, text } = await approve()
      assert.equal(status, 200)
      assert.match(text, /Approve with your passkey/)
      await isPending(orders.id)
    })
    await story.wrong('the proof of that login, sent along', async () => {
      const login = grace.answer(grace.asked(await grace.get('/signin')))
      assert.equal((await approve(login)).status, 403)
      await isPending(orders.id)
    })
    await story.wrong('a proof that was given for another request', async () => {
      const { text } = await grace.send(`/requests/${payments.id}/approve`, { statement: payments.digest })
      const { nonce = '', answer = '' } = grace.answer(grace.asked(text))
      assert.equal((await approve({ nonce, answer })).status, 403)
      await isPending(orders.id)
    })
    await story.wrong('a proof that was given for this one, five minutes ago', async () => {
      const { text } = await approve()
      const given = grace.answer(grace.asked(text))
      clock.advance(5 * MINUTE)
      assert.equal((await approve(given)).status, 403)
      await isPending(orders.id)
    })
    await story.wrong('somebody else with it', async () => {
      const { text } = await approve()
      const given = grace.answer(grace.asked(text))
      const hedy = new PersonAtPage(writ.url)
      await hedy.signIn((await writ.ada.people.invite({ id: 'hedy' })).code)
      assert.equal((await hedy.send(`/requests/${orders.id}/approve`, given)).status, 403)
      await isPending(orders.id)
    })
    let given: Record<string, string> = {}
    await story.right('proved for this request, it is approved and can be used', async () => {
      given = grace.answer(grace.asked((await approve()).text))
      assert.equal((await approve(given)).status, 303)
      const { approval } = await workflow.requests.wait(orders.id)
      assert.ok(approval)
      const { grant } = await workflow.grants.activate(under(task, on('Database/orders'), { approval }))
      assert.ok(grant)
    })
    await story.wrong('the same proof a second time', async () => {
      const again = await grace.send(`/requests/${payments.id}/approve`, {
        ...given,
        statement: payments.digest,
      })
      assert.equal(again.status, 403)
      await isPending(payments.id)
    })
    const person = writ.person('grace')
    const { id: closingTask } = await person.tasks.declare({
      purpose: 'end of the month',
      scope: {
        actions: ['ledger:close'],
        resources: [
          { type: 'Database', id: 'orders' },
          { type: 'Database', id: 'payments' },
        ],
      },
    })
    const books = (resource: string, approval?: string): AttemptInput =>
      under(
        closingTask,
        { action: 'ledger:close', resource: `Database/${resource}` },
        approval === undefined ? {} : { approval },
      )
    const closing = await ask(person, books('orders'))
    const prove = (fields: Record<string, string>) => grace.send(`/requests/${closing.id}/prove`, fields)
    await story.wrong(
      'what policy asks a passkey for, by being signed in, or with the proof of a login',
      async () => {
        const decision = await person.evaluate(books('orders'))
        assert.equal(decision.outcome, 'challenge')
        const login = grace.answer(grace.asked(await grace.get('/signin')))
        assert.equal((await prove({ ...login, statement: closing.digest })).status, 403)
        await isPending(closing.id)
      },
    )
    let approval: string | undefined
    await story.right('proved for that act, it can be used', async () => {
      const proof = grace.answer(grace.asked(await grace.get(`/requests/${closing.id}/prove`)))
      assert.equal((await prove(proof)).status, 303)
      approval = (await person.requests.wait(closing.id)).approval?.id
      assert.ok(approval)
    })
    await story.wrong('another act, with the proof of that one', async () => {
      assert.notEqual((await person.evaluate(books('payments', approval))).outcome, 'permit')
    })
    await story.right('the act that it was given for', async () => {
      assert.equal((await person.evaluate(books('orders', approval))).outcome, 'permit')
    })
    await story.wrong('the same act once more', async () => {
      assert.notEqual((await person.evaluate(books('orders', approval))).outcome, 'permit')
    })
    await story.right('denying asks for nothing more', async () => {
      const denied = await grace.send(`/requests/${payments.id}/deny`, { statement: payments.digest })
      assert.equal(denied.status, 303)
      await workflow.tasks.end(task, 'completed')
      await person.tasks.end(closingTask, 'completed')
    })
  },
}
