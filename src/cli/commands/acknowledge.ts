/**
 * `writ audit acknowledge`: what came back with a restored copy, looked at and taken on.
 *
 * @module
 */
import type { Context } from '../context.ts'
import { CliError, exit } from '../exit.ts'
import { plain, when } from '../text.ts'

export async function acknowledge(context: Context): Promise<void> {
  const state = await context.writ.log.epoch()
  const { epoch, restored, keys, locks, passkeys, accounts, delegations, policy } = state
  if (restored === undefined || restored.acknowledged !== undefined) {
    context.print({ item: state }, { lines: [] })
    context.note('ok', 'no restore waits to be acknowledged')
    return
  }
  const now = context.io.now()
  const rest = (of: { total: number; items: readonly unknown[] }, where: string): string[] =>
    of.total > of.items.length ? [`  and ${of.total - of.items.length} more: \`${where}\``] : []
  const ends = restored.copy_ends_at
  for (const line of [
    `epoch ${epoch}: ${plain(restored.why)}, found ${when(restored.at, now)}`,
    ends === undefined
      ? 'when the copy was last written is not known'
      : `the copy was last written ${when(ends, now)}: what was revoked, locked, unlocked or published since is not known here`,
    `policy in force: ${policy === undefined ? 'none' : plain(policy)}`,
    `API keys that open doors: ${keys.total}`,
    ...keys.items.map(
      ({ id, name, subject, ends_at }) =>
        `  ${plain(id)}  ${plain(name)}  ${plain(subject)}${ends_at === undefined ? '' : `, ends ${when(ends_at, now)}`}`,
    ),
    ...rest(keys, 'writ keys ls'),
    `locked: ${locks.total}`,
    ...locks.items.map(
      ({ what, about, reason, until }) =>
        `  ${what} ${plain(about)}  ${plain(reason)}${until === undefined ? '' : `, until ${when(until, now)}`}`,
    ),
    ...rest(locks, 'writ locks'),
    `passkeys: ${passkeys.total}`,
    ...passkeys.items.map(
      ({ id, person, name, used_at: used }) =>
        `  ${plain(person)}  ${plain(name)}, ${used === undefined ? 'not used yet' : `used ${when(used, now)}`}  ${plain(id)}`,
    ),
    ...rest(passkeys, 'writ audit acknowledge --json'),
    `linked accounts: ${accounts.total}`,
    ...accounts.items.map(
      ({ issuer, account, person }) => `  ${plain(person)}  ${plain(account)} at ${plain(issuer)}`,
    ),
    ...rest(accounts, 'writ accounts ls'),
    `delegations: ${delegations.total}`,
    ...delegations.items.map(
      ({ id, delegator, actor, ends_at: ends }) =>
        `  ${plain(id)}  ${plain(actor)} for ${plain(delegator)}, ends ${when(ends, now)}`,
    ),
    ...rest(delegations, 'writ delegations ls'),
  ]) {
    context.say(line)
  }
  context.note(
    'warn',
    'first revoke again what was revoked since: `writ keys revoke`, `writ lock`, `writ people remove-passkey`, `writ accounts unlink`, `writ delegations revoke`, `writ policy publish`',
  )
  const question = 'From now on all of this is believed again. Was it looked at?'
  if (!(await context.confirm(question))) throw new CliError(exit.error, 'nothing was done')
  await context.writ.log.acknowledge(epoch)
  context.print({ item: await context.writ.log.epoch() }, { lines: [] })
  context.note('ok', `the restore of epoch ${epoch} is acknowledged`)
}
