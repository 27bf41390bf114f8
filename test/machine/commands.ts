/**
 * What the machine may be told to do. A command is plain data: its numbers choose among what there is when it runs,
 * 0 being the newest, so that any part of a run is a run too and failures shrink.
 *
 * @module
 */
import fc from 'fast-check'
import type { LockKind } from './live.ts'
import type { Amount, Policy, Pool } from './model.ts'
import { policyNames } from './model.ts'

/** Which attempt: of the task's subject and scope when there is a task, else of any. */
export type Try = Readonly<{
  /** 0: without a task; otherwise the task, 1 being the newest. */
  task: number
  subject: number
  action: number
  resource: number
  amount: Amount | undefined
  /** Who asks: mostly the subject itself, sometimes the enforcement point, sometimes anybody. */
  by: number
  /** Outside the task's scope, or claiming to act for somebody. */
  odd: 'no' | 'scope' | 'act'
}>

export type Burst = Readonly<{ times: number; key: number }>
export type Race = Readonly<{
  times: number
  wait: number
  against: 'task' | 'grant' | 'subject' | 'delete' | 'tool' | 'fact'
}>
export type IssueRace = Readonly<{
  hold: 'before' | 'after'
  meanwhile: 'revoke' | 'lock' | 'lapse' | 'crash'
}>
export type End =
  | Readonly<{ do: 'nothing' }>
  | Readonly<{ do: 'issue' }>
  | ({ do: 'burst' } & Burst)
  | ({ do: 'race' } & Race)
  | ({ do: 'issueRace' } & IssueRace)
  | Readonly<{ do: 'worsen'; how: Worse; wait: number }>

/** How what a grant was given on gets worse. */
export type Worse = 'report' | 'signal' | 'lapse' | 'tool' | 'resource' | 'owner' | 'source' | 'cut'

/** Whether systems answer, and how. */
export type Desk = 'answers' | 'late' | 'fails' | 'garbles' | 'long ago' | 'to come'

/** What others do, and what is to be in force once it is acknowledged, whatever happens then. */
export type Outside =
  | Readonly<{
      do: 'report'
      fact: number
      about: number
      value: number
      /** Before now by so much, ms; to come if less than nothing. */
      ago: number
      believed: number
      by: number
    }>
  | Readonly<{ do: 'signal'; event: number; about: number; value: number; ago: number; again: boolean }>
  | Readonly<{
      do: 'calendar'
      calendar: 0 | 1
      how: 'opens' | 'soon' | 'moves' | 'shorter' | 'longer' | 'empty' | 'same'
      event: number
      believed: number
    }>
  | Readonly<{ do: 'lockThing'; what: LockKind; about: number; by: number; minutes: number }>

