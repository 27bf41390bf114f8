/**
 * `writ policy test --from`: a recorded decision as a test that repeats it, of nothing but what the record says.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { isMap, isSeq, parseDocument, stringify } from 'yaml'
import * as z from 'zod'
import type { Entity } from '../../client/src/index.ts'
import { isWritClientError } from '../../client/src/index.ts'
import { facts } from '../policy/index.ts'
import * as bounds from '../wire/bounds.ts'
import type { Context } from './context.ts'
import { CliError, exit, usage } from './exit.ts'
import { nearInventory, readTestFile, renderMistake, TEST_FILE } from './policy-test-file.ts'
import { plain } from './text.ts'

/** Most lines of the server's inventory that a test takes along. */
const INVENTORY_MOST = 2_000

/** Decisions for these reasons are told by policy, task and time alone, so that a test can repeat them. */
const REPEATABLE: ReadonlySet<string> = new Set([
  'standing',
  'evidence',
  'evidence_required',
  'policy_denied',
  'unknown_facts',
  'task_ended',
  'task_scope',
  'task_limit',
])

const anything = z.record(z.string(), z.unknown())
const ref = z.object({ type: z.string(), id: z.string(), properties: anything.optional() })
const recorded = z.object({
  id: z.string(),
  outcome: z.enum(['permit', 'deny', 'challenge']),
  reason: z.string(),
  says: z.string().optional(),
  inputs: z.string().optional(),
  attempt: z.object({
    subject: ref,
    action: z.object({ name: z.string(), properties: anything.optional() }),
    resource: ref,
    context: anything,
    chain: z.array(ref),
    task: z.string().optional(),
  }),
  determining: z.array(z.string()),
  facts: z.looseObject({ now: z.string(), caller: z.string() }),
  proof: z.object({
    approvals: z.record(z.string(), z.number()).optional(),
    justification: z.boolean().optional(),
    reauth: z.boolean().optional(),
  }),
  obligations: z.looseObject({ binding: z.string() }),
  alternatives: z
    .array(
      z.object({
        requirements: z.array(
          z.object({ kind: z.string(), pool: z.string().optional(), count: z.number().optional() }),
        ),
      }),
    )
    .optional(),
  truncated: z.boolean().optional(),
  roots: z.array(z.string()).optional(),
  asserted: z
    .object({ subject: z.array(z.string()).optional(), resource: z.array(z.string()).optional() })
    .optional(),
  unknown: z.array(z.string()).optional(),
})
type Recorded = z.output<typeof recorded>

const taskFact = z.looseObject({
  id: z.string(),
  declaredAt: z.string(),
  openedAt: z.string().optional(),
  window: z.object({ startsAt: z.string(), endsAt: z.string(), calendar: z.string().optional() }).optional(),
})
const historyFact = z.object({
  calls: z.number(),
  denials: z.number(),
  resources: z.number(),
  // not in what was recorded before there were any
  retries: z.number().default(0),
  systems: z.number().exactOptional(),
  rate: z.number().default(0),
})
const cedarEntity = z.object({ uid: ref, attrs: anything, parents: z.array(ref) })

type Members = Record<string, unknown>

/** Writes the test to standard output, or adds it to a file. */
export async function fromDecision(context: Context, id: string, into: string | undefined): Promise<number> {
  const file = into === undefined ? undefined : resolve(context.io.cwd, into)
  if (file !== undefined && !TEST_FILE.test(file))
    throw usage(`\`${plain(into ?? '')}\` is no name of a test file`, 'test files end in `.test.yaml`')
  const entry = await entryOf(context, id)
  const folder = file === undefined ? resolve(context.io.cwd, context.loaded.config.policies) : dirname(file)
  const test = await testOf(context, entry, folder)
  if (file === undefined) {
    context.io.out(whole(entry, test))
    return exit.ok
  }
  const shown = relative(context.io.cwd, file) || file
  if (!existsSync(file)) {
    writeFileSync(file, whole(entry, test), { flag: 'wx' })
    context.note('ok', `${plain(shown)} written · \`writ policy test ${plain(shown)}\` runs it`)
    return exit.ok
  }
  const { mistakes } = readTestFile(context, file)
  const [first] = mistakes
  if (first !== undefined)
    throw new CliError(exit.usage, renderMistake(first), 'mend the file first; nothing was added to it')
  const before = readFileSync(file, 'utf8')
  const after = appended(before, test)
  if (after === undefined)
    throw usage(`\`${plain(shown)}\` has a test named \`${plain(String(test['name']))}\` already`)
  // a file is never half of what it was
  const beside = `${file}.${process.pid}.tmp`
  writeFileSync(beside, after, { flag: 'wx' })
  renameSync(beside, file)
  context.note('ok', `added to ${plain(shown)} · \`writ policy test ${plain(shown)}\` runs it`)
  return exit.ok
}

