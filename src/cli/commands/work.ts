/**
 * `writ task …`, `writ grants …`: what is going on, and ending it.
 *
 * @module
 */
import type {
  Credential,
  Grant,
  JoinedRecord,
  Narrowing,
  Task,
  TaskState,
} from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { exit, usage } from '../exit.ts'
import type { Column } from '../output.ts'
import { cell } from '../output.ts'
import { plain, when } from '../text.ts'
import { covered } from './actions.ts'
import { limitOf } from './requests.ts'
import { confirmAbsent } from './shared.ts'

export type StartOptions = Readonly<{
  purpose?: string
  action?: readonly string[]
  on?: readonly string[]
  reason?: string
  ticket?: string
  /** A calendar. */
  window?: string
  delegation?: string
  ttl?: string
  heartbeat?: string
  parent?: string
  calls?: string
  as?: string
}>

export async function taskStart(context: Context, options: StartOptions): Promise<void> {
  const { purpose, action: actions = [], on = [] } = options
  if (purpose === undefined) throw usage('`--purpose` is missing', 'say what the task is for in a few words')
  if (actions.length === 0) throw usage('`--action` is missing', 'name what the task may do; may be repeated')
  if (on.length === 0) throw usage('`--on` is missing', 'name what the task may touch; may be repeated')
  const { calls } = options
  if (calls !== undefined && !/^[1-9]\d{0,8}$/u.test(calls))
    throw usage(`\`--calls ${calls}\` is not a number`)
  const task = await context.writ.tasks.declare({
    purpose,
    scope: { actions, resources: on.map(resourceOf) },
    ...(options.as === undefined ? {} : { subject: options.as }),
    ...(options.reason === undefined ? {} : { reason: options.reason }),
    ...(options.ticket === undefined ? {} : { ticket: options.ticket }),
    ...(options.window === undefined ? {} : { window: { calendar: options.window } }),
    ...(options.delegation === undefined ? {} : { delegation: options.delegation }),
    ...(options.ttl === undefined ? {} : { ttl: options.ttl }),
    ...(options.heartbeat === undefined ? {} : { heartbeat: options.heartbeat }),
    ...(options.parent === undefined ? {} : { parent: options.parent }),
    ...(calls === undefined ? {} : { limits: { calls: Number(calls) } }),
  })
  context.print({ item: task }, { lines: [task.id] })
  context.note(
    'info',
    `declared · its clocks start with its first permit, then it needs a heartbeat every ${plain(task.heartbeat)}`,
  )
}

/** `Type/id`, or `Type` alone for all of it. */
function resourceOf(text: string): { type: string; id?: string } {
  const cut = text.indexOf('/')
  return cut === -1 ? { type: text } : { type: text.slice(0, cut), id: text.slice(cut + 1) }
}

export async function taskList(context: Context, options: { all?: boolean; limit?: string }): Promise<void> {
  const live = options.all === true ? undefined : true
  const page = await context.writ.tasks.list({ live, limit: limitOf(options.limit) })
  const now = context.io.now()
  const columns: readonly Column[] = [
    { title: 'ID', value: (row) => cell(row['id']) },
    { title: 'STATE', value: (row) => cell(row['state']) },
    { title: 'WHO', value: (row) => cell(row['subject']) },
    { title: 'PURPOSE', value: (row) => cell(row['purpose']) },
    {
      title: 'ENDS',
      value: (row) =>
        when((row['ended_at'] ?? row['ends_at'] ?? row['lapses_at']) as string | undefined, now),
    },
  ]
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  context.print({ items: page.items, ...more }, { columns })
  if (page.items.length === 0)
    context.note('info', live === true ? 'no task is live · `--all` shows those that have ended' : 'no tasks')
}

export async function taskShow(context: Context, id: string): Promise<void> {
  const state = await context.writ.tasks.get(id, { record: true })
  context.print({ item: state }, { lines: describeTask(state, context.io.now()) })
}

export async function taskHeartbeat(context: Context, id: string): Promise<number> {
  const task = await context.writ.tasks.heartbeat(id)
  context.print({ item: task }, { lines: [task.state] })
  return isLive(task) ? exit.ok : exit.denied
}

const endings = ['completed', 'failed', 'cancelled'] as const