export type Command =
  | Outside
  | Readonly<{ do: 'ticket'; ticket: number; to: number; tell: 'no' | 'now' | 'before' }>
  | Readonly<{ do: 'desk'; desk: Desk }>
  | Readonly<{ do: 'unlock'; lock: number; by: number }>
  | Readonly<{ do: 'signIn'; who: number }>
  /** The process is gone while that is under way. */
  | Readonly<{ do: 'cut'; wait: number; during: Outside }>
  | Readonly<{
      do: 'declare'
      subject: number
      by: number
      scope: number
      parent: number
      limit: number
      window: number
      life: number
      heartbeat: number
      reason: boolean
      /** 0: without one. */
      ticket: number
    }>
  | Readonly<{
      do: 'evaluate'
      try: Try
      grant: number
      approval: number
      key: number
      how: 'use' | 'activate'
    }>
  | Readonly<{ do: 'retry'; earlier: number; other: boolean }>
  | Readonly<{ do: 'submit'; denial: number; by: number; justification: boolean; edited: boolean }>
  | Readonly<{ do: 'approve'; request: number; by: number; pool: Pool | undefined; other: boolean }>
  | Readonly<{ do: 'denyRequest'; request: number; by: number }>
  | Readonly<{ do: 'cancelRequest'; request: number; by: number }>
  | Readonly<{ do: 'activate'; request: number; by: number; changed: boolean }>
  | Readonly<{ do: 'issue'; grant: number; by: number }>
  | Readonly<{
      do: 'story'
      declare: Extract<Command, { do: 'declare' }>
      try: Try
      steps: number
      /** 0: as it comes; else about this of what facts decide, which are made right before. */
      live: number
      /** What comes at its end. */
      end: End
    }>
  | Readonly<{ do: 'heartbeat'; task: number; by: number }>
  | Readonly<{ do: 'endTask'; task: number; by: number; how: 'completed' | 'failed' | 'cancelled' }>
  | Readonly<{ do: 'revokeTask'; task: number; by: number }>
  | Readonly<{ do: 'revokeGrant'; grant: number; by: number }>
  | Readonly<{ do: 'lock'; who: number; by: number; minutes: number }>
  | Readonly<{ do: 'delete'; who: number }>
  | Readonly<{ do: 'recreate'; who: number }>
  | Readonly<{ do: 'regroup'; who: number; group: number }>
  | Readonly<{ do: 'endSubject'; who: number; minutes: number }>
  | Readonly<{ do: 'publish'; policy: Policy }>
  | Readonly<{ do: 'flood'; by: number }>
  | Readonly<{ do: 'advance'; seconds: number }>
  | Readonly<{ do: 'advanceTo'; instant: number; offset: -1 | 0 | 1 }>
  | Readonly<{ do: 'rewind'; millis: number }>
  | Readonly<{ do: 'mendClock' }>
  | Readonly<{ do: 'jump'; seconds: number }>
  | Readonly<{ do: 'crash' }>
  | Readonly<{ do: 'restart' }>
  | Readonly<{ do: 'sweep' }>
  | Readonly<{ do: 'trouble'; fault: 'none' | 'down' | 'lost' | 'refuses' | 'stays' }>
  | Readonly<{ do: 'orphan' }>
  | ({ do: 'burst'; try: Try; grant: number; approval: number } & Burst)
  | ({ do: 'race'; try: Try } & Race)
  | ({ do: 'issueRace'; grant: number } & IssueRace)

/** Mostly the newest. */
const recent = fc.oneof(
  { weight: 6, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.nat(2) },
  { weight: 1, arbitrary: fc.nat(20) },
)
/** Mostly whoever it is up to. */
const by = fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(15) })
const seldom = fc.oneof(
  { weight: 9, arbitrary: fc.constant(false) },
  { weight: 1, arbitrary: fc.constant(true) },
)
/** Mostly those whom somebody may approve. */
const subject = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 0, 1, 6) },
  { weight: 2, arbitrary: fc.nat(8) },
)
/** 0 for none. */
const maybe = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: recent.map((n) => n + 1) },
)
const pools = fc.constantFrom<Pool | undefined>(undefined, undefined, undefined, 'dba', 'security')

const attempt = (task: fc.Arbitrary<number>): fc.Arbitrary<Try> =>
  fc.record({
    task,
    subject,
    action: fc.nat(30),
    resource: fc.nat(3),
    amount: fc.oneof(
      { weight: 9, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.constantFrom<Amount>(1, 2, -1, 'text') },
    ),
    by,
    odd: fc.oneof(
      { weight: 24, arbitrary: fc.constant('no' as const) },
      { weight: 1, arbitrary: fc.constantFrom('scope' as const, 'act' as const) },
    ),
  })

const tried = attempt(
  fc.oneof({ weight: 5, arbitrary: recent.map((n) => n + 1) }, { weight: 1, arbitrary: fc.constant(0) }),
)

