import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  decodeBundle,
  encodeBundle,
  hashesOf,
  indexPath,
  isWithin,
  parseTilePath,
  partialsOf,
  tilePath,
} from './tiles.ts'

describe('paths of tiles (C2SP tlog-tiles)', () => {
  test('the examples of the text', () => {
    assert.equal(indexPath(1_234_067), 'x001/x234/067')
    assert.equal(indexPath(0), '000')
    assert.equal(indexPath(999), '999')
    assert.equal(indexPath(1_000), 'x001/000')
    assert.equal(tilePath({ level: 0, index: 273, width: 112 }), 'tile/0/273.p/112')
    assert.equal(tilePath({ level: 'entries', index: 1_234_067, width: 256 }), 'tile/entries/x001/x234/067')
  })

  test('a log of 70,000 entries: 273 full tiles, one of 112, above them one full, one of 17, and one of 1', () => {
    assert.deepEqual(
      [0, 1, 2, 3].map((level) => hashesOf(level, 70_000)),
      [70_000, 273, 1, 0],
    )
    assert.deepEqual(partialsOf(70_000), [
      { level: 0, index: 273, width: 112 },
      { level: 1, index: 1, width: 17 },
      { level: 2, index: 0, width: 1 },
      { level: 'entries', index: 273, width: 112 },
    ])
    assert.deepEqual(partialsOf(256), [{ level: 1, index: 0, width: 1 }])
    assert.deepEqual(partialsOf(0), [])
  })

  test('every tile has one path, which gives it back', () => {
    fc.assert(
      fc.property(
        fc.record({
          level: fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 63 })),
          index: fc.oneof(fc.nat(), fc.maxSafeNat()),
          width: fc.integer({ min: 1, max: 256 }),
        }),
        (ref) => assert.deepEqual(parseTilePath(tilePath(ref)), { ...ref }),
      ),
    )
  })

  for (const path of [
    'tile/64/000',
    'tile/00/000',
    'tile/-1/000',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000/000',
    'tile/0/001/000',
    'tile/0/x001/x000',
    'tile/0/000.p/0',
    'tile/0/000.p/00',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/999',
    'tile/0/000.p/',
    'tile/0/000.p',
    'tile/0/../000',
    'tile/0/000/',
    'tile/data/000',
    'tile/entries/x999/x999/x999/x999/x999/x999/999',
    '/tile/0/000',
    'tile/0/000\n',
    '',
  ]) {
    test(`refuses ${JSON.stringify(path)}`, () => assert.equal(parseTilePath(path), undefined))
  }

  test('a log has what lies below its size', () => {
    assert.equal(isWithin({ level: 0, index: 0, width: 256 }, 255), false)
    assert.equal(isWithin({ level: 0, index: 0, width: 255 }, 255), true)
    assert.equal(isWithin({ level: 1, index: 0, width: 1 }, 255), false)
    assert.equal(isWithin({ level: 1, index: 0, width: 1 }, 256), true)
    assert.equal(isWithin({ level: 63, index: 0, width: 1 }, Number.MAX_SAFE_INTEGER), false)
  })
})

describe('bundles of entries', () => {
  test('come back as they were, whatever is in them', () => {
    const entry = fc.uint8Array({ maxLength: 600 })
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 40 }), (entries) => {
        const decoded = decodeBundle(encodeBundle(entries))
        assert.deepEqual(
          decoded?.map((it) => [...it]),
          entries.map((it) => [...it]),
        )
      }),
    )
  })

  test('the length is 16 bits, big-endian; the longest entry fits, a longer one does not', () => {
    assert.deepEqual([...encodeBundle([Buffer.from('ab'), Buffer.alloc(0)])], [0, 2, 0x61, 0x62, 0, 0])
    const longest = Buffer.alloc(65_535, 7)
    assert.deepEqual(decodeBundle(encodeBundle([longest])), [longest])
    assert.throws(() => encodeBundle([Buffer.alloc(65_536)]), TypeError)
  })

  test('what ends inside an entry is none', () => {
    const bundle = encodeBundle([Buffer.from('abc'), Buffer.from('d')])
    const cuts = Array.from(bundle, (_byte, at) => decodeBundle(bundle.subarray(0, at))?.length)
    assert.deepEqual(cuts, [0, undefined, undefined, undefined, undefined, 1, undefined, undefined])
  })
})
