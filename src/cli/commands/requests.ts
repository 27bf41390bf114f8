/**
 * `writ request`, `writ requests …`: asking for evidence, and giving it.
 *
 * @module
 */
import type { AccessRequest, AccessState, Decision, Grant } from '../../../client/src/index.ts'
import { isSettled, isWritClientError } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { CliError, exit, usage } from '../exit.ts'
import type { Column, Row } from '../output.ts'
import { cell } from '../output.ts'
import { plain, plainLines, provingPlace, reasonOf, requirements, when } from '../text.ts'
import { Waiting } from '../waiting.ts'
import { untilInterrupted } from './shared.ts'

const columns = (now: number): readonly Column[] => [
  { title: 'ID', value: text('id') },
  { title: 'STATUS', value: text('status') },
  { title: 'WHO', value: text('subject') },
  { title: 'WHAT', value: (row) => `${cell(row['action'])} on ${cell(row['resource'])}` },
  { title: 'WHY', value: (row) => cell(row['justification']) },
  {
    title: 'EXPIRES',
    value: (row) => (row['status'] === 'pending' ? when(row['expires_at'] as string | undefined, now) : ''),
  },
  {
    title: 'YOURS TO APPROVE',
    value: (row) => ((row['may_approve'] as string[] | undefined) ?? []).join(', '),
  },
]

export type AskOptions = Readonly<{
  on?: string
  reason?: string
  ttl?: string
  task?: string
  as?: string
  wait?: true | string
}>

/** Asks for a grant: there at once if it is permitted, else an access request, waited for if wished. */
export async function request(context: Context, action: string, options: AskOptions): Promise<number> {
  const { on: resource, reason, ttl, as, task } = options
  if (resource === undefined)
    throw usage('`--on` is missing', 'name the resource, e.g. `--on Database/orders`')
  const { writ } = context
  const attempt = {
    ...(as === undefined ? {} : { subject: as }),
    action,
    resource,
    ...(task === undefined ? {} : { context: { task } }),
  }
  const { decision, grant } = await writ.grants.activate(attempt)
  if (decision.outcome === 'permit') return granted(context, grant)
  if (decision.outcome === 'deny') throw denied(decision)
  context.note('wait', `${plain(action)} on ${plain(resource)} needs ${requirements(decision.alternatives)}`)
  const asksWhy = decision.alternatives.every(({ requirements: all }) =>
    all.some(({ kind }) => kind === 'justification'),
  )
  if (reason === undefined && asksWhy) throw usage('`--reason` is missing', 'say why: who approves reads it')
  const handle = decision.request({ reason, ttl })
  const submitted = await handle.submitted()
  const at = provingPlace(decision.alternatives, context.url, submitted.id)
  if (at !== undefined) context.note('wait', `the passkey is used at ${at}`)
  if (options.wait === undefined) {
    context.print({ item: submitted }, { lines: [submitted.id] })
    context.note('wait', `asked · \`writ requests wait ${submitted.id}\``)
    return exit.ok
  }
  const state = await wait(context, submitted.id, options.wait)
  if (state.approval === undefined) return unapproved(context, state)
  // approval grants nothing by itself: the grant is asked for again, carrying it
  const after = await writ.grants.activate({
    ...attempt,
    context: { ...(task === undefined ? {} : { task }), approval: state.approval },
  })
  if (after.decision.outcome !== 'permit') throw denied(after.decision)
  return granted(context, after.grant)
}

export async function list(context: Context, options: { all?: boolean; limit?: string }): Promise<void> {
  const page = await context.writ.requests.list({
    pending: options.all === true ? undefined : true,
    limit: limitOf(options.limit),
  })
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  context.print({ items: page.items, ...more }, { columns: columns(context.io.now()) })
  if (page.items.length === 0) {
    context.note(
      'info',
      options.all === true ? 'no access requests' : 'nothing is waiting · `--all` shows what has ended',
    )
  }
}

export async function show(context: Context, id: string): Promise<void> {
  const made = await context.writ.requests.get(id)
  context.print({ item: made }, { lines: describe(made, context.io.now(), context.url) })
}

