/**
 * Every command of `writ` with its options, help and example. What they do is elsewhere, and loaded when it is needed.
 *
 * @module
 */
import { Command, Option } from 'commander'
import type { Context, GlobalOptions } from './context.ts'
import { exit, usage } from './exit.ts'
import type { Io } from './io.ts'
import { formats } from './output.ts'
import { version } from '../version.ts'
import type { WitnessFlags } from './witness.ts'

type LoginFlags = Readonly<{ code?: boolean; withToken?: boolean; oidc?: string; browser?: boolean }>

/** What a command does: options come typed as the command declared them. */
type Action = (context: Context, ...args: never[]) => number | void | Promise<number | void>

/** Takes the exit code of the command that ran. */
export type Finish = (code: number) => void

function globalOptions(): Option[] {
  return [
    new Option('--url <url>', 'the server to talk to (WRIT_URL)'),
    new Option('--profile <name>', 'a profile of your config.yaml (WRIT_PROFILE)'),
    new Option('-c, --config <file>', 'configuration file in place of ./writ.config.yaml (WRIT_CONFIG)'),
    new Option('-o, --output <format>', 'how data is written (WRIT_OUTPUT)').choices([...formats]),
    new Option('--json', 'the same as `-o json`; `--json=id,state` gives these fields only'),
    new Option('--json-fields <fields>').hideHelp(),
    new Option('-y, --yes', 'answer every question with yes'),
    new Option('--no-input', 'never ask; fail and name the missing flag'),
    new Option('--debug', 'show what is behind an error (WRIT_DEBUG)'),
  ]
}

const WAIT = '--wait'
const waitOption = (): Option[] => [
  new Option(WAIT, 'wait for approval, as long as the request lives; `--wait=10m` for at most that'),
  new Option('--wait-for <duration>').hideHelp(),
]

/** `--json=a,b` and `--wait=10m` have a value only with `=`, so that they never swallow the word after them. */
export function normaliseArgv(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  const words = end === -1 ? argv : argv.slice(0, end)
  // a proof has one form: there `-o` names its file, as with other tools
  const proves = words.findIndex(
    (word, at) => ['prove', 'export'].includes(word) && words[at - 1] === 'audit',
  )
  const inspects = words.findIndex(
    (word, at) => ['check', 'lint'].includes(word) && words[at - 1] === 'policy',
  )
  const ours = words.flatMap((word, at) => {
    if (proves !== -1 && at > proves && word === '-o') return ['--out']
    if (inspects === -1 || at < inspects) return [word]
    // a format of these two alone
    if (/^(?:-o|--output=)sarif$/u.test(word)) return ['--sarif']
    if (/^(?:-o|--output)$/u.test(word) && words[at + 1] === 'sarif') return []
    return [word === 'sarif' && /^(?:-o|--output)$/u.test(words[at - 1] ?? '') ? '--sarif' : word]
  })
  const rest = end === -1 ? [] : argv.slice(end)
  return [
    ...ours.flatMap((word) => {
      if (word.startsWith('--json=')) return ['--json', `--json-fields=${word.slice('--json='.length)}`]
      if (word.startsWith('--wait=')) return [WAIT, `--wait-for=${word.slice('--wait='.length)}`]
      return [word]
    }),
    ...rest,
  ]
}

type Waits = { wait?: true; waitFor?: string }
const waited = <T extends Waits>({
  wait,
  waitFor,
  ...options
}: T): Omit<T, keyof Waits> & { wait?: true | string } => ({
  ...options,
  ...(wait === undefined ? {} : { wait: waitFor ?? true }),
})

/** A command in a list: its name and what it must be given. */
const subcommandTerm = (command: Command): string =>
  [
    command.name(),
    ...command.registeredArguments
      .filter(({ required }) => required)
      .map((argument) => `<${argument.name()}>`),
  ].join(' ')

/** `error: unknown option '--tsk'` and its suggestion, as every other error of ours reads. */
function wrongUse(io: Io, text: string): string {
  const [first = '', ...rest] = text.trim().split('\n')
  const sentence = first
    .replace(/^error: /u, '')
    .replace(/\.$/u, '')
    .replaceAll("'", '`')
  const suggestion = /^\(Did you mean (.+)\?\)$/u.exec(rest.join(' ').trim())?.[1]
  const names = suggestion
    ?.replace(/^one of /u, '')
    .split(', ')
    .map((name) => `\`${name}\``)
    .join(' or ')
  const hint = names === undefined ? 'add --help to see what there is' : `did you mean ${names}?`
  return `${io.style('red', '✗')} writ: ${sentence}\n  ${io.style('dim', 'hint:')} ${hint}\n`
}

const repeat = (value: string, before: readonly string[] | undefined): string[] => [...(before ?? []), value]