async function entryOf({ writ }: Context, id: string): Promise<Recorded> {
  const answer = await writ.decisions.explain(id)
  const read = z.object({ decision: recorded }).safeParse(answer)
  if (!read.success)
    throw new CliError(
      exit.error,
      `the record of \`${plain(id)}\` lacks what a test needs`,
      'it may be pruned',
    )
  const { decision } = read.data
  const repeatable = REPEATABLE.has(decision.reason) || decision.outcome === 'challenge'
  if (!repeatable || (decision.says === undefined && decision.attempt.task === undefined))
    throw usage(
      `\`${plain(id)}\` was settled by \`${plain(decision.reason)}\`, before policy`,
      'a test repeats what policy, task and time decide',
    )
  return decision
}

const at = (entry: Recorded): string => entry.facts.now
const key = ({ type, id }: { type: string; id: string }): string => `${type}/${id}`

/** A file that holds this test alone. */
const whole = (entry: Recorded, test: Members): string => yaml({ now: at(entry), tests: [test] })

const yaml = (value: unknown): string => stringify(value, { lineWidth: 110, aliasDuplicateObjects: false })

/** `folder` is where the test will stand. */
async function testOf(context: Context, entry: Recorded, folder: string): Promise<Members> {
  const { attempt, outcome, reason, determining, obligations, alternatives = [], proof, says } = entry
  const { subject, action, resource } = attempt
  const given = Object.entries(proof.approvals ?? {}).filter(([, count]) => count > 0)
  const task = await taskOf(context, entry)
  const justified = proof.justification === true && (task?.['reason'] ?? '') === ''
  const unknown = (entry.unknown ?? []).filter((name) => Object.hasOwn(facts, name))
  const attributes = assertedOf(entry)
  return {
    name: `${entry.id} ${key(subject)} ${action.name} on ${key(resource)}`.slice(0, 200),
    now: at(entry),
    entities: await entitiesOf(context, entry, folder),
    principals: [key(subject)],
    actions: [action.name],
    resources: [key(resource)],
    ...(action.properties === undefined ? {} : { properties: action.properties }),
    ...(Object.keys(attempt.context).length === 0 ? {} : { context: attempt.context }),
    ...(Object.keys(attributes).length === 0 ? {} : { attributes }),
    ...(task === undefined ? {} : { task }),
    facts: othersOf(entry),
    ...(unknown.length === 0 ? {} : { unknown }),
    ...(given.length === 0 && !justified
      ? {}
      : {
          evidence: {
            ...(given.length === 0 ? {} : { approvals: Object.fromEntries(given) }),
            ...(justified ? { justification: true } : {}),
            ...(proof.reauth === true ? { reauth: true } : {}),
          },
        }),
    expect: outcome,
    ...(outcome === 'challenge' ? {} : { reason }),
    ...(says === undefined ? {} : { by: determining }),
    ...(outcome === 'permit' ? { obligations: obligationsOf(obligations) } : {}),
    ...(outcome === 'challenge' && entry.truncated !== true
      ? {
          requires: alternatives.map(({ requirements }) =>
            requirements.map(({ kind, pool, count }) =>
              kind === 'approval' ? { approval: pool, count } : kind,
            ),
          ),
        }
      : {}),
  }
}

/** Facts that no other member of the test tells. */
function othersOf({ facts: live }: Recorded): Members {
  const told = new Set(['now', 'chain', 'task', 'history'])
  return Object.fromEntries(Object.entries(live).filter(([name]) => !told.has(name)))
}