const declare = fc.record({
  do: fc.constant('declare' as const),
  subject,
  by: fc.oneof(
    { weight: 12, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: by },
  ),
  scope: fc.nat(30),
  parent: maybe,
  limit: fc.oneof(
    { weight: 2, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 5 }) },
  ),
  window: fc.oneof(
    { weight: 7, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }) },
    { weight: 2, arbitrary: fc.constantFrom(5, 5, 6) },
  ),
  life: fc.nat(2),
  heartbeat: fc.nat(2),
  reason: seldom.map((it) => !it),
  ticket: fc.nat(4),
})

const burst = {
  times: fc.integer({ min: 2, max: 8 }),
  key: fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 2 }) },
  ),
}
const race = {
  times: fc.integer({ min: 1, max: 4 }),
  wait: fc.nat(4),
  against: fc.constantFrom<Race['against']>('task', 'grant', 'subject', 'delete', 'tool', 'fact'),
}
const issueRace = {
  hold: fc.constantFrom('before' as const, 'after' as const),
  meanwhile: fc.constantFrom('revoke' as const, 'lock' as const, 'lapse' as const, 'crash' as const),
}
const end: fc.Arbitrary<End> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ do: 'nothing' } as const) },
  { weight: 2, arbitrary: fc.constant({ do: 'issue' } as const) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('burst' as const), ...burst }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('race' as const), ...race }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('issueRace' as const), ...issueRace }) },
)
const worsen: fc.Arbitrary<End> = fc.record({
  do: fc.constant('worsen' as const),
  how: fc.constantFrom<Worse>(
    'report',
    'report',
    'signal',
    'signal',
    'lapse',
    'lapse',
    'source',
    'source',
    'cut',
    'cut',
    'tool',
    'resource',
    'owner',
  ),
  // of a crash
  wait: fc.nat(12),
})

const ago = fc.oneof(
  { weight: 6, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.constantFrom(1_000, 20_000, 300_000, 7_200_000) },
  { weight: 1, arbitrary: fc.constantFrom(-1_000, -3_600_000) },
)
const report = fc.record({
  do: fc.constant('report' as const),
  fact: fc.nat(4),
  about: fc.nat(8),
  value: fc.nat(5),
  ago,
  believed: fc.nat(3),
  by: fc.oneof({ weight: 9, arbitrary: fc.constantFrom(0, 1) }, { weight: 1, arbitrary: fc.nat(15) }),
})
const signal = fc.record({
  do: fc.constant('signal' as const),
  event: fc.nat(11),
  about: fc.nat(7),
  value: fc.nat(3),
  ago: ago.map((it) => Math.abs(it)),
  again: seldom,
})
const calendar = fc.record({
  do: fc.constant('calendar' as const),
  calendar: fc.constantFrom(0 as const, 0 as const, 1 as const),
  how: fc.constantFrom(
    'opens' as const,
    'opens' as const,
    'soon' as const,
    'moves' as const,
    'shorter' as const,
    'longer' as const,
    'empty' as const,
    'same' as const,
  ),
  event: fc.nat(1),
  believed: fc.nat(2),
})
const lockThing = fc.record({
  do: fc.constant('lockThing' as const),
  what: fc.constantFrom<LockKind>('subject', 'task', 'tool', 'resource', 'owner'),
  about: fc.nat(8),
  by: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(15) }),
  minutes: fc.nat(3),
})
const outside: fc.Arbitrary<Outside> = fc.oneof(report, signal, calendar, lockThing)

