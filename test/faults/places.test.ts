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

/**
 * How much of what is alike each place gets: all of it with `WRIT_SOAK=1`, else a part, at the next place another. One of each
 * family is presented everywhere, and everything to the only place that reads as it does.
 */
const isChosen = (nth: number, of: number, place: Readonly<{ index: number; share: number }>): boolean => {
  const share = Math.min(place.share, of)
  return SOAK || nth % share === place.index % share
}

/** What a confusion is an instance of: the same mistake, written otherwise. */
const familyOf = (name: string, alg: string): string =>
  name
    .replace(/^(alg|kid|typ|crit|b64) (?:"[^"]*"?|\[.*\]|\{.*\}|\S+)/u, '$1 …')
    .replace(/^H(?:S\d+|MAC)(.*) with the public key as .*/u, 'H$1 with the public key')
    .replaceAll(alg, 'its own')
    .replaceAll(/\b(?:[ERP]S\d+|EdDSA|Ed25519)\b/gu, '…')
    .replace(
      /^(header|claims|signature) (?:padded|with a|on two|in percent|in the other|with loose).*/u,
      '$1 encoded',
    )
    .replace(/^(claim|header) \S+(?: after)? twice/u, '$1 twice')
    .replace(/^(claims are|the header is) .*/u, '$1')
    .replace(/^signature (?!encoded).*/u, 'signature')
    .replace(/^\S+ of a stranger, by/u, '… of a stranger, by')

/** Each with how often it reads tokens as others do. */
function shared(
  places: readonly Place[],
): readonly Readonly<{ place: Place; index: number; share: number }>[] {
  // what signs people in is another library
  const readerOf = ({ name, types }: Place): string => `${name.startsWith('ID token')} ${types.join()}`
  const seen = new Map<string, number>()
  return places.map((place) => {
    const reader = readerOf(place)
    const index = seen.get(reader) ?? 0
    seen.set(reader, index + 1)
    const alike = places.filter((one) => readerOf(one) === reader).length
    return { place, index, share: index === 0 ? Math.min(alike, 3) : Infinity }
  })
}

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
    for (const { place, index } of shared(at.places)) {
      const alg = place.algorithms[index % place.algorithms.length] ?? ''
      const good = await accepts(at, place, alg)
      const issued = await at.issued()
      const [one, two] = place.exact
      let several = 0
      for (const typ of [good.header['typ'], ...types]) {
        for (const first of [good.claims[one], ...others(good.claims[one])]) {
          for (const second of [good.claims[two], ...others(good.claims[two])]) {
            const isType = place.types.includes(typ as string | undefined)
            const wrong = [!isType, first !== good.claims[one], second !== good.claims[two]].filter(
              Boolean,
            ).length
            if (wrong === 0) continue
            // one that is wrong in one thing alone is presented everywhere
            if (wrong > 1 && !isChosen(several++, 4, { index, share: 4 })) continue
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
    assert.ok(cells > (SOAK ? 1_000 : 500), String(cells))
  })
})

describe('B1 B2 B76 confused tokens, at every place that takes one', () => {
  test('are refused in every form', async () => {
    await using at = await openPlaces()
    let forms = 0
    for (const { place, index, share } of shared(at.places)) {
      for (const [nth, alg] of place.algorithms.entries()) {
        // the first of those that read alike has most of them, the others one of each kind, each another one
        const isOwn = nth === index % place.algorithms.length
        if (!SOAK && index > 0 && !isOwn) continue
        const good = await accepts(at, place, alg)
        const issued = await at.issued()
        const wrong = (await confusions(good)).filter(({ token }) => place.carries(token))
        const families = Map.groupBy(wrong, ({ name }) => familyOf(name, alg))
        for (const family of families.values()) {
          for (const [member, { name, token, kind }] of family.entries()) {
            if (!SOAK && !isOwn && kind === 'form') continue
            const some = { index: index + nth, share: isOwn ? share : Infinity }
            if (!isChosen(member, family.length, some)) continue
            await refuses(at, place, `${alg}: ${name}`, token)
            forms += 1
          }
        }
        assert.equal(await at.issued(), issued, place.name)
        await accepts(at, place, alg)
      }
    }
    assert.ok(forms > (SOAK ? 2_000 : 1_000), String(forms))
  })
})
