/**
 * `writ delegations`, `writ accounts`: who acts for whom, and whose accounts are whose.
 *
 * @module
 */
import type { Context } from '../context.ts'
import type { Row } from '../output.ts'
import { cell } from '../output.ts'
import { exit, usage } from '../exit.ts'
import { plain, when } from '../text.ts'
import { limitOf } from './requests.ts'
import { confirmAbsent } from './shared.ts'

export type DelegationOptions = Readonly<{
  action?: readonly string[]
  on?: readonly string[]
  ttl?: string
  reason?: string
}>

export async function delegationMake(
  context: Context,
  actor: string,
  { action, on, ttl, reason }: DelegationOptions,
): Promise<void> {
  const made = await context.writ.delegations.make({
    actor,
    ...(action === undefined ? {} : { actions: action }),
    ...(on === undefined ? {} : { resources: on }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(reason === undefined ? {} : { reason }),
  })
  context.print({ item: made }, { lines: [made.id] })
  context.note(
    'info',
    `${plain(made.actor)} may act for ${plain(made.delegator)} in what both may do, ends ${when(made.ends_at, context.io.now())} · it names ${plain(made.id)} as \`delegation\``,
  )
}

export async function delegationList(
  context: Context,
  options: { subject?: string; all?: boolean; limit?: string },
): Promise<void> {
  const page = await context.writ.delegations.list({
    subject: options.subject,
    live: options.all === true ? undefined : true,
    limit: limitOf(options.limit),
  })
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  const now = context.io.now()
  context.print(
    { items: page.items, ...more },
    {
      columns: [
        { title: 'ID', value: (row) => cell(row['id']) },
        { title: 'WHO', value: (row) => cell(row['actor']) },
        { title: 'FOR', value: (row) => cell(row['delegator']) },
        { title: 'WHAT', value: boundsOf },
        {
          title: 'ENDS',
          value: (row) => (row['live'] === true ? when(String(row['ends_at']), now) : 'ended'),
        },
      ],
    },
  )
  if (page.items.length === 0) context.note('info', 'no delegations · `writ delegations make --help`')
}

const boundsOf = (row: Row): string => {
  const list = (name: string): string | undefined => (row[name] as readonly string[] | undefined)?.join(', ')
  return `${list('actions') ?? 'anything'} on ${list('resources') ?? 'anything'}`
}

export async function delegationShow(context: Context, id: string): Promise<void> {
  const found = await context.writ.delegations.get(id)
  const { actor, delegator, actions, resources, reason, live, ends_at: ends } = found
  context.print(
    { item: found },
    {
      lines: [
        `${plain(actor)} acts for ${plain(delegator)}`,
        `  actions    ${actions === undefined ? 'all that both may do' : actions.map(plain).join(', ')}`,
        `  resources  ${resources === undefined ? 'all' : `${resources.map(plain).join(', ')}, and what is below`}`,
        `  ${live ? `ends ${when(ends, context.io.now())}` : 'has ended'}`,
        ...(reason === undefined ? [] : [`  because    ${plain(reason)}`]),
      ],
    },
  )
}

export async function delegationRevoke(
  context: Context,
  id: string,
  options: { reason?: string },
): Promise<number> {
  const reason = options.reason ?? 'revoked'
  const { recorded, grants, credentials } = await context.writ.delegations.revoke(id, reason)
  context.note('ok', `denied: nothing is permitted under ${plain(id)} any more`)
  if (!recorded) context.note('warn', 'in effect, but not on the record yet: the store cannot write')
  const ids = new Set(grants.map((grant) => grant.id))
  return ids.size === 0
    ? exit.ok
    : confirmAbsent(context, credentials, async (writ) => {
        const all = await Promise.all([...ids].map((grant) => writ.grants.get(grant)))
        return all.flatMap((one) => one.credentials)
      })
}

export type AccountOptions = Readonly<{ issuer?: string; person?: string }>

export async function accountLink(
  context: Context,
  account: string,
  { issuer, person }: AccountOptions,
): Promise<void> {
  const linked = await context.writ.accounts.link({
    issuer: issuerOf(issuer),
    account,
    person: personOf(person),
  })
  context.print({ item: linked }, { lines: [`${linked.issuer} ${linked.account}`] })
  context.note('info', `what it sets going is ${plain(linked.person)}'s, who cannot approve it`)
}

export async function accountList(
  context: Context,
  options: { person?: string; limit?: string },
): Promise<void> {
  const page = await context.writ.accounts.list({
    person: options.person === undefined ? undefined : personOf(options.person),
    limit: limitOf(options.limit),
  })
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  context.print(
    { items: page.items, ...more },
    {
      columns: [
        { title: 'ISSUER', value: (row) => cell(row['issuer']) },
        { title: 'ACCOUNT', value: (row) => cell(row['account']) },
        { title: 'PERSON', value: (row) => cell(row['person']) },
        { title: 'LINKED', value: (row) => when(String(row['linked_at']), context.io.now()) },
      ],
    },
  )
  if (page.items.length === 0) context.note('info', 'no accounts · `writ accounts link --help`')
}

export async function accountUnlink(
  context: Context,
  account: string,
  { issuer }: AccountOptions,
): Promise<void> {
  const name = issuerOf(issuer)
  await context.writ.accounts.unlink({ issuer: name, account })
  context.note(
    'ok',
    `${plain(account)} at ${plain(name)} is nobody's: no approval counts for what it sets going`,
  )
}

function issuerOf(issuer: string | undefined): string {
  if (issuer === undefined)
    throw usage('`--issuer` is missing', 'name the configured issuer, e.g. `--issuer github`')
  return issuer
}

function personOf(person: string | undefined): string {
  if (person === undefined) throw usage('`--person` is missing', 'name whose it is, e.g. `--person grace`')
  return person.includes('/') ? person : `Person/${person}`
}

export async function passkeyList(context: Context, id: string | undefined): Promise<void> {
  const { items } = await context.writ.passkeys.list({ person: id === undefined ? undefined : personOf(id) })
  context.print(
    { items },
    {
      columns: [
        { title: 'PERSON', value: (row) => cell(row['person']) },
        { title: 'NAME', value: (row) => cell(row['name']) },
        { title: 'MADE', value: (row) => when(String(row['created_at']), context.io.now()) },
        {
          title: 'USED',
          value: ({ used_at: used }) => (typeof used === 'string' ? when(used, context.io.now()) : 'not yet'),
        },
        { title: 'PASSKEY', value: (row) => cell(row['id']) },
      ],
    },
  )
  if (items.length === 0)
    context.note('info', 'no passkeys · people make them on their page, under their name')
}

export async function passkeyRemove(context: Context, passkey: string): Promise<void> {
  await context.writ.passkeys.remove(passkey)
  context.note('ok', `${plain(passkey)} signs nobody in and proves nothing any more`)
}