/** The program. `finish` hears the exit code of what ran. */
export function createProgram(io: Io, finish: Finish): Command {
  const program = new Command('writ')
    .description('Authority for one act, at the moment of the act.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpCommand(
      new Command('help')
        .argument('[command]')
        .description('show help of a command')
        .helpGroup('This command line:'),
    )
    .showSuggestionAfterError()
    // they are understood before and after the command, and shown with every one
    .configureHelp({ showGlobalOptions: true, subcommandTerm })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text),
      writeErr: (text) => io.err(text),
      outputError: (text, write) => write(wrongUse(io, text)),
      ...(io.columns > 0 ? { getOutHelpWidth: () => io.columns, getErrHelpWidth: () => io.columns } : {}),
    })
    .addHelpText('after', ({ command }) =>
      command.parent === null ? '\nEvery command has --help. Start with `writ demo`, then `writ dev`.' : '',
    )

  for (const option of globalOptions()) program.addOption(option)

  /** A command that does something. */
  const leaf = (parent: Command, usageText: string, summary: string, example: string): Command => {
    const command = parent.command(usageText).summary(summary).description(`${summary}.`)
    command.configureHelp({ showGlobalOptions: true, subcommandTerm })
    command.addHelpText('after', `\nExample:\n  $ ${example}`)
    return command
  }
  /** Gives a command its action. */
  const does = (command: Command, action: Action): void => {
    command.action(async (...given: unknown[]) => {
      const self = given.at(-1) as Command
      const args = given.slice(0, -2)
      const options: Record<string, unknown> = self.optsWithGlobals()
      const debug = options['debug'] === true || Boolean(io.env['WRIT_DEBUG'])
      const { Context } = await import('./context.ts')
      const context = new Context(io, { ...(options as GlobalOptions), debug })
      const act = action as (context: Context, ...args: unknown[]) => number | void | Promise<number | void>
      const code: number | void = await act(context, ...args, self.opts())
      finish(code ?? exit.ok)
    })
  }
  const group = (usageText: string, summary: string): Command =>
    program
      .command(usageText)
      .summary(summary)
      .description(`${summary}.`)
      .helpCommand(false)
      .configureHelp({ showGlobalOptions: false, subcommandTerm })

  // to start with

  program.commandsGroup('To start with:')
  does(
    leaf(
      program,
      'init [folder]',
      'Write starter policies, an inventory and a configuration',
      'writ init --with release-window,vendor',
    )
      .option('--with <situations>', 'with policies and tests for these too, separated by commas, or `all`')
      .option('--list', 'name the situations there are policies for, and write nothing'),
    async (context, folder: string | undefined, options: { with?: string; list?: boolean }) =>
      (await import('./commands/setup.ts')).init(context, folder, options),
  )
  const serving = (command: Command): Command =>
    command
      .option('--data <folder>', 'the data folder (WRIT_DATA)')
      .option('--host <address>', 'the address to listen on (WRIT_HOST)')
      .option('--port <port>', 'the port to listen on, 0 for a free one (WRIT_PORT)')
      .option('--key-file <file>', 'the key for secrets at rest (WRIT_KEY_FILE)')
      .option('--verify-decisions', 'take every decision again by reference Cedar (WRIT_VERIFY_DECISIONS)')
  does(
    serving(
      leaf(
        program,
        'dev',
        'Run a server for this machine alone, with people and policies to try',
        'writ dev',
      ),
    )
      .option('--policies <folder>', 'the policy folder, reloaded on every change (WRIT_POLICIES)')
      .option('--inventory <file>', 'the inventory to start with (WRIT_INVENTORY)'),
    async (context, options: object) => (await import('./dev.ts')).dev(context, options),
  )
  does(
    serving(leaf(program, 'server', 'Run a server', 'writ server -c writ.config.yaml'))
      .option('--public-url <url>', 'the URL under which it is reached, behind a proxy (WRIT_PUBLIC_URL)')
      .option('--person <id>', 'whom the first sign-in code makes administrator', 'admin'),
    async (context, options: object) => (await import('./server.ts')).server(context, options),
  )
  does(
    leaf(
      program,
      'demo',
      'Watch one migration run under authority that did not exist before',
      'writ demo',
    ).option('--auto', 'answer itself, as it does without a terminal'),
    async (context, options: { auto?: boolean }) => (await import('./demo.ts')).demo(context, options),
  )
  does(
    leaf(program, 'doctor', 'Look for what commonly goes wrong, and say how to mend it', 'writ doctor'),
    async (context) => (await import('./commands/session.ts')).doctor(context),
  )

  // work

  program.commandsGroup('Work:')
  does(
    leaf(
      program,
      'run',
      'Run a command with authority that ends with it',
      'writ run --for db:migrate --on Database/orders --reason INC-42 --wait -- npm run migrate',
    )
      .usage('--for ACTION --on TYPE/ID --reason WHY [options] -- COMMAND [ARGUMENT…]')
      .argument('[command...]', 'the command, after `--`')
      .option('--for <action>', 'what it will do')
      .option('--on <resource>', 'what it will do it to')
      .option('--reason <text>', 'why; who approves reads it')
      .option('--ttl <duration>', 'how long at most, from its start')
      .addOption(waitOption()[0] as Option)
      .addOption(waitOption()[1] as Option)
      .option('--request <id>', 'use an access request that was made before')
      .option('--target <id>', 'the target, where several serve the action')
      .option('--as <subject>', 'who acts, where your token may speak for others')
      .option('--ticket <id>', 'the ticket it belongs to')
      .option('--window <calendar>', 'act only in the event of this calendar that is on, or the next one')
      .option('--delegation <id>', 'the delegation that it is done under')
      .option('--heartbeat <duration>', 'how soon authority ends when this command vanishes')
      .option('--nest', 'run below the task that this already runs in')
      .option('--mask', 'take the credential out of all output (the default where it is piped)')
      .option('--no-mask', 'leave output as it is')
      .addHelpText(
        'after',
        `
The exit code is the command's own. Failures of writ itself are 125, with the reason in the file that
$WRIT_RESULT_FILE names; 126 if the command cannot be executed, 127 if there is none; 8 if it succeeded but its
credential is not confirmed gone.`,
      ),
    async (context, argv: string[], options: Waits & Record<string, unknown>) =>
      (await import('./run.ts')).run(context, argv, waited(options)),
  )
  does(
    leaf(
      program,
      'request <action>',
      'Ask for a grant, and for the evidence it needs',
      'writ request deploy:prod --on Service/api --ttl 15m --reason INC-42 --wait',
    )
      .option('--on <resource>', 'on what')
      .option('--reason <text>', 'why; who approves reads it')
      .option('--ttl <duration>', 'for how long, from its activation')
      .option('--task <id>', 'under which task')
      .option('--as <subject>', 'for whom, where your token may speak for others')
      .addOption(waitOption()[0] as Option)
      .addOption(waitOption()[1] as Option),
    async (context, action: string, options: Waits) =>
      (await import('./commands/requests.ts')).request(context, action, waited(options)),
  )
  does(
    leaf(
      program,
      'can-i <action> <resource>',
      'Ask what would happen; exit 0 for yes, 5 for no',
      'writ can-i db:migrate Database/orders --as Agent/migrator',
    )
      .option('--as <subject>', 'who would act')
      .option('--task <id>', 'under which task')
      .option('--context <json>', 'the context of the attempt, as JSON')
      .option('--context-file <file>', 'the same, from a file'),
    async (context, action: string, resource: string, options: object) =>
      (await import('./commands/ask.ts')).canI(context, action, resource, options),
  )
  does(
    leaf(
      program,
      'why [decision]',
      'Show why a decision fell as it did, clause by clause',
      'writ why --subject Agent/triage --at 03:12',
    )
      .option('--subject <subject>', 'the last decision about this subject')
      .option('--at <time>', 'with `--subject`: what it could do then, e.g. `03:12`, `2h ago`'),
    async (context, id: string | undefined, options: object) =>
      (await import('./commands/ask.ts')).why(context, id, options),
  )
  const token = group('token', 'Tokens for something else, for who this command is')
  does(
    leaf(
      token,
      'exchange',
      'Get a token for something else by who this command is; it alone goes to standard output',
      'writ token exchange --resource Api/payments --scope payment:refund --wait',
    )
      .option('--resource <target>', 'what it is for: `Type/id` or a URL; may be repeated', repeat)
      .option('--audience <name>', 'the same, sent as an audience whatever it is; may be repeated', repeat)
      .option('--scope <action>', 'what it may do there; may be repeated', repeat)
      .option('--actor-token-file <file>', 'the token of who acts, where that is somebody else')
      .option('--task <id>', 'under which task (WRIT_TASK): it ends with the task')
      .option('--delegation <id>', 'the delegation that it is had under')
      .option('--dpop <file>', 'bind it to the key in this file, which is made if it is not there')
      .option('--reason <text>', 'with `--wait`: why; who approves reads it')
      .option('--ttl <duration>', 'with `--wait`: for how long approval is asked')
      .addOption(waitOption()[0] as Option)
      .addOption(waitOption()[1] as Option)
      .option('--request <id>', 'use an access request that was made before')
      .option('--into <file>', 'write the token into this file (mode 0600) in place of standard output'),
    async (context, options: Waits) =>
      (await import('./commands/token.ts')).tokenExchange(context, waited(options)),
  )
  does(
    leaf(token, 'revoke', 'End a token before its time', 'writ token revoke --from token').option(
      '--from <file>',
      'the file it is in, which is removed; by default standard input',
    ),
    async (context, options: object) => (await import('./commands/token.ts')).tokenRevoke(context, options),
  )
  const task = group('task', 'Declare pieces of work, look at them, end them')
  const work = () => import('./commands/work.ts')
  does(
    leaf(
      task,
      'start',
      'Declare a task: what it is for and what it may touch',
      'writ task start --purpose "rotate keys" --action key:rotate --on Service/api',
    )
      .option('--purpose <text>', 'what it is for')
      .option('--action <action>', 'what it may do; may be repeated', repeat)
      .option('--on <resource>', 'what it may touch, `Type/id` or all of a `Type`; may be repeated', repeat)
      .option('--reason <text>', 'why')
      .option('--ticket <id>', 'the ticket it belongs to')
      .option('--window <calendar>', 'act only in the event of this calendar that is on, or the next one')
      .option('--delegation <id>', 'the delegation that it is done under')
      .option('--ttl <duration>', 'its longest life, from its first permit')
      .option('--heartbeat <duration>', 'how soon it ends when nobody is heard of')
      .option('--parent <id>', 'the task above it')
      .option('--calls <number>', 'how many permits at most')
      .option('--as <subject>', 'who acts'),
    async (context, options: object) => (await work()).taskStart(context, options),
  )
  does(
    leaf(task, 'show <id>', 'Show a task with everything below it', 'writ task show task_…'),
    async (context, id: string) => (await work()).taskShow(context, id),
  )
  does(
    leaf(task, 'ls', 'List live tasks', 'writ task ls')
      .option('--all', 'also those that have ended')
      .option('--limit <number>', 'how many at most'),
    async (context, options: object) => (await work()).taskList(context, options),
  )
  does(
    leaf(task, 'heartbeat <id>', 'Keep an open task alive', 'writ task heartbeat task_…'),
    async (context, id: string) => (await work()).taskHeartbeat(context, id),
  )
  does(
    leaf(
      task,
      'end <id>',
      'End a task and take back everything under it; exit 8 if that is not confirmed',
      'writ task end task_… --status failed',
    )
      .option('--status <status>', 'completed, failed or cancelled', 'completed')
      .option('--reason <text>', 'why'),
    async (context, id: string, options: object) => (await work()).taskEnd(context, id, options),
  )
  const grants = group('grants', 'Look at grants, take them back')
  does(
    leaf(grants, 'ls', 'List live grants, the soonest end first', 'writ grants ls')
      .option('--task <id>', 'those of a task')
      .option('--all', 'also those that have ended')
      .option('--limit <number>', 'how many at most'),
    async (context, options: object) => (await work()).grantList(context, options),
  )
  does(
    leaf(grants, 'show <id>', 'Show a grant and its credentials', 'writ grants show grant_…'),
    async (context, id: string) => (await work()).grantShow(context, id),
  )
  does(
    leaf(
      grants,
      'revoke [id]',
      'Take back a grant, or all of a task; exit 8 if that is not confirmed',
      'writ grants revoke --task task_… --reason done',
    )
      .option('--task <id>', 'everything under a task')
      .option('--reason <text>', 'why'),
    async (context, id: string | undefined, options: object) =>
      (await work()).grantRevoke(context, id, options),
  )

  const locks = () => import('./commands/locks.ts')
  does(
    leaf(
      program,
      'lock <what> <about>',
      'Refuse a subject, agent, task, tool, resource or owner at once, with everything under it',
      'writ lock agent Agent/migrator --reason "INC-42, behaves oddly" --for 2h',
    )
      .option('--reason <text>', 'why; whoever meets the lock reads it')
      .option('--for <duration>', 'how long; it ends by itself')
      .option('--until <instant>', 'the same as a time, e.g. `18:00` or `2026-11-22T18:00:00Z`')
      .addHelpText(
        'after',
        `
What can be locked:
  subject Type/id    an agent, a workload or a person (\`agent\` is the same)
  task task_…        with those below it
  tool db:migrate    by the name of its action (\`action\` is the same)
  resource Type/id   with everything below it
  owner Type/id      all that a person or a team owns

It is denied when this returns; exit 8 says that something under it is not confirmed gone yet.
\`writ locks\` lists what is locked, \`writ unlock\` takes a lock away.`,
      ),
    async (context, what: string, about: string, options: object) =>
      (await locks()).lock(context, what, about, options),
  )
  does(
    leaf(
      program,
      'unlock <what> <about>',
      'Take a lock away; what it ended stays ended',
      'writ unlock agent Agent/migrator --reason "INC-42 is over"',
    ).option('--reason <text>', 'why'),
    async (context, what: string, about: string, options: object) =>
      (await locks()).unlock(context, what, about, options),
  )
  does(
    leaf(
      program,
      'locks',
      'List what is locked: why, by whom, until when, what it ended',
      'writ locks',
    ).option('--limit <number>', 'at most so many'),
    async (context, options: object) => (await locks()).lockList(context, options),
  )

  const actions = group('actions', 'What was done under grants, as reported and as targets say')
  const done = () => import('./commands/actions.ts')
  does(
    leaf(actions, 'ls', 'List what was done, newest first', 'writ actions ls --grant grant_…')
      .option('--grant <id>', 'under a grant')
      .option('--credential <id>', 'with a credential')
      .option('--task <id>', 'under a task')
      .option('--subject <subject>', 'by a subject')
      .option('--limit <number>', 'how many at most'),
    async (context, options: object) => (await done()).actionList(context, options),
  )
  does(
    leaf(
      actions,
      'resolve <flag>',
      'Say why something was done that no grant covers; until then it is a problem',
      'writ actions resolve flag_… --reason "restore drill, INC-77"',
    ).option('--reason <text>', 'the explanation'),
    async (context, id: string, options: object) => (await done()).actionResolve(context, id, options),
  )
  const collect = group('collect', 'Tell Writ what targets say was done there')
  does(
    leaf(
      collect,
      'postgres',
      'Read the log of a PostgreSQL, and join what its roles did to their grants',
      'writ collect postgres --file /var/log/postgresql/postgresql.csv --target orders-db --follow',
    )
      .option('--file <path>', 'its csvlog or jsonlog, or the folder that holds them')
      .option('--target <id>', 'the target that it is')
      .option('--follow', 'go on as the log grows, until stopped')
      .option('--from-start', 'the first time, begin with what is there already')
      .option('--account <name>', 'an account that is lifted; may be repeated', repeat)
      .option('--state <file>', 'where it is kept how far the log was read'),
    async (context, options: object) => (await import('./collect.ts')).collectPostgres(context, options),
  )

  // approving

  program.commandsGroup('Approvals:')
  const requests = group('requests', 'Look at access requests, answer them')
  const asking = () => import('./commands/requests.ts')
  does(
    leaf(requests, 'ls', 'List what is waiting', 'writ requests ls')
      .option('--all', 'also what has ended')
      .option('--limit <number>', 'how many at most'),
    async (context, options: object) => (await asking()).list(context, options),
  )
  does(
    leaf(requests, 'show <id>', 'Show exactly what would be approved', 'writ requests show req_…'),
    async (context, id: string) => (await asking()).show(context, id),
  )
  does(
    leaf(
      requests,
      'wait <id>',
      'Wait until it is answered; exit 0 approved, 5 denied, 6 not in time',
      'writ requests wait req_… --timeout 10m',
    ).option('--timeout <duration>', 'wait at most this long'),
    async (context, id: string, options: object) => (await asking()).waitFor(context, id, options),
  )
  does(
    leaf(requests, 'cancel <id>', 'Withdraw it', 'writ requests cancel req_…').option(
      '--reason <text>',
      'why',
    ),
    async (context, id: string, options: object) => (await asking()).cancel(context, id, options),
  )
  does(
    leaf(
      requests,
      'approve [id]',
      'Approve exactly what is shown, by default the one that waits for you; people only',
      'writ requests approve req_…',
    )
      .option('--pool <name>', 'as a member of which pool')
      .option('--comment <text>', 'for the record')
      .option('--statement <digest>', 'the digest of what you have read, where nobody can be asked'),
    async (context, id: string | undefined, options: object) =>
      (await asking()).approve(context, id, options),
  )
  does(
    leaf(
      requests,
      'deny [id]',
      'Deny what is shown, by default the one that waits for you; one denial ends it',
      'writ requests deny req_… --reason "not before the freeze"',
    )
      .option('--reason <text>', 'why; the requester reads it')
      .option('--statement <digest>', 'the digest of what you have read, where nobody can be asked'),
    async (context, id: string | undefined, options: object) => (await asking()).deny(context, id, options),
  )

  // administration

  program.commandsGroup('Administration:')
  const admin = () => import('./commands/admin.ts')
  const people = group('people', 'Invite people')
  does(
    leaf(
      people,
      'invite <id>',
      'Make a one-time code with which a person signs in',
      'writ people invite grace --group dba',
    )
      .option('--name <name>', 'how they are called')
      .option('--group <group>', 'a group they join; may be repeated', repeat),
    async (context, id: string, options: object) => (await admin()).invite(context, id, options),
  )
  does(
    leaf(people, 'passkeys [id]', 'List passkeys, your own or of a person', 'writ people passkeys grace'),
    async (context, id: string | undefined) => (await delegated()).passkeyList(context, id),
  )
  does(
    leaf(
      people,
      'remove-passkey <passkey>',
      'Remove a passkey that somebody has lost; administrators, in person',
      'writ people remove-passkey kq3…',
    ),
    async (context, passkey: string) => (await delegated()).passkeyRemove(context, passkey),
  )
  const target = group('target', 'Systems that credentials open')
  does(
    leaf(
      target,
      'add <id>',
      'Add a system that credentials open',
      'writ target add orders-db --address postgresql://writ_admin@localhost/orders --role migrate=orders_owner --for db:migrate --on Database/orders --with-password < password',
    )
      .option('--kind <kind>', 'what it is', 'postgres')
      .option('--address <url>', 'where it is and as whom Writ works there; without a password')
      .option('--role <name=role>', 'a name, and the role whose authority that is; may be repeated', repeat)
      .option('--for <action>', 'an action it serves; may be repeated', repeat)
      .option('--on <resource>', 'the resource it serves it for; may be repeated', repeat)
      .option('--use <name>', 'which of the roles serves them, where there are several')
      .option('--lift <account>', 'lift an existing account in place of making a login for each credential')
      .option('--file <file>', 'further configuration, YAML')
      .option('--with-password', 'read the password from standard input')
      .option('--password-file <file>', 'read the password from a file'),
    async (context, id: string, options: { kind: string }) => (await admin()).targetAdd(context, id, options),
  )
  does(leaf(target, 'ls', 'List targets', 'writ target ls'), async (context) =>
    (await admin()).targetList(context),
  )
  does(
    leaf(target, 'check <id>', 'Look whether a target is as it must be', 'writ target check orders-db'),
    async (context, id: string) => (await admin()).targetCheck(context, id),
  )
  const keys = group('keys', 'API keys of workloads and agents')
  does(
    leaf(
      keys,
      'create <name>',
      'Make an API key, shown once',
      'writ keys create ci --subject Agent/migrator --out key',
    )
      .option('--subject <subject>', 'whose key it is')
      .option('--ttl <duration>', 'its life')
      .option('--speaks-for <type>', 'a subject type it may ask for, `*` for all; may be repeated', repeat)
      .option('--asserts <type.attribute>', 'what it may say of them; may be repeated', repeat)
      .option('--out <file>', 'write it to a new file (mode 0600)'),
    async (context, name: string, options: object) => (await admin()).keyCreate(context, name, options),
  )
  does(
    leaf(keys, 'ls', 'List API keys, without their secrets', 'writ keys ls').option(
      '--limit <number>',
      'at most so many',
    ),
    async (context, options: object) => (await admin()).keyList(context, options),
  )
  does(leaf(keys, 'revoke <id>', 'End an API key', 'writ keys revoke key_…'), async (context, id: string) =>
    (await admin()).keyRevoke(context, id),
  )
  const delegations = group('delegations', 'Let agents and workloads act for you')
  const delegated = () => import('./commands/delegation.ts')
  does(
    leaf(
      delegations,
      'make <actor>',
      'Let an agent or a workload act for you, for a time and within bounds',
      'writ delegations make Agent/helper --action stow --on Shelf/room --ttl 2h',
    )
      .option('--action <action>', 'an action it may take, all if left out; may be repeated', repeat)
      .option(
        '--on <resource>',
        'a resource, with what is below it, all if left out; may be repeated',
        repeat,
      )
      .option('--ttl <duration>', 'how long, 8h if left out and 90d at most')
      .option('--reason <text>', 'why'),
    async (context, actor: string, options: object) =>
      (await delegated()).delegationMake(context, actor, options),
  )
  does(
    leaf(delegations, 'ls', 'List the delegations that you give or have', 'writ delegations ls')
      .option('--subject <subject>', 'those of somebody else')
      .option('--all', 'those that ended too')
      .option('--limit <number>', 'at most so many'),
    async (context, options: object) => (await delegated()).delegationList(context, options),
  )
  does(
    leaf(delegations, 'show <id>', 'Show a delegation', 'writ delegations show dlg_…'),
    async (context, id: string) => (await delegated()).delegationShow(context, id),
  )
  does(
    leaf(
      delegations,
      'revoke <id>',
      'Take a delegation back, with everything under it',
      'writ delegations revoke dlg_… --reason "back from holidays"',
    ).option('--reason <text>', 'why'),
    async (context, id: string, options: object) =>
      (await delegated()).delegationRevoke(context, id, options),
  )
  const seeing = () => import('./commands/context.ts')
  const live = group('context', 'What a decision would see')
  does(
    leaf(
      live,
      'show',
      'Show every fact that policies could read, with its age and source',
      'writ context show --subject Agent/migrator --action db:migrate --resource Database/orders',
    )
      .option('--subject <subject>', 'who would act')
      .option('--resource <resource>', 'on what')
      .option('--action <action>', 'what it would do; then the facts that count are marked')
      .option('--task <id>', 'for which task'),
    async (context, options: object) => (await seeing()).contextShow(context, options),
  )
  does(
    leaf(
      live,
      'report <fact> <about>',
      'Say what was observed: posture, risk, a session, a ticket, an incident',
      `writ context report posture Person/ada --device laptop-7 --value '{"compliant":false,"status":"jailbroken"}'`,
    )
      .option('--value <json>', 'what is so; `null` for a device that it has no more')
      .option('--device <id>', 'of which device, for a posture')
      .option('--max-age <duration>', 'how long it may be believed, e.g. 12h'),
    async (context, name: string, about: string, options: object) =>
      (await seeing()).factReport(context, name, about, options),
  )
  does(
    leaf(
      live,
      'facts <about>',
      'Show what is known about a subject, a session, a ticket, an incident or a calendar',
      'writ context facts OPS-7',
    ),
    async (context, about: string) => (await seeing()).factList(context, about),
  )
  const streaming = () => import('./commands/signals.ts')
  const signals = group('signals', 'Shared signals: who is listened to, and who is told')
  does(
    leaf(signals, 'ls', 'List the streams, and what is wrong with them', 'writ signals ls'),
    async (context) => (await streaming()).signalList(context),
  )
  does(
    leaf(
      signals,
      'redeliver <listener>',
      'Send what a listener refused once more, under the same ids',
      'writ signals redeliver siem',
    ),
    async (context, listener: string) => (await streaming()).signalRedeliver(context, listener),
  )
  const accounts = group('accounts', 'Whose accounts at issuers are whose')
  does(
    leaf(
      accounts,
      'link <account>',
      'Say whose account it is: what it sets going, they cannot approve',
      'writ accounts link 583231 --issuer github --person grace',
    )
      .option('--issuer <name>', 'the configured issuer')
      .option('--person <id>', 'whose it is'),
    async (context, account: string, options: object) =>
      (await delegated()).accountLink(context, account, options),
  )
  does(
    leaf(accounts, 'ls', 'List linked accounts', 'writ accounts ls')
      .option('--person <id>', 'those of one person')
      .option('--limit <number>', 'at most so many'),
    async (context, options: object) => (await delegated()).accountList(context, options),
  )
  does(
    leaf(
      accounts,
      'unlink <account>',
      'End the link of an account',
      'writ accounts unlink 583231 --issuer github',
    ).option('--issuer <name>', 'the configured issuer'),
    async (context, account: string, options: object) =>
      (await delegated()).accountUnlink(context, account, options),
  )
  const inventory = group('inventory', 'Who and what there is')
  does(
    leaf(inventory, 'ls', 'List the inventory', 'writ inventory ls --type Database')
      .option('--type <type>', 'one type only')
      .option('--limit <number>', 'how many at most'),
    async (context, options: object) => (await admin()).inventoryList(context, options),
  )
  does(
    leaf(
      inventory,
      'apply <file>',
      'Add and change what a file lists; nothing is removed',
      'writ inventory apply inventory.yaml',
    ),
    async (context, file: string) => (await admin()).inventoryApply(context, file),
  )
  const policy = group('policy', 'Check, test, try, explain and publish policies')
  const policies = () => import('./policy.ts')
  const inspecting = (command: Command): Command =>
    command
      .option('--inventory <file>', 'who and what there is, by default ./inventory.yaml')
      .option('--strict', 'exit 3 for warnings too')
      .addOption(new Option('--deny-warnings', 'the same as `--strict`').hideHelp())
      .option('--sarif', 'write findings as SARIF 2.1.0, for code scanners; the same as `-o sarif`')
      .option('--watch', 'look again whenever a file changes')
  does(
    inspecting(
      leaf(
        policy,
        'check [folder]',
        'Check a folder without a server; exit 3 if it is not valid',
        'writ policy check ./policies',
      ),
    ).option('--lint', 'look for what is valid and looks wrong, too'),
    async (context, folder: string | undefined, options: object) =>
      (await policies()).policyCheck(context, folder, options),
  )
  does(
    inspecting(
      leaf(
        policy,
        'lint [folder]',
        'Look for policies that are valid and look wrong; `@lint_ignore` says that it is meant',
        'writ policy lint ./policies --strict',
      ),
    ),
    async (context, folder: string | undefined, options: object) =>
      (await policies()).policyLint(context, folder, options),
  )
  does(
    leaf(
      policy,
      'fmt [files...]',
      'Format policy files, or those of folders; `-` formats standard input',
      'writ policy fmt --check ./policies',
    ).option('--check', 'change nothing, and exit 3 if something would change'),
    async (context, files: string[], options: object) =>
      (await import('./policy-fmt.ts')).policyFmt(context, files, options),
  )
  does(
    leaf(
      policy,
      'test [paths...]',
      'Run the tests beside the policies, without a server; exit 3 if one fails',
      'writ policy test ./policies --coverage',
    )
      .option('--filter <text>', 'only tests whose name or file holds this')
      .option('--watch', 'run again on every change')
      .option('--coverage', 'say which policies and clauses no test has tried')
      .option('--min-coverage <percent>', 'exit 3 below this')
      .option('--from <decision>', 'write a test that repeats a recorded decision')
      .option('--into <file>', 'add it to this file'),
    async (context, paths: string[], options: object) =>
      (await import('./policy-test.ts')).policyTest(context, paths, options),
  )
  const trying = (command: Command): Command =>
    command
      .option('--folder <folder>', 'the policies, by default the policy folder')
      .option('--inventory <file>', 'who and what there is, by default ./inventory.yaml')
      .option('--context <json>', 'the context of the attempt, as JSON')
      .option('--properties <json>', 'the properties of the action, as JSON')
      .option('--task <purpose>', 'under an open task: its purpose, or its members as JSON')
      .option('--approval <pool=n>', 'as if so many had approved; may be repeated', repeat)
      .option('--justification', 'as if a reason had been given')
      .option('--reauth', 'as if the people who ask had proved with a passkey that it is them')
      .option('--at <time>', 'at another time, e.g. `2026-11-22T22:00:00Z`')
      .option('--unknown <fact>', 'as if nobody could tell this fact; may be repeated', repeat)
  const trial = () => import('./policy-eval.ts')
  does(
    trying(
      leaf(
        policy,
        'eval <principal> <action> <resource>',
        'Say what a folder would answer, without a server; exit 0 for yes, 5 for no',
        'writ policy eval Agent/migrator db:migrate Database/orders --task "schema 42" --approval dba',
      ),
    ),
    async (context, principal: string, action: string, resource: string, options: object) =>
      (await trial()).policyEval(context, principal, action, resource, options),
  )
  does(
    trying(
      leaf(
        policy,
        'explain <words...>',
        'Explain an attempt clause by clause, a policy by its id, or a code of `check`',
        'writ policy explain Agent/migrator db:migrate Database/orders',
      ).usage('POLICY | CODE | PRINCIPAL ACTION RESOURCE [options]'),
    ),
    async (context, words: string[], options: object) =>
      (await trial()).policyExplain(context, words, options),
  )
  does(
    leaf(
      policy,
      'publish [folder]',
      'Put a folder in force, or propose it where two people publish',
      'writ policy publish ./policies',
    ),
    async (context, folder: string | undefined) => (await policies()).policyPublish(context, folder),
  )
  does(
    leaf(
      policy,
      'replay',
      'Say what a folder would have answered to recorded decisions',
      'writ policy replay --since 7d --against ./policies',
    )
      .option('--since <time>', 'how far back, by default `7d`')
      .option('--until <time>', 'by default now')
      .option('--against <folder>', 'the draft, by default the policy folder')
      .option('--limit <n>', 'most decisions that are replayed, by default 10000')
      .option('--fail-on-widening', 'exit 3 if the draft permits what was denied'),
    async (context, options: object) => (await policies()).policyReplay(context, options),
  )
  does(
    leaf(policy, 'agree <version>', 'Agree to a proposed set', 'writ policy agree sha256:…'),
    async (context, id: string) => (await policies()).policyAgree(context, id),
  )
  does(
    leaf(policy, 'show [version]', 'Show the set in force, or another', 'writ policy show'),
    async (context, id: string | undefined) => (await policies()).policyShow(context, id),
  )
  const audit = group(
    'audit',
    'Verify the record, prove from it, search and export it; the keys that sign it',
  )
  does(
    leaf(
      audit,
      'verify',
      'Verify the whole log, and that it continues the heads seen before; or a proof, without a server',
      'writ audit verify --data ./writ-data',
    )
      .argument('[proof]', 'a file that `writ audit prove` made')
      .option('--data <folder>', 'the data folder (WRIT_DATA); works while a server runs on it')
      .option('--remote', 'read the log from the server')
      .option('--head <size:root>', 'a head it must continue; may be repeated', repeat)
      .option('--forget', 'accept the log as it is, whatever was seen of it here before')
      .option(
        '--key <key>',
        'of a proof: a key of the log, or a file with such keys; may be repeated',
        repeat,
      )
      .option('--witness <key>', 'of a proof: a witness that must have cosigned; may be repeated', repeat)
      .option('--witnesses-needed <number>', 'how many of the witnesses are enough')
      .option(
        '--unsafe-trust-bundled-key',
        'believe the key in the proof: shows only that it agrees with itself',
      ),
    async (context, proof: string | undefined, options: object) => {
      // what does not apply would look as if it had been checked
      const others = Object.keys(options).filter(
        (name) => ['data', 'remote', 'head', 'forget'].includes(name) !== (proof === undefined),
      )
      if (others.length > 0) {
        throw proof === undefined
          ? usage('a key or a witness is given, but no proof', 'name the file that `writ audit prove` made')
          : usage('a proof is verified by itself', 'leave out --data, --remote, --head and --forget')
      }
      return proof === undefined
        ? (await import('./audit.ts')).auditVerify(context, options)
        : (await import('./proof.ts')).auditVerifyProof(context, proof, options)
    },
  )
  does(
    leaf(
      audit,
      'prove <id>',
      'Make the proof of why, of a decision, grant, credential, task or access request',
      'writ audit prove grant_… -o why.json',
    ).option('--out <file>', 'where it is written (`-o`); by default to standard output'),
    async (context, id: string, options: { out?: string }) =>
      (await import('./proof.ts')).auditProve(context, id, options),
  )
  does(
    leaf(
      audit,
      'keys',
      'Show the keys that sign the log; keep the current one elsewhere, and verify with it',
      'writ audit keys',
    ),
    async (context) => (await import('./commands/log-keys.ts')).logKeys(context),
  )
  does(
    leaf(
      audit,
      'acknowledge',
      'After a restore: show what came back with the copy, and permit again',
      'writ audit acknowledge',
    ),
    async (context) => (await import('./commands/acknowledge.ts')).acknowledge(context),
  )
  does(
    leaf(
      audit,
      'rotate',
      'Have a new key sign from now on',
      'writ audit rotate --compromised --reason "the disk was sold"',
    )
      .option('--use <what>', 'whose key: `log` (the default), `artifact`, `token` or `signal`')
      .option('--compromised', 'somebody else may have the old key: it vouches for nothing any more')
      .option('--reason <reason>', 'why, for the record'),
    async (context, options: object) =>
      (await import('./commands/log-keys.ts')).logKeyRotate(context, options),
  )
  does(
    leaf(
      audit,
      'search',
      'Find entries of the record by what they name, newest first',
      'writ audit search Agent/triage --outcome deny --since 7d',
    )
      .argument('[term]', 'an id, or an entity as `Agent/triage`')
      .option('--kind <kind>', 'only this kind, e.g. `decision`')
      .option('--subject <subject>', 'only what names this subject')
      .option('--resource <resource>', 'only what names this resource')
      .option('--action <action>', 'only this action')
      .option(
        '--outcome <outcome>',
        'only this outcome: `permit`, `deny`, `challenge`; of actions `succeeded`, `failed`',
      )
      .option('--since <time>', 'from then on: an instant, or how long ago as `7d`')
      .option('--until <time>', 'before then')
      .option('--before <number>', 'entries before this one: go on where a page ended')
      .option('--limit <number>', 'at most so many; 20 if not given'),
    async (context, term: string | undefined, options: object) =>
      (await import('./export.ts')).auditSearch(context, term, options),
  )
  does(
    leaf(
      audit,
      'export',
      'Write the record as OCSF, CloudEvents or plain entries, one line each',
      'writ audit export --format ocsf --since 7d -o audit.ndjson',
    )
      .option('--format <format>', '`ocsf`, `cloudevents` or `entries`; by default `ocsf`')
      .option('--data <folder>', 'from a data folder in place of the server; works while a server runs on it')
      .option('--since <time>', 'from then on: an instant, or how long ago as `7d`')
      .option('--until <time>', 'before then')
      .option(
        '--kind <kind>',
        'only this kind, or with a dot at the end all that begin so; may be repeated',
        repeat,
      )
      .option('--after <number>', 'go on after this entry; with a file, at its end')
      .option('--out <file>', 'write to a new file (`-o`, mode 0600) in place of standard output'),
    async (context, options: object) => (await import('./export.ts')).auditExport(context, options),
  )

  does(
    leaf(
      program,
      'witness',
      'Run a witness, which cosigns the heads of logs of others',
      'writ witness --name witness.example.com/writ --log writ/inst_…+0a1b2c3d+…',
    )
      .option('--name <name>', 'its name, a URL without scheme; needed when its folder is made')
      .option('--log <key>', 'the key of a log that it cosigns; may be repeated', repeat)
      .option('--logs <file>', 'a file with such keys, one in each line')
      .option('--folder <folder>', 'where its key and its memory are', './writ-witness')
      .option('--host <address>', 'the address to listen on', '127.0.0.1')
      .option('--port <port>', 'the port to listen on, 0 for a free one', '9749'),
    async (context, options: WitnessFlags) => (await import('./witness.ts')).witness(context, options),
  )

  // this command line

  program.commandsGroup('This command line:')
  const session = () => import('./commands/session.ts')
  does(
    leaf(
      program,
      'login',
      'Sign in: on the page of the server, or with a one-time code or a token on standard input',
      'writ login',
    )
      .option('--code', 'with a one-time code')
      .option('--with-token', 'with a token')
      .option('--oidc <name>', 'on the page, with this provider')
      .option('--no-browser', 'show the address of the page and open nothing'),
    async (context, options: LoginFlags) => {
      const given = options.code === true || options.withToken === true
      // without a terminal nobody would see the page
      if (given || (options.oidc === undefined && !context.interactive))
        return (await session()).login(context, options)
      return (await import('./commands/login.ts')).signIn(context, options)
    },
  )
  does(leaf(program, 'logout', 'Sign out', 'writ logout'), async (context) =>
    (await session()).logout(context),
  )
  does(leaf(program, 'status', 'Show the server and who you are to it', 'writ status'), async (context) =>
    (await session()).status(context),
  )
  const config = group('config', 'Configuration')
  does(
    leaf(config, 'explain', 'Show every setting, its value and where it comes from', 'writ config explain'),
    async (context) => (await import('./commands/setup.ts')).configExplain(context),
  )
  does(
    leaf(
      program,
      'completion <shell>',
      'Print a completion script for bash, zsh or fish',
      'source <(writ completion bash)',
    ),
    async (context, shell: string) =>
      (await import('./commands/setup.ts')).completion(context, shell, completionWords(program)),
  )
  return program
}