function assertedOf({ asserted = {}, attempt }: Recorded): Members {
  const attributes: Members = {}
  for (const side of ['subject', 'resource'] as const) {
    const names = asserted[side] ?? []
    if (names.length === 0) continue
    attributes[side] = Object.fromEntries(names.map((name) => [name, attempt[side].properties?.[name]]))
  }
  return attributes
}

function obligationsOf({ ttl, uses, binding }: Members): Members {
  return {
    ...(typeof ttl === 'number' ? { ttl: bounds.encodeDuration(ttl) } : {}),
    ...(typeof uses === 'number' ? { uses } : {}),
    binding,
  }
}

/** The task as it was then; its scope and limits never change, so they are those that it has. */
async function taskOf(
  context: Context,
  { attempt, facts: live, roots = [] }: Recorded,
): Promise<Members | undefined> {
  if (attempt.task === undefined) return undefined
  const read = taskFact.safeParse(live['task'])
  if (!read.success) throw usage(`the record does not say what \`${plain(attempt.task)}\` was then`)
  const { declaredAt, openedAt, window, ...rest } = read.data
  const { calls, denials, retries, resources, systems, rate } = historyFact.parse(live['history'])
  const now = await context.writ.tasks.get(attempt.task).then(
    ({ task }) => task,
    (error: unknown) => {
      if (isWritClientError(error, 'ERR_NOT_FOUND')) return undefined
      throw error
    },
  )
  return {
    ...rest,
    declared_at: declaredAt,
    ...(openedAt === undefined ? {} : { opened_at: openedAt }),
    // as it was then: it may have been narrowed since
    ...(window === undefined ? {} : { window: windowOf(window) }),
    calls,
    denials,
    touched: resources,
    ...(retries === 0 ? {} : { retries }),
    ...(systems === undefined || systems === Math.min(resources, 1) ? {} : { systems }),
    ...(rate === 0 ? {} : { rate }),
    ...(now === undefined
      ? {}
      : {
          scope: {
            actions: now.scope.actions,
            resources: now.scope.resources.map(({ type, id }) =>
              id === undefined ? type : key({ type, id }),
            ),
          },
          ...(now.limits.calls === undefined ? {} : { limits: { calls: now.limits.calls } }),
        }),
    ...(roots.length === 0 ? {} : { instigators: roots }),
  }
}

const windowOf = ({
  startsAt,
  endsAt,
  calendar,
}: NonNullable<z.output<typeof taskFact>['window']>): Members => ({
  starts_at: startsAt,
  ends_at: endsAt,
  ...(calendar === undefined ? {} : { calendar }),
})

/**
 * What policy was given of the inventory, as the record proves it. Around it stands what the server has now: people and
 * groups where somebody could be asked, and all of it where there is nothing else that a schema could be derived from.
 */
async function entitiesOf(context: Context, entry: Recorded, folder: string): Promise<Members[]> {
  const all = await inventoryOf(context)
  const isAlone = !hasSchema(folder) && nearInventory(folder) === undefined
  const { attempt, inputs, outcome } = entry
  const lines = new Map(
    [...all].filter(
      ([, { kind }]) => isAlone || (outcome === 'challenge' && (kind === 'human' || kind === 'group')),
    ),
  )
  if (inputs === undefined) return [...lines.values()]
  // what was not registered then was nothing to policy
  for (const one of [attempt.subject, attempt.resource]) lines.delete(key(one))
  for (const then of await provenEntities(context, entry))
    lines.set(key(then.uid), recordedLine(then, all.get(key(then.uid))))
  return [...lines.values()]
}

async function inventoryOf(context: Context): Promise<Map<string, Members>> {
  const lines = new Map<string, Members>()
  let cursor: string | undefined
  do {
    const page = await context.writ.inventory.list({ limit: 500, cursor })
    for (const line of page.items) lines.set(key(line), lineOf(line))
    cursor = page.next_cursor
  } while (cursor !== undefined && lines.size < INVENTORY_MOST)
  if (cursor !== undefined)
    context.note('warn', `the inventory is large: only ${INVENTORY_MOST} lines of it are looked at`)
  return lines
}

