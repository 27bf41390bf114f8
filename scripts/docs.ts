/**
 * Writes the generated references under `docs/reference`; with `--check` compares them instead: `npm run docs`.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import manifest from '../package.json' with { type: 'json' }
import { cliPage } from '../src/cli/program.ts'
import { configurationPage, configurationSchema } from '../src/config/index.ts'
import { openapi } from '../src/doors/http/openapi.ts'
import type { Door } from '../src/doors/http/route.ts'
import { httpRoutes } from '../src/doors/http/server.ts'
import { errorCodes } from '../src/model/errors.ts'
import type { LintCode, ProblemCode } from '../src/policy/index.ts'
import { lintNames, problemCodes, problemHelp } from '../src/policy/index.ts'
import { arapProblemType, problemStatus } from '../src/wire/arap/draft1/index.ts'
import { problemType, statusOf, titleOf } from '../src/wire/problem.ts'

const ROOT = resolve(import.meta.dirname, '..')

/** File under the repository → its text. */
const references: Readonly<Record<string, () => string>> = {
  'docs/reference/openapi.json': openapiDocument,
  'docs/reference/errors.md': errorsPage,
  'docs/reference/policy-problems.md': problemsPage,
  'docs/reference/cli.md': cliPage,
  'docs/reference/configuration.md': configurationPage,
  'docs/reference/configuration.schema.json': configurationSchema,
}

function openapiDocument(): string {
  // the routes are described, never called: nothing behind the door is needed
  const door = { version: manifest.version } as Door
  return `${JSON.stringify(openapi(httpRoutes(door), manifest.version), undefined, 2)}\n`
}

function errorsPage(): string {
  const rows = errorCodes.map(
    (code) => `| \`${code}\` | ${statusOf[code]} | \`${problemType(code)}\` | ${titleOf[code]} |`,
  )
  const arap = (Object.keys(problemStatus) as (keyof typeof problemStatus)[]).map(
    (name) => `| \`${arapProblemType(name)}\` | ${problemStatus[name]} |`,
  )
  return `# Errors

<!-- generated from src/wire by \`npm run docs\`; edits here are lost -->

A denial is an answer, not an error: an error means that no answer could be given. Over HTTP an error is a problem
document (RFC 9457) with \`type\`, \`title\`, \`status\`, \`detail\`, \`code\`, \`hint\` and \`request_id\`; the operator's log
has the request id too. \`code\` and \`type\` never change their meaning.

| code | status | type | |
|---|---|---|---|
${rows.join('\n')}

The access request endpoints use the types of their profile:

| type | status |
|---|---|
${arap.join('\n')}

On \`/access/v1/evaluation\` and \`/access/v1/evaluations\` an error is a message string, as AuthZEN says; with
an \`Accept\` that names JSON it is a problem document there too.
`
}

function problemsPage(): string {
  const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
  const sections = (Object.keys(problemCodes) as ProblemCode[]).map((code) => {
    const name = code in lintNames ? `\n\`${lintNames[code as LintCode]}\`: ` : '\n'
    return `## ${code}\n${name}${sentence(problemCodes[code])} ${problemHelp[code]}\n`
  })
  return `# Problems of policies

<!-- generated from src/policy/problems.ts by \`npm run docs\`; edits here are lost -->

\`P…\` are told by \`writ policy check\` and whenever policies are published; most are errors, and a set that has one is
not a set. \`L…\` are told by \`writ policy lint\`: the policies are valid and may mean something else than they seem to.
They are warnings; with \`--strict\` they fail. A policy says that one is meant with its name:
\`@lint_ignore("wildcard-action")\`. A code never changes its meaning.

${sections.join('\n')}`
}

function current(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
for (const [file, make] of Object.entries(references)) {
  const path = join(ROOT, file)
  const text = make()
  if (current(path) === text) continue
  if (values.check) {
    console.error(`${file} is not what the code says: run \`npm run docs\``)
    process.exitCode = 1
    continue
  }
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  console.log(`wrote ${file}`)
}