/** Sub-commands and options of every command. */
function completionWords(program: Command): { path: string; words: string[] }[] {
  const walk = (command: Command, path: string): { path: string; words: string[] }[] => {
    const subcommands = command.commands.map((child) => child.name())
    const options = command.options.filter((option) => !option.hidden).map((option) => option.long ?? '')
    return [
      { path, words: [...subcommands, ...options.filter((option) => option !== '')] },
      ...command.commands.flatMap((child) =>
        walk(child, path === '' ? child.name() : `${path} ${child.name()}`),
      ),
    ]
  }
  return walk(program, '')
}

/** docs/reference/cli.md */
export function cliPage(): string {
  const silent: Io = {
    env: {}, cwd: '/', home: '/', interactive: false, live: false, columns: 80, liveColumns: 0,
    now: () => 0, out: () => undefined, err: () => undefined, style: (_style, text) => text, styleOut: (_style, text) => text,
    stdin: () => Promise.reject(usage('no input')), ask: () => Promise.reject(usage('no input')),
  } // prettier-ignore
  const program = createProgram(silent, () => undefined)
  const sections: string[] = []
  const walk = (command: Command, path: string): void => {
    for (const child of command.commands) {
      const name = `${path} ${child.name()}`
      if (child.commands.length > 0) walk(child, name)
      else sections.push(section(child, name))
    }
  }
  walk(program, 'writ')
  const options = globalOptions()
    .filter((option) => !option.hidden)
    .map((option) => `| \`${option.flags}\` | ${cellText(option.description)} |`)
  return `# Commands

<!-- generated from src/cli/program.ts by \`npm run docs\`; edits here are lost -->

Data goes to standard output, everything else to standard error. JSON only ever gains members; \`schema_version\` rises
if one changes its meaning. Questions are asked only where standard input and standard error are terminals. A secret is
never an argument: it is read from standard input, a file or a variable.

| exit | meaning |
|---|---|
| 0 | done |
| 1 | error |
| 2 | wrong use |
| 3 | policies are not valid |
| 4 | authentication needed |
| 5 | denied |
| 6 | not approved in time |
| 7 | server out of reach |
| 8 | taken back, but not confirmed gone |
| 9 | the log contradicts what was seen of it before |
| 128+n | ended by signal n |

\`writ run\` exits as its command does; its own failures are 125, 126 (cannot be executed) and 127 (not found).

## Options of every command

| option | |
|---|---|
${options.join('\n')}

${sections.join('\n')}`
}

const cellText = (text: string): string => text.replaceAll('|', '\\|')

function section(command: Command, name: string): string {
  let after = ''
  const help = command.createHelp()
  const options = help.visibleOptions(command).filter((option) => option.long !== '--help')
  command.configureOutput({ writeOut: (text) => (after += text) }).outputHelp()
  const example = /\n {2}\$ (.+)\n?/u.exec(after)?.[1] ?? name
  const rows = options.map((option) => {
    const fallback = option.defaultValue === undefined ? '' : ` (default \`${String(option.defaultValue)}\`)`
    return `| \`${option.flags}\` | ${cellText(option.description)}${fallback} |`
  })
  const table = rows.length === 0 ? '' : `\n| option | |\n|---|---|\n${rows.join('\n')}\n`
  const synopsis = `${name} ${command.usage()}`.replace(' [options]', '').trim()
  return `## ${name}

${command.description()}

\`${synopsis}\`
${table}
\`\`\`sh
${example}
\`\`\`
`
}