const commands: readonly Readonly<{ weight: number; arbitrary: fc.Arbitrary<Command> }>[] = [
  {
    weight: 11,
    arbitrary: fc.record({
      do: fc.constant('story' as const),
      live: fc.integer({ min: 1, max: 14 }),
      declare,
      try: attempt(
        fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constant(0) }),
      ),
      steps: fc.constant(5),
      end: fc.oneof({ weight: 3, arbitrary: worsen }, { weight: 2, arbitrary: end }),
    }),
  },
  { weight: 4, arbitrary: report },
  { weight: 4, arbitrary: signal },
  { weight: 4, arbitrary: calendar },
  { weight: 2, arbitrary: lockThing },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('ticket' as const),
      ticket: fc.nat(3),
      to: fc.nat(5),
      tell: fc.constantFrom('no' as const, 'now' as const, 'before' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('desk' as const),
      desk: fc.constantFrom<Desk>(
        'answers',
        'answers',
        'answers',
        'late',
        'fails',
        'garbles',
        'long ago',
        'to come',
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unlock' as const), lock: recent, by }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('signIn' as const), who: fc.nat(11) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('cut' as const), wait: fc.nat(12), during: outside }),
  },
  {
    weight: 16,
    arbitrary: fc.record({
      do: fc.constant('story' as const),
      live: fc.constant(0),
      declare,
      try: attempt(
        fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constant(0) }),
      ),
      steps: fc.oneof(
        { weight: 3, arbitrary: fc.constant(5) },
        { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }) },
      ),
      end,
    }),
  },
  { weight: 4, arbitrary: declare },
  {
    weight: 16,
    arbitrary: fc.record({
      do: fc.constant('evaluate' as const),
      try: tried,
      grant: maybe,
      approval: maybe,
      key: fc.oneof(
        { weight: 3, arbitrary: fc.constant(0) },
        { weight: 2, arbitrary: fc.integer({ min: 1, max: 2 }) },
      ),
      how: fc.constantFrom('use' as const, 'use' as const, 'activate' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('retry' as const), earlier: recent, other: seldom }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      denial: recent,
      by,
      justification: fc.boolean(),
      edited: seldom,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('approve' as const),
      request: recent,
      by: fc.nat(8),
      pool: pools,
      other: seldom,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('denyRequest' as const), request: recent, by: fc.nat(8) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancelRequest' as const), request: recent, by }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('activate' as const), request: recent, by, changed: seldom }),
  },
  { weight: 7, arbitrary: fc.record({ do: fc.constant('issue' as const), grant: recent, by }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('heartbeat' as const), task: recent, by }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('endTask' as const),
      task: recent,
      by,
      how: fc.constantFrom('completed' as const, 'failed' as const, 'cancelled' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revokeTask' as const), task: recent, by }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('revokeGrant' as const), grant: recent, by }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('lock' as const), who: fc.nat(11), by, minutes: fc.nat(12) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), who: fc.nat(11) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('recreate' as const), who: fc.nat(11) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('regroup' as const), who: fc.nat(11), group: fc.nat(3) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('endSubject' as const), who: fc.nat(11), minutes: fc.nat(12) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      policy: fc.constantFrom('base', 'base', 'base', ...policyNames),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flood' as const), by: fc.nat(8) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance' as const), seconds: fc.oneof(fc.nat(20), fc.nat(600)) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('advanceTo' as const),
      instant: fc.nat(4),
      offset: fc.constantFrom(-1 as const, 0 as const, 1 as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('rewind' as const),
      millis: fc.constantFrom(1_000, 2_000, 2_001, 60_000, 3_600_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('mendClock' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('jump' as const), seconds: fc.nat(120) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('sweep' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('trouble' as const),
      fault: fc.constantFrom('none', 'none', 'down', 'lost', 'refuses', 'stays'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('orphan' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('burst' as const),
      try: tried,
      grant: maybe,
      approval: maybe,
      ...burst,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('race' as const), try: tried, ...race }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('issueRace' as const), grant: recent, ...issueRace }) },
]

export type Run = Readonly<{ seed: number; commands: readonly Command[] }>

/** Runs of up to `most` commands. */
export const runs = (most: number): fc.Arbitrary<Run> =>
  fc.record({
    seed: fc.nat(0x7fff_ffff),
    commands: fc.array(fc.oneof({ withCrossShrink: true }, ...commands), {
      minLength: 1,
      maxLength: most,
      size: 'max',
    }),
  })