const hasSchema = (folder: string): boolean =>
  existsSync(folder) && readdirSync(folder).some((name) => /\.cedarschema(?:\.json)?$/u.test(name))

async function provenEntities(context: Context, { id, inputs }: Recorded) {
  const proof = z
    .object({ bodies: z.array(z.string()) })
    .parse(JSON.parse(await context.writ.log.prove(id)) as unknown)
  const body = proof.bodies.find(
    (text) => `sha256:${createHash('sha256').update(text).digest('hex')}` === inputs,
  )
  if (body === undefined)
    throw new CliError(exit.error, `what \`${plain(id)}\` was decided on is not kept any more`)
  return z.array(cedarEntity).parse(JSON.parse(body) as unknown)
}

function lineOf({ type, id, kind, name, owner, team, sensitivity, parents, attrs }: Entity): Members {
  return {
    type,
    id,
    ...(kind === undefined ? {} : { kind }),
    ...(name === undefined ? {} : { name }),
    ...(owner === undefined ? {} : { owner }),
    ...(team === undefined ? {} : { team }),
    sensitivity,
    ...(parents.length === 0 ? {} : { parents }),
    ...(Object.keys(attrs).length === 0 ? {} : { attrs }),
  }
}

const levels = ['low', 'moderate', 'high', 'critical']

/** The kind is not what policy is given, so it is that of now. */
function recordedLine(
  { uid, attrs, parents }: z.output<typeof cedarEntity>,
  now: Members | undefined,
): Members {
  const { sensitivity, owner, team, ...rest } = attrs
  const refIn = (value: unknown): string | undefined => {
    const read = ref.safeParse(value)
    return read.success ? key(read.data) : undefined
  }
  const [owned, shared] = [refIn(owner), refIn(team)]
  return {
    type: uid.type,
    id: uid.id,
    ...(now?.['kind'] === undefined ? {} : { kind: now['kind'] }),
    ...(owned === undefined ? {} : { owner: owned }),
    ...(shared === undefined ? {} : { team: shared }),
    ...(typeof sensitivity === 'number' ? { sensitivity: levels[sensitivity - 1] } : {}),
    ...(parents.length === 0 ? {} : { parents: parents.map(key) }),
    ...(Object.keys(rest).length === 0 ? {} : { attrs: rest }),
  }
}

/**
 * The text of a test file with one test more at the end of its list; everything else stays as it was written.
 * `undefined` if a test of that name is there.
 */
export function appended(text: string, test: Members): string | undefined {
  const document = parseDocument(text, { merge: true })
  const { contents } = document
  const tests = isMap(contents) ? contents.get('tests', true) : undefined
  if (!isSeq(tests)) throw new TypeError('a test file has a list `tests`')
  const before = document.toJS() as { tests: Members[] }
  if (before.tests.some(({ name }) => name === test['name'])) return undefined
  const first = tests.items[0] as { range?: readonly [number, number, number] } | undefined
  const start = first?.range?.[0] ?? 0
  const line = text.slice(text.lastIndexOf('\n', start - 1) + 1, start)
  const indent = /^( *)-\s+$/u.exec(line)?.[1]
  if (indent !== undefined && tests.flow !== true) {
    const end = tests.range?.[1] ?? text.length
    const head = text.slice(0, end).trimEnd()
    const tail = text.slice(head.length).replace(/^[ \t]*\r?\n?/u, '')
    const added = yaml([test]).replaceAll(/^(?=.)/gmu, indent)
    const after = `${head}\n\n${added}${tail}`
    if (saysBoth(after, before, test)) return after
  }
  // written on one line, or in a way that cannot be gone on with: comments stay, the layout is ours
  tests.add(document.createNode(test))
  return document.toString({ lineWidth: 110 })
}

function saysBoth(text: string, before: { tests: Members[] }, test: Members): boolean {
  const document = parseDocument(text, { merge: true })
  if (document.errors.length > 0) return false
  const wanted = { ...before, tests: [...before.tests, JSON.parse(JSON.stringify(test)) as Members] }
  return JSON.stringify(document.toJS()) === JSON.stringify(wanted)
}
