import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normaliseArgv } from './program.ts'
import type { Found } from './sarif.ts'
import { sarif } from './sarif.ts'

const found: Found = {
  code: 'P001',
  severity: 'error',
  message: 'm\u202e',
  file: '../a b/c:d.cedar',
  line: 2,
  column: 3,
  endLine: 2,
  endColumn: 5,
  excerpt: 'x',
}

test('`-o sarif` is `--sarif` for findings, and nothing elsewhere', () => {
  for (const words of [['--sarif'], ['-o', 'sarif'], ['--output', 'sarif'], ['--output=sarif'], ['-osarif']])
    assert.deepEqual(normaliseArgv(['policy', 'lint', ...words, 'x']), ['policy', 'lint', '--sarif', 'x'])
  for (const words of [
    ['policy', 'check', '-o', 'json', 'sarif'],
    ['policy', 'publish', '-o', 'sarif'],
    ['audit', 'verify', '-o', 'sarif'],
  ])
    assert.deepEqual(normaliseArgv(words), words)
})

test('a finding without a file has no place; one with a file a relative reference', () => {
  const log = (problem: Found) =>
    JSON.parse(sarif([problem], '1.2.3')) as { runs: { results: { locations: unknown[] }[] }[] }
  assert.deepEqual(log({ ...found, located: false }).runs[0]?.results[0]?.locations, [])
  assert.deepEqual(log(found).runs[0]?.results[0]?.locations, [
    {
      physicalLocation: {
        artifactLocation: { uri: '../a%20b/c%3Ad.cedar', uriBaseId: '%SRCROOT%' },
        region: { startLine: 2, startColumn: 3, endLine: 2, endColumn: 5 },
        contextRegion: { startLine: 2, endLine: 2, snippet: { text: 'x' } },
      },
    },
  ])
})

test('B69 what a file holds stands there escaped', () => {
  assert.doesNotMatch(sarif([found], '1'), /\u202e/u)
})
