import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createWrit } from '../../client/src/index.ts'
import { Cli } from '../support/cli.ts'
import { openWorld } from '../support/world.ts'

test('a person delegates from the command line, the agent acts for them, and it is taken back', async () => {
  await using world = await openWorld()
  using cli = new Cli({ WRIT_URL: world.app.url })
  const as = (who: keyof typeof world.tokens, ...args: string[]) =>
    cli.here(args, { env: { WRIT_TOKEN: world.tokens[who] } })
  const make = ['delegations', 'make', 'Agent/migrator', '--action', 'read', '--on', 'Document/handbook']
  assert.equal((await as('migrator', ...make)).code, 5)
  const made = await as('grace', ...make, '--ttl', '1h', '--reason', 'away')
  assert.equal(made.code, 0, made.stderr)
  assert.match(made.stderr, /Agent\/migrator may act for Person\/grace in what both may do, ends in/)
  const id = made.stdout.trim()

  const agent = createWrit({ url: world.app.url, token: world.tokens.migrator })
  const read = { action: 'read', resource: 'Document/handbook', context: { delegation: id } }
  assert.equal((await agent.evaluate(read)).outcome, 'permit')
  assert.equal((await agent.evaluate({ ...read, resource: 'Document/other' })).outcome, 'deny')

  const lease = await agent.acquire({ action: 'read', resource: 'Document/handbook', delegation: id })
  assert.deepEqual(lease.task?.chain, ['Agent/migrator', 'Person/grace'])
  assert.equal((await agent.grants.get(lease.grant.id)).grant.delegation, id)
  const started = await as(
    'migrator',
    'task',
    'start',
    '--purpose',
    'p',
    '--action',
    'read',
    '--on',
    'Document/handbook',
    '--delegation',
    id,
  )
  assert.equal(started.code, 0, started.stderr)

  const listed = await as('migrator', 'delegations', 'ls')
  assert.match(listed.stdout, new RegExp(`${id} +Agent/migrator +Person/grace +read on Document/handbook`))
  assert.match(
    (await as('migrator', 'delegations', 'show', id)).stdout,
    /acts for Person\/grace[^]*because +away/,
  )
  assert.equal((await as('hedy', 'delegations', 'show', id)).code, 1)
  assert.equal((await as('hedy', 'delegations', 'revoke', id)).code, 1)
  const revoked = await as('grace', 'delegations', 'revoke', id, '--reason', 'back')
  assert.equal(revoked.code, 0, revoked.stderr)
  assert.equal((await agent.grants.get(lease.grant.id)).grant.state, 'closed')
  assert.equal((await agent.tasks.get(started.stdout.trim())).task.state, 'cancelled')
  const denied = await agent.evaluate(read)
  assert.deepEqual([denied.outcome, denied.reason], ['deny', 'delegation_ended'])
  assert.match((await as('grace', 'delegations', 'ls')).stderr, /no delegations/)
  assert.match((await as('grace', 'delegations', 'ls', '--all')).stdout, /ended/)
})

test('accounts are linked, listed and unlinked', async () => {
  await using world = await openWorld()
  using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.ada })
  const run = (...args: string[]) => cli.run(args)
  assert.equal((await run('accounts', 'link', '583231', '--person', 'grace')).code, 2)
  const linked = await run('accounts', 'link', '583231', '--issuer', 'github', '--person', 'grace')
  assert.equal(linked.code, 0, linked.stderr)
  assert.match(linked.stderr, /Person\/grace's, who cannot approve it/)
  assert.match((await run('accounts', 'ls')).stdout, /github +583231 +Person\/grace/)
  const taken = await run('accounts', 'link', '583231', '--issuer', 'github', '--person', 'hedy')
  assert.notEqual(taken.code, 0)
  assert.match(taken.stderr, /linked to `Person\/grace`/)
  assert.equal((await run('accounts', 'unlink', '583231', '--issuer', 'github')).code, 0)
  assert.match((await run('accounts', 'ls')).stderr, /no accounts/)
})