export async function taskEnd(
  context: Context,
  id: string,
  options: { status?: string; reason?: string },
): Promise<number> {
  const status = endings.find((ending) => ending === (options.status ?? 'completed'))
  if (status === undefined)
    throw usage(`\`--status ${options.status ?? ''}\` is not one of ${endings.join(', ')}`)
  const state = await context.writ.tasks.end(id, status, options.reason)
  context.print({ item: state }, { lines: [state.task.state] })
  return confirmAbsent(context, state.credentials, async (writ) => (await writ.tasks.get(id)).credentials)
}

function describeTask(state: TaskState, now: number): string[] {
  const { task } = state
  const scope = `${task.scope.actions.map(plain).join(', ')} on ${task.scope.resources
    .map((r) => plain(r.id === undefined ? `any ${r.type}` : `${r.type}/${r.id}`))
    .join(', ')}`
  return [
    `${plain(task.id)}  ${plain(task.state)}${state.clean ? ' · clean' : ''}`,
    `purpose     ${plain(task.purpose)}`,
    ...(task.reason === undefined ? [] : [`reason      ${plain(task.reason)}`]),
    ...(task.ticket === undefined ? [] : [`ticket      ${plain(task.ticket)}`]),
    ...(task.window === undefined
      ? []
      : [
          `window      ${plain(task.window.starts_at)} to ${plain(task.window.ends_at)}${task.window.calendar === undefined ? '' : `, by calendar ${plain(task.window.calendar)}${task.window.event === undefined ? '' : ` (${plain(task.window.event)})`}`}`,
        ]),
    `who         ${plain(task.subject)}, declared by ${plain(task.declared_by)}`,
    `may         ${scope}`,
    ...(task.ended_at === undefined
      ? [`ends        ${when(task.lapses_at ?? task.ends_at, now)} unless a heartbeat comes`]
      : [
          `ended       ${when(task.ended_at, now)}${task.ending === undefined ? '' : `: ${plain(task.ending.reason)}`}`,
        ]),
    ...state.requests.map((r) => `request     ${plain(r.id)}  ${plain(r.status)}`),
    ...state.grants.map(
      (g) => `grant       ${plain(g.id)}  ${grantState(g)}  ${plain(g.action)} on ${plain(g.resource)}`,
    ),
    ...state.credentials.map((c) => `credential  ${plain(c.id)}  ${credentialState(c, now)}`),
    ...describeRecord(state.record, now),
    ...state.children.map((t) => `child       ${plain(t.id)}  ${plain(t.state)}  ${plain(t.purpose)}`),
  ]
}

/** What was permitted and what was done, newest first, a screenful of each. */
function describeRecord(record: JoinedRecord | undefined, now: number): string[] {
  if (record === undefined) return []
  const { uses, actions, more } = record
  const shown = (lines: string[], what: string): string[] =>
    lines.length > SHOWN ? [...lines.slice(0, SHOWN), `            … and more ${what}`] : lines
  return [
    ...shown(
      uses.map(
        (u) =>
          `permitted   ${plain(u.decision)}  ${plain(u.action)} on ${plain(u.resource)}  ${when(u.at, now)}`,
      ),
      'permits',
    ),
    ...shown(
      actions.map(
        (a) =>
          `action      ${plain(a.action)}  ${plain(a.outcome)}  ${when(a.done_at ?? a.recorded_at, now)}  ${covered(a)}`,
      ),
      'actions',
    ),
    ...(more ? ['            older ones: `writ actions ls`'] : []),
  ]
}

const SHOWN = 20

/** Who asked, who agreed, and why. */
function describeRequests(record: JoinedRecord | undefined): string[] {
  return (record?.requests ?? []).flatMap((r) => [
    `request     ${plain(r.id)}  ${plain(r.status)}${r.justification === undefined ? '' : `: ${plain(r.justification)}`}`,
    ...r.approvals.map(
      (a) =>
        `approved    as ${plain(a.pool)}${a.person === undefined ? '' : ` by ${plain(a.person)}`}${a.comment === undefined ? '' : `: ${plain(a.comment)}`}`,
    ),
  ])
}

/** `unresolved at orders-db: …`, with what is being done about it. */
function credentialState(credential: Credential, now: number): string {
  const { state, target, problem, tries, next_try_at: next } = credential
  const why = problem === undefined ? '' : `: ${plain(problem)}`
  if (state !== 'unresolved') return `${plain(state)} at ${plain(target)}${why}`
  const again = next === undefined ? '' : `, next ${when(next, now)}`
  return `${plain(state)} at ${plain(target)}${why} · access is denied, tried ${tries} times${again}`
}

