import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HOUR, MINUTE } from '../../src/model/time.ts'
import { TestIssuer } from '../support/issuer.ts'
import { manualClock } from '../support/store.ts'
import { openWorld } from '../support/world.ts'

/** What the door answers to who asks with `token`: the status, and who it took the caller for. */
async function ask(url: string, token: string, scheme = 'Bearer'): Promise<number> {
  const answer = await fetch(`${url}/access/v1/evaluation`, {
    method: 'POST',
    headers: { authorization: `${scheme} ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      subject: { type: 'Service', id: 'orders-ci' },
      action: { name: 'db:read' },
      resource: { type: 'Database', id: 'orders' },
    }),
  })
  await answer.arrayBuffer()
  return answer.status
}

test('B1 B4 B45 a pipeline asks with the token of its issuer, for as long as the issuer stands by it', async () => {
  await using issuer = await TestIssuer.start()
  const clock = manualClock()
  const warned: string[] = []
  await using world = await openWorld({
    clock,
    sweeper: false,
    config: {
      issuers: [
        issuer.config('github', { stale: 2 * HOUR, audiences: ['https://writ.example', issuer.url] }),
      ],
    },
    log: (level, message) => {
      if (level === 'warn') warned.push(message)
    },
  })
  const { url, store } = world.app
  const token = issuer.mint('github', later())
  assert.equal(await ask(url, token), 200)
  assert.ok(
    warned.some((message) => message.includes("is not Writ's own")),
    warned.join('\n'),
  )

  for (const wrong of [
    issuer.mint('github', { ...later(), repository_id: '457' }),
    issuer.mint('github', {
      ...later(),
      sub: 'repo:mallory@1/orders@2:ref:refs/heads/main',
      repository_id: '2',
      repository_owner_id: '1',
    }),
    issuer.mint('github', { ...later(), aud: 'https://else.example' }),
    issuer.mint('github', { ...later(), cnf: { jkt: 'A'.repeat(43) } }),
    issuer.mint('github', later(), { typ: 'logout+jwt' }),
    issuer.mint('github', later(), { alg: 'none' }),
    `${token.slice(0, -8)}AAAAAAAA`,
    `${token}=`,
  ]) {
    assert.equal(await ask(url, wrong), 401)
  }
  assert.equal(await ask(url, token, 'DPoP'), 401)

  // the issuer is down: what it said before holds for a while
  issuer.broken = 'down'
  clock.advance(HOUR)
  assert.equal(await ask(url, token), 200)
  clock.advance(2 * HOUR)
  assert.equal(await ask(url, token), 401)
  issuer.mend()
  clock.advance(MINUTE)
  assert.equal(await ask(url, token), 200)

  // the issuer takes its key back
  issuer.rotate({ retire: true })
  assert.equal(await ask(url, issuer.mint('github', later())), 200)
  assert.equal(await ask(url, token), 401)

  // and the record says whom this server trusts
  const head = await store.log.head()
  const entries = await store.log.entries(0, head.size)
  const texts = entries.map((entry) => ('bytes' in entry ? Buffer.from(entry.bytes).toString() : ''))
  assert.ok(texts.some((text) => text.includes('"authority"') && text.includes('"repository_id":["456"]')))

  function later(): { exp: number } {
    return { exp: Math.floor(clock.wall() / 1_000) + 86_400 }
  }
})
