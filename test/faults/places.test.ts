/**
 * Every place that takes a token, with every wrong one that can be made: it is refused with the code that the standard names,
 * nothing is issued, and the refusal is on the record.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Good } from '../support/confusion.ts'
import { confusions } from '../support/confusion.ts'
import { mintRaw } from '../support/issuer.ts'
import type { Place, Places, Seen } from '../support/places.ts'
import { openPlaces } from '../support/places.ts'

const SOAK = process.env['WRIT_SOAK'] === '1'

const minted = ({ key, header, claims }: Good): string => mintRaw(header, claims, key.privateKey)

/** A good token, also after everything wrong: what was refused was refused for what it is. */
async function accepts({ world, news }: Places, place: Place, alg: string): Promise<Good> {
  world.clock.advance(1_000)
  const good = await place.good(alg)
  const seen = await place.present(minted(good))
  assert.ok(place.accepted(seen), `${place.name}: ${seen.status} ${JSON.stringify(seen.body)}`)
  world.clock.advance(1_000)
  // what is good once is used
  const next = await place.good(alg)
  await news()
  return next
}

/** What comes of a wrong one: the right code and nothing else. Time passes, so that nobody waits for a rate. */
async function refuses(at: Places, place: Place, what: string, token: string): Promise<void> {
  at.world.clock.advance(60)
  const seen = await place.present(token)
  const where = `${place.name}: ${what}: ${seen.status} ${JSON.stringify(seen.body).slice(0, 200)}`
  assert.equal(place.accepted(seen), false, where)
  assert.equal(seen.status, place.refused.status, where)
  if (place.refused.error !== undefined) assert.equal(seen.body['error'], place.refused.error, where)
  assertSaid(seen, place, where)
  const kinds = (await at.news()).map(({ kind }) => kind)
  const entry = place.entry(token)
  assert.deepEqual(kinds, entry === undefined ? [] : [entry], where)
}

/** One sentence, and none of the token. */
function assertSaid({ status, body, headers }: Seen, { name }: Place, where: string): void {
  if (status === 200) assert.deepEqual(body, { active: false }, where)
  else if (!name.startsWith('ID token')) {
    const said = body['error_description'] ?? body['detail']
    assert.match(typeof said === 'string' ? said : '', /^[a-z][^\n]{10,200}[^.]$/u, where)
  }
  if (name.includes('bearer') || name === 'DPoP proof with a token')
    assert.match(headers.get('www-authenticate') ?? '', /error="invalid_(?:token|dpop_proof)"/u, where)
}

describe('B4 type, audience and issuer, at every place that takes a token', () => {
  const types = ['JWT', 'at+jwt', 'dpop+jwt', 'logout+jwt', undefined]
  const others = (right: unknown): readonly unknown[] => [
    typeof right === 'string' ? `${right}/` : 'x',
    [right, 'https://else.example'],
    undefined,
  ]
  test('only the right three together prove anything', async () => {
    await using at = await openPlaces()
    let cells = 0
    for (const place of at.places) {
      const [alg = ''] = place.algorithms
      const good = await accepts(at, place, alg)
      const issued = await at.issued()
      const [one, two] = place.exact
      for (const typ of [good.header['typ'], ...types]) {
        for (const first of [good.claims[one], ...others(good.claims[one])]) {
          for (const second of [good.claims[two], ...others(good.claims[two])]) {
            const isType = place.types.includes(typ as string | undefined)
            if (isType && first === good.claims[one] && second === good.claims[two]) continue
            const claims = { ...good.claims, [one]: first, [two]: second }
            const what = JSON.stringify({ typ, [one]: first, [two]: second })
            await refuses(at, place, what, minted({ ...good, header: { ...good.header, typ }, claims }))
            cells += 1
          }
        }
      }
      assert.equal(await at.issued(), issued, place.name)
      await accepts(at, place, alg)
    }
    assert.ok(cells > 1_000, String(cells))
  })
})

describe('B1 B2 B76 confused tokens, at every place that takes one', () => {
  test('are refused in every form', async () => {
    await using at = await openPlaces()
    let forms = 0
    const kinds = new Set<string>()
    for (const place of at.places) {
      // the same code with the same keys: how a token is written down is the same for every key
      const isFirst = !kinds.has(place.types.join())
      kinds.add(place.types.join())
      for (const [nth, alg] of place.algorithms.entries()) {
        if (nth > 0 && !isFirst && !SOAK) continue
        const good = await accepts(at, place, alg)
        const issued = await at.issued()
        for (const { name, token, kind } of await confusions(good)) {
          if (!place.carries(token) || (kind === 'form' && nth > 0 && !SOAK)) continue
          await refuses(at, place, `${alg}: ${name}`, token)
          forms += 1
        }
        assert.equal(await at.issued(), issued, place.name)
        await accepts(at, place, alg)
      }
    }
    assert.ok(forms > 2_000, String(forms))
  })
})