/** Waits until a request has settled; what comes of it is said, nothing is activated. */
export async function waitFor(context: Context, id: string, options: { timeout?: string }): Promise<number> {
  const state = await wait(context, id, options.timeout ?? true)
  context.print(
    { item: { id, status: state.status, ...(state.approval ? { approval: state.approval } : {}) } },
    { lines: [state.status] },
  )
  if (state.approval === undefined) {
    if (state.status === 'expired') context.note('bad', `nobody approved ${plain(id)} in time · ask again`)
    else if (!isSettled(state)) context.note('wait', `still pending · \`writ requests wait ${plain(id)}\``)
    return codeOf(state)
  }
  context.note('ok', `approved · \`writ run --request ${plain(id)} -- …\``)
  return exit.ok
}

export async function cancel(context: Context, id: string, options: { reason?: string }): Promise<void> {
  const task = await context.writ.requests.cancel(id, options.reason)
  context.print({ item: task }, { lines: [task.status] })
}

export type GiveOptions = Readonly<{ pool?: string; comment?: string; statement?: string; reason?: string }>

/** Approves exactly what is shown: the digest of the statement on the screen is what is signed. */
export async function approve(
  context: Context,
  named: string | undefined,
  options: GiveOptions,
): Promise<void> {
  const id = named ?? (await onlyOne(context))
  const statement = await shown(context, id, options.statement, 'Approve this?')
  const approved = await context.writ.requests.approve(id, statement, {
    ...(options.pool === undefined ? {} : { pool: options.pool }),
    ...(options.comment === undefined ? {} : { comment: options.comment }),
  })
  context.print({ item: approved }, { lines: [approved.status] })
  if (approved.status === 'pending')
    context.note('wait', `approved by you · more is needed: ${requirements(approved.alternatives)}`)
  else
    context.note(
      approved.status === 'approved' ? 'ok' : 'warn',
      `access request is ${plain(approved.status)}`,
    )
}

export async function deny(context: Context, named: string | undefined, options: GiveOptions): Promise<void> {
  const id = named ?? (await onlyOne(context))
  const statement = await shown(context, id, options.statement, 'Deny this?')
  const refused = await context.writ.requests.deny(id, statement, options.reason)
  context.print({ item: refused }, { lines: [refused.status] })
}

/** The one pending request that is this person's to answer, where none is named. */
async function onlyOne(context: Context): Promise<string> {
  const { items } = await context.writ.requests.list({ pending: true, limit: 1_000 })
  const mine = items.filter((item) => (item.may_approve ?? []).length > 0)
  const [first] = mine
  if (first === undefined)
    throw usage('nothing waits for your approval', '`writ requests ls` lists what waits')
  if (mine.length === 1) return first.id
  const listed = mine.map(
    (item) => `${plain(item.id)}  ${plain(item.subject)}: ${plain(item.action)} on ${plain(item.resource)}`,
  )
  throw usage(
    `name one of the ${mine.length} that wait for you:\n${listed.map((line) => `  ${line}`).join('\n')}`,
  )
}

/** The digest of what a person has seen: of what is on the screen now, or the one they give. */
async function shown(
  context: Context,
  id: string,
  given: string | undefined,
  question: string,
): Promise<string> {
  const made = await context.writ.requests.get(id)
  if (given !== undefined) return given
  for (const line of describe(made, context.io.now(), context.url)) context.say(line)
  context.say('')
  if (context.options.yes === true) {
    throw usage(
      'what was seen must be named',
      `give --statement ${made.digest} after reading \`writ requests show ${plain(id)}\``,
    )
  }
  if (!(await context.confirm(question, `--statement ${made.digest}`)))
    throw new CliError(exit.error, 'nothing was done')
  return made.digest
}

async function wait(context: Context, id: string, how: true | string): Promise<AccessState> {
  using waiting = new Waiting(context)
  using stop = untilInterrupted()
  try {
    return await context.writ.requests.wait(id, {
      timeout: how === true ? undefined : how,
      signal: stop.signal,
      onState: (state) => (isWritClientError(state) ? waiting.miss(state) : waiting.see(state)),
    })
  } catch (error) {
    if (!stop.signal.aborted) throw error
    waiting[Symbol.dispose]()
    throw new CliError(
      stop.exitCode,
      `interrupted; access request ${plain(id)} is still pending`,
      `\`writ requests wait ${plain(id)}\``,
    )
  }
}

function unapproved(context: Context, state: AccessState): number {
  const { task } = state
  context.print({ item: { ...task } }, { lines: [state.status] })
  const late = !isSettled(state)
  context.note(
    'bad',
    late
      ? `not approved in time · \`writ requests wait ${plain(task.id)}\``
      : state.status === 'expired'
        ? `nobody approved ${plain(task.id)} in time · ask again`
        : `access request is ${plain(state.status)}`,
  )
  return codeOf(state)
}

