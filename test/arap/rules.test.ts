import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { RULES } from './rules.ts'

const FOLDER = import.meta.dirname
const ROOT = resolve(FOLDER, '../..')
const texts = globSync('*.test.ts', { cwd: FOLDER }).map((name) => readFileSync(join(FOLDER, name), 'utf8'))
const cited = texts.flatMap((text) =>
  [...text.matchAll(/test\(\s*['"`]([A-Z]+-\d+) /g)].map((match) => match[1] ?? ''),
)

test('every rule has a test, and every test a rule', () => {
  const known = RULES.map(({ id }) => id)
  assert.equal(new Set(known).size, known.length, 'two rules have one id')
  assert.deepEqual(
    known.filter((id) => !cited.includes(id)),
    [],
    'rules without a test',
  )
  assert.deepEqual(
    cited.filter((id) => !known.includes(id)),
    [],
    'tests without a rule',
  )
})

test('SAFE-4 what the profile spells is spelled in its own folder alone', () => {
  // what a caller of our own API or the model needs to know by name stands there and nowhere else
  const elsewhere: Readonly<Record<string, readonly string[]>> = {
    access_request: [
      'src/model/attempt.ts',
      'src/wire/v1/decisions.ts',
      'src/cli/commands/ask.ts',
      // a parameter of the token endpoint, and what its challenge says
      'src/wire/oauth/request.ts',
      'src/doors/http/api/oauth.ts',
    ],
    // SSF spells its own endpoint so, too
    status_endpoint: ['src/doors/http/api/oauth.ts', 'src/wire/ssf/stream.ts'],
    evaluation_id: ['src/model/attempt.ts', 'src/flows/requests.ts'],
    binding_token: ['src/flows/requests.ts'],
  }
  const members = [
    'access_request',
    'evaluation_id',
    'binding_token',
    'approved_until',
    'status_endpoint',
    'denial_expires_at',
    'binding_context_members',
    'binding_hash',
    'request_schema_url',
    'requested_until',
  ]
  const files = globSync('src/**/*.ts', { cwd: ROOT }).filter(
    (file) => !file.endsWith('.test.ts') && !file.startsWith('src/wire/arap/'),
  )
  const found: string[] = []
  for (const file of files) {
    const text = readFileSync(join(ROOT, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
    for (const member of members) {
      // in quotes or as a member; sentences for people may name it
      const spelled = new RegExp(`(?:['"]${member}['"]|\\b${member}\\??:|\\.${member}\\b)`).test(text)
      if (spelled && !(elsewhere[member] ?? []).includes(file)) found.push(`${file}: ${member}`)
    }
  }
  assert.deepEqual(found, [])
})
