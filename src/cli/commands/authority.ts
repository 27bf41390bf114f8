/**
 * `writ why --subject S --at TIME`: what it could do then, and why.
 *
 * @module
 */
import type { Authority } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { proofLines } from '../explanation.ts'
import { plain, reasonOf } from '../text.ts'
import { localAndUtc } from '../times.ts'

export async function authorityAt(context: Context, subject: string, at: number): Promise<void> {
  const answer = await context.writ.authority({ subject, at: new Date(at).toISOString() })
  context.print(
    { item: answer },
    { lines: describeAuthority(answer, (text) => context.io.styleOut('bold', text)) },
  )
}

/** The lines that a person reads. */
export function describeAuthority(
  answer: Authority,
  bold: (text: string) => string = (text) => text,
): string[] {
  const at = Date.parse(answer.at)
  const left = (end: string): string => `${clock(Date.parse(end))}, ${span(Date.parse(end) - at)} later`
  const { grants, credentials, tasks, requests, standing, locks, policy, over } = answer
  const lines = [
    bold(`${plain(answer.subject)} at ${localAndUtc(at)}`),
    `${answer.registered ? 'registered' : 'not registered'}${over === undefined ? '' : ` · no authority: ${overWords[over] ?? plain(over)}`}`,
    policy === undefined
      ? 'no policy set was in force'
      : `policy set ${plain(policy.version).slice(0, 12)}, published ${localAndUtc(Date.parse(policy.published_at))}`,
  ]
  const section = (title: string, none: string, items: readonly (readonly string[])[]): void => {
    lines.push('', bold(title))
    if (items.length === 0) lines.push(`  ${none}`)
    for (const [first = '', ...more] of items) lines.push(`  ${first}`, ...more.map((line) => `    ${line}`))
  }
  if (locks.length > 0) {
    section(
      'Locked',
      '',
      locks.map(({ reason, at: since, by, until }) => [
        `since ${clock(Date.parse(since))}: ${plain(reason)}${by === undefined ? '' : ` · by ${plain(by)}`}${until === undefined ? '' : ` · until ${clock(Date.parse(until))}`}`,
      ]),
    )
  }
  section(
    'Grants',
    'none was live',
    grants.map((grant) => [
      `${plain(grant.id)}  ${plain(grant.action)} on ${plain(grant.resource)}`,
      `bound to ${grant.binding === 'attempt' ? 'that one attempt' : `task ${plain(grant.task ?? '')}${scopeOf(grant.scope)}`}${
        grant.uses === undefined ? '' : ` · ${grant.uses_left ?? 0} of ${grant.uses} uses left`
      } · ends ${left(grant.ends_at)}`,
      ...grant.approvals.map(
        (given) =>
          `approved by ${plain(given.by)} as ${plain(given.pool)} at ${clock(Date.parse(given.at))} · statement ${plain(given.statement).slice(0, 19)}…${
            given.comment === undefined ? '' : ` · “${plain(given.comment)}”`
          }`,
      ),
      ...(grant.justification === undefined ? [] : [`because: ${plain(grant.justification)}`]),
      `${grant.determining.length === 0 ? 'decided' : `permitted by ${grant.determining.map(plain).join(', ')}`} in ${plain(grant.decision)}, policy set ${plain(grant.policy).slice(0, 12)}`,
    ]),
  )
  section(
    'Credentials',
    'none was out',
    credentials.map(({ id, state, target, name, ends_at: ends }) => [
      `${plain(id)}  ${plain(state)} at ${plain(target)} as ${plain(name)} · ends ${left(ends)}`,
    ]),
  )
  section(
    'Tasks',
    'none was open',
    tasks.map((task) => [
      `${plain(task.id)}  ${plain(task.state)}  ${plain(task.purpose)}${scopeOf(task.scope)}${
        task.ends_at === undefined ? '' : ` · ends ${left(task.ends_at)}`
      }`,
    ]),
  )
  // servers of before do not tell
  const { tokens = [], delegations = [] } = answer as Partial<Authority>
  section(
    'Tokens',
    'none was good',
    tokens.map((token) => [
      `${plain(token.id)}  ${token.scope.length === 0 ? 'signing in' : token.scope.map(plain).join(', ')} at ${plain(token.audience)} · ends ${left(token.ends_at)}`,
      ...(token.chain.length < 2 ? [] : [`for ${token.chain.slice(1).map(plain).join(', then ')}`]),
      ...token.proofs.flatMap((proof) => proofLines(proof, { columns: 0 })),
      token.jkt === undefined ? 'bound to no key' : `bound to the key ${plain(token.jkt)}`,
      ...(token.decisions.length === 0 ? [] : [`decided in ${token.decisions.map(plain).join(', ')}`]),
    ]),
  )
  section(
    'Delegations',
    'nobody let it act for them',
    delegations.map(({ id, delegator, actions, resources, reason, ends_at: ends }) => [
      `${plain(id)}  for ${plain(delegator)}: ${actions?.map(plain).join(', ') ?? 'anything'} on ${resources?.map(plain).join(', ') ?? 'anything'} · ends ${left(ends)}`,
      ...(reason === undefined ? [] : [`because: ${plain(reason)}`]),
    ]),
  )
  section(
    'Access requests',
    'none was waiting',
    requests.map((request) => [
      `${plain(request.id)}  ${plain(request.state)}  ${plain(request.action)} on ${plain(request.resource)} · ${
        request.state === 'approved' ? 'could be activated until' : 'could be answered until'
      } ${left(request.until)}`,
      ...request.approvals.map(
        (given) => `approved by ${plain(given.by)} as ${plain(given.pool)} at ${clock(Date.parse(given.at))}`,
      ),
    ]),
  )
  section(
    'Standing rights',
    over === undefined ? `none of ${answer.tried} that were tried` : 'none',
    standing.map(({ action, resource, policies }) => [
      `${plain(action)} on ${plain(resource)}  by ${policies.map(plain).join(', ')}`,
    ]),
  )
  const decisions = [
    ...answer.before.toReversed().map((it) => ({ ...it, side: 'before' })),
    ...answer.after.map((it) => ({ ...it, side: 'after' })),
  ]
  section(
    'Decisions around it',
    'none',
    decisions.map(({ id, at: when, outcome, reason, action, resource, side }) => [
      `${side === 'after' ? 'after ' : 'before'} ${clock(Date.parse(when))}  ${plain(outcome).toUpperCase()}  ${plain(action)} on ${plain(resource)}  ${plain(id)}${
        outcome === 'permit' ? '' : ` · ${reasonOf(reason)}`
      }`,
    ]),
  )
  lines.push('')
  if (answer.truncated) lines.push('there is more than is shown: a bound was reached')
  lines.push(...answer.leaves_out.map((what) => `not told: ${plain(what)}`))
  return lines
}

const overWords: Readonly<Record<string, string>> = {
  locked: 'it was locked',
  deleted: 'it was deleted',
  ended: 'it had ended',
}

const scopeOf = (scope: Authority['tasks'][number]['scope'] | undefined): string =>
  scope === undefined
    ? ''
    : ` · ${scope.actions.map(plain).join(', ')} on ${scope.resources
        .map(({ type, id }) => plain(id === undefined ? `any ${type}` : `${type}/${id}`))
        .join(', ')}`

/** Local time; the head of the answer says how it lies to UTC. */
function clock(at: number): string {
  const date = new Date(at)
  const two = (n: number): string => String(n).padStart(2, '0')
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

function span(millis: number): string {
  const seconds = Math.max(0, Math.round(millis / 1_000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`
}