function codeOf(state: AccessState): number {
  return state.status === 'denied' || state.status === 'cancelled' ? exit.denied : exit.notApproved
}

function granted(context: Context, grant: Grant | undefined): number {
  if (grant === undefined) throw new CliError(exit.error, 'the server permits without a grant')
  context.print({ item: grant }, { lines: [grant.id] })
  context.note('ok', `granted, ends ${when(grant.ends_at, context.io.now())}`)
  return exit.ok
}

export function denied(decision: Exclude<Decision, { outcome: 'permit' }>): CliError {
  const why = decision.id === undefined ? undefined : `\`writ why ${decision.id}\``
  if (decision.outcome === 'challenge')
    return new CliError(exit.denied, `needs ${requirements(decision.alternatives)}`, why)
  const retry =
    decision.nextAction === 'retry' && decision.retryAfter !== undefined
      ? `try again in ${decision.retryAfter} s`
      : why
  return new CliError(exit.denied, `denied: ${reasonOf(decision.reason)}`, retry)
}

function standing({ status, expires_at, activate_by, grant }: AccessRequest, now: number): string {
  if (status === 'pending') return `pending, expires ${when(expires_at, now)}`
  if (status !== 'approved') return plain(status)
  if (grant !== undefined) return `approved, used for ${plain(grant)}`
  if (activate_by === undefined) return 'approved'
  return Date.parse(activate_by) > now
    ? `approved, to be used by ${when(activate_by, now).replace(/^in /u, '')} from now`
    : 'approved, but not used in time'
}

/** What an approver reads. The requester's own words are marked: they are no fact. */
function describe(made: AccessRequest, now: number, server: string): string[] {
  const at = provingPlace(made.alternatives, server, made.id)
  return [
    `${plain(made.subject)} wants ${plain(made.action)} on ${plain(made.resource)} for ${plain(made.ttl)}`,
    ...(made.chain.length > 1 ? [`acting for ${made.chain.slice(1).map(plain).join(', ')}`] : []),
    ...(made.emergency === true ? ['EMERGENCY   says the requester (not verified); it skips nothing'] : []),
    `status      ${standing(made, now)}`,
    `needs       ${requirements(made.alternatives)}`,
    ...(at === undefined || made.status !== 'pending' ? [] : [`passkey     at ${at}`]),
    `binds to    this ${plain(made.binding)}${made.task === undefined ? '' : ` · task ${plain(made.task)}`}`,
    ...(made.justification === undefined
      ? []
      : [`they say    “${plain(made.justification)}” (not verified)`]),
    ...(made.instigators ?? []).map((one) => `set going by ${plain(one)}`),
    ...provedLines(made.proved),
    ...(made.proved_also ?? []).flatMap((other) => [
      'asked again, when this was proved:',
      ...provedLines(other),
    ]),
    ...made.approvals.map(
      (a) =>
        `approval    ${plain(a.pool)}${a.person === undefined ? '' : ` by ${plain(a.person)}`} ${when(a.at, now)}`,
    ),
    ...(made.may_approve === undefined || made.may_approve.length === 0
      ? []
      : [`yours to approve as ${made.may_approve.map(plain).join(', ')}`]),
    'statement:',
    ...plainLines(JSON.stringify(made.statement, undefined, 2))
      .split('\n')
      .map((line) => `  ${line}`),
    `digest      ${plain(made.digest)}`,
  ]
}

/** What an issuer proved of who asks, a line for each claim. */
function provedLines(proved: AccessRequest['proved']): string[] {
  if (typeof proved !== 'object' || proved === null || Array.isArray(proved)) return []
  const claims = Object.entries(proved)
  if (claims.length === 0) return ['proved      nothing']
  return claims.map(
    ([name, value]) =>
      `proved      ${plain(name)} ${plain(typeof value === 'string' ? value : JSON.stringify(value))}`,
  )
}

const text =
  (name: string) =>
  (row: Row): string =>
    cell(row[name])

export function limitOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^[1-9]\d{0,3}$/u.test(text) || Number(text) > 1_000)
    throw usage(`\`--limit ${text}\` is not a number from 1 to 1000`)
  return Number(text)
}
