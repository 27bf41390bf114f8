/**
 * What the pages about identity tell to write, written: their policies load, their configuration is understood.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { Cli } from '../support/cli.ts'
import { publicJwk, testKey } from '../support/issuer.ts'

const docs = resolve(import.meta.dirname, '../../docs')
const blocks = (page: string, language: string): readonly string[] =>
  [...readFileSync(join(docs, page), 'utf8').matchAll(/^```(\w+)\n([^]*?)^```/gmu)]
    .filter(([, found]) => found === language)
    .map(([, , text]) => text as string)

describe('the pages about identity', () => {
  test('have policies that load beside the starter set', async () => {
    using cli = new Cli()
    assert.equal((await cli.run(['init'])).code, 0)
    // attributes that the page tells of: what nothing in the inventory has cannot be read
    appendFileSync(
      join(cli.cwd, 'inventory.yaml'),
      `  - { type: Service, id: acme, kind: workload, owner: Person/ada, third_party: true }
  - { type: Database, id: ledger, kind: resource, sensitivity: 3, environment: production }
`,
    )
    for (const page of ['issuers.md', 'delegation.md']) {
      const found = blocks(page, 'cedar')
      assert.ok(found.length > 0, page)
      writeFileSync(join(cli.cwd, 'policies', `${page}.cedar`), found.join('\n'))
    }
    const ran = await cli.run(['policy', 'check'])
    assert.equal(ran.code, 0, `${ran.stdout}${ran.stderr}`)
  })

  test('have configuration that is understood', async () => {
    using cli = new Cli()
    const keys = JSON.stringify({ keys: [publicJwk(testKey('ES256'))] })
    for (const page of ['issuers.md', 'tokens.md', 'signin.md']) {
      const [text = ''] = blocks(page, 'yaml')
      assert.notEqual(text, '', page)
      // what a cluster mounts, and keys that are one's own
      writeFileSync(join(cli.cwd, 'writ.config.yaml'), text)
      for (const name of ['prod-bundle.json', 'web-keys.json']) writeFileSync(join(cli.cwd, name), keys)
      const ran = await cli.run(['config', 'explain', '--json'])
      assert.equal(ran.code, 0, `${page}: ${ran.stdout}${ran.stderr}`)
      const { items } = JSON.parse(ran.stdout) as { items: { name: string; kind: string }[] }
      assert.ok(
        items.some(({ name, kind }) => /^(?:issuers|tokens|login)/u.test(name) && kind !== 'default'),
        page,
      )
    }
  })
})