const isLive = (task: Task): boolean => task.state === 'declared' || task.state === 'open'
const grantState = (grant: Grant): string =>
  grant.end === undefined ? plain(grant.state) : `${plain(grant.state)} (${plain(grant.end)})`

export async function grantList(
  context: Context,
  options: { task?: string; all?: boolean; limit?: string },
): Promise<void> {
  const live = options.all === true ? undefined : true
  const page = await context.writ.grants.list({ task: options.task, live, limit: limitOf(options.limit) })
  const now = context.io.now()
  const items = page.items.toSorted((a, b) => a.ends_at.localeCompare(b.ends_at))
  const columns: readonly Column[] = [
    { title: 'ID', value: (row) => cell(row['id']) },
    { title: 'STATE', value: (row) => grantState(row as unknown as Grant) },
    { title: 'WHO', value: (row) => cell(row['subject']) },
    { title: 'WHAT', value: (row) => `${cell(row['action'])} on ${cell(row['resource'])}` },
    { title: 'ENDS', value: (row) => when((row['ended_at'] ?? row['ends_at']) as string, now) },
    {
      title: 'USED',
      value: (row) =>
        row['uses'] === undefined ? cell(row['used']) : `${cell(row['used'])}/${cell(row['uses'])}`,
    },
  ]
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  context.print({ items, ...more }, { columns })
  if (items.length === 0) context.note('info', live === true ? 'no grant is live' : 'no grants')
}

export async function grantShow(context: Context, id: string): Promise<void> {
  const detail = await context.writ.grants.get(id, { record: true })
  const { grant, credentials } = detail
  const now = context.io.now()
  context.print(
    { item: detail },
    {
      lines: [
        `${plain(grant.id)}  ${grantState(grant)}`,
        `who         ${plain(grant.subject)}`,
        `may         ${plain(grant.action)} on ${plain(grant.resource)}`,
        `binds to    this ${plain(grant.binding)}${grant.task === undefined ? '' : ` · task ${plain(grant.task)}`}`,
        `used        ${grant.used}${grant.uses === undefined ? '' : ` of ${grant.uses}`}`,
        grant.ended_at === undefined
          ? `ends        ${when(grant.ends_at, now)}`
          : `ended       ${when(grant.ended_at, now)}${grant.reason === undefined ? '' : `: ${plain(grant.reason)}`}`,
        `decision    ${plain(grant.decision)}`,
        ...describeRequests(detail.record),
        ...credentials.map((c) => `credential  ${plain(c.id)}  ${credentialState(c, now)}`),
        ...describeRecord(detail.record, now),
      ],
    },
  )
}

export type RevokeOptions = Readonly<{ task?: string; reason?: string }>

/** Takes back a grant, or all of a task's. */
export async function grantRevoke(
  context: Context,
  id: string | undefined,
  options: RevokeOptions,
): Promise<number> {
  const { task } = options
  if ([id, task].filter((one) => one !== undefined).length !== 1) {
    throw usage(
      'name exactly one: a grant or `--task`',
      '`writ lock subject Type/id` ends all that a subject has',
    )
  }
  const reason = options.reason ?? 'revoked from the command line'
  const { writ } = context
  const narrowing =
    task === undefined
      ? await writ.grants.revoke(id as string, reason)
      : await writ.tasks.revoke(task, reason)
  return confirmNarrowing(
    context,
    narrowing,
    `${narrowing.grants.length} grant${narrowing.grants.length === 1 ? '' : 's'} denied`,
  )
}

/** Says what was narrowed, and waits until its credentials are gone. */
export function confirmNarrowing(context: Context, narrowing: Narrowing, said: string): Promise<number> {
  context.print({ item: narrowing }, { lines: [said] })
  if (!narrowing.recorded) context.note('warn', 'in effect, but not on the record yet')
  const wanted = new Set(narrowing.credentials.map((c) => c.id))
  const grants = [...new Set(narrowing.credentials.map((c) => c.grant))]
  return confirmAbsent(context, narrowing.credentials, async (again) => {
    const details = await Promise.all(grants.map((grant) => again.grants.get(grant)))
    return details.flatMap((detail) => detail.credentials).filter((c) => wanted.has(c.id))
  })
}
