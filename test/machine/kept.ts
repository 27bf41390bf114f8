/**
 * Runs that once failed, shrunk: what they found does not come back.
 *
 * @module
 */
import type { Command } from './commands.ts'

type Declare = Extract<Command, { do: 'declare' }>
type Story = Extract<Command, { do: 'story' }>

const declare: Declare = {
  do: 'declare',
  subject: 0,
  by: 0,
  scope: 0,
  parent: 0,
  limit: 0,
  window: 0,
  life: 0,
  heartbeat: 0,
  reason: true,
  ticket: 0,
}

const story: Story = {
  do: 'story',
  declare,
  try: { task: 1, subject: 0, action: 0, resource: 0, amount: undefined, by: 0, odd: 'no' },
  steps: 5,
  live: 0,
  end: { do: 'nothing' },
}

export const kept: Readonly<Record<string, readonly Command[]>> = {
  'a deleted subject declared a task': [
    { do: 'delete', who: 5 },
    { ...declare, subject: 0 },
  ],
  'a secret left after its task had lapsed': [
    { ...story, declare: { ...declare, scope: 2, heartbeat: 2 } },
    { do: 'issueRace', grant: 0, hold: 'before', meanwhile: 'lapse' },
  ],
  'an approval for a task was used without it': [
    { ...story, declare: { ...declare, scope: 7 }, steps: 4 },
    {
      do: 'evaluate',
      try: { ...story.try, task: 0 },
      grant: 0,
      approval: 1,
      key: 0,
      how: 'use',
    },
  ],
  'an approval without a task was inherited by who came back': [
    { ...story, try: { ...story.try, task: 0 }, steps: 4 },
    { do: 'delete', who: 5 },
    { do: 'recreate', who: 0 },
    { do: 'activate', request: 0, by: 0, changed: false },
  ],
  'a retry with the key of an activation was a permit that spent nothing': [
    { ...story, declare: { ...declare, scope: 1 } },
    { do: 'evaluate', try: story.try, grant: 0, approval: 0, key: 1, how: 'activate' },
    { do: 'retry', earlier: 0, other: true },
    { do: 'retry', earlier: 0, other: true },
  ],
  'a credential came to be after it was verified absent': [
    story,
    { do: 'issueRace', grant: 0, hold: 'before', meanwhile: 'revoke' },
  ],

  // one for each guard that a mutant takes away
  'every use is spent once, however many come at once': [
    { ...story, declare: { ...declare, scope: 1 }, end: { do: 'burst', times: 8, key: 0 } },
  ],
  'a budget is that of everything below': [
    { ...declare, scope: 2, limit: 3 },
    { ...declare, scope: 1, parent: 1, subject: 1 },
    { do: 'burst', try: story.try, times: 2, grant: 0, approval: 0, key: 0 },
    { do: 'burst', try: { ...story.try, task: 2 }, times: 5, grant: 0, approval: 0, key: 0 },
  ],
  'a grant ends with its task': [{ ...story, declare: { ...declare, scope: 4, life: 1 } }],
  'an approval makes one grant': [
    { ...story, declare: { ...declare, scope: 4 } },
    { do: 'revokeGrant', grant: 0, by: 0 },
    { do: 'activate', request: 0, by: 0, changed: false },
  ],
  'nobody approves what their own agent asks for': [
    { ...story, declare: { ...declare, subject: 1 }, try: { ...story.try, subject: 1 }, steps: 2 },
    { do: 'approve', request: 0, by: 1, pool: 'dba', other: false },
  ],
  'what has expired cannot be cancelled, swept or not': [
    { ...story, steps: 2 },
    { do: 'advanceTo', instant: 1, offset: -1 },
    { do: 'advance', seconds: 1 },
    { do: 'cancelRequest', request: 0, by: 0 },
  ],
  'what a new policy forbids ends': [story, { do: 'publish', policy: 'frozen' }],
  'what a calendar said right before a crash was looked at when it could be read again': [
    {
      ...story,
      live: 6,
      declare: { ...declare, window: 5 },
      end: { do: 'worsen', how: 'cut', wait: 1 },
    },
  ],
  'what was pushed was not looked at again when it was too old': [
    { ...story, live: 2, declare: { ...declare, life: 1 }, end: { do: 'worsen', how: 'lapse', wait: 0 } },
  ],
  'an answer that comes late ends what it is no longer given for': [
    { ...story, live: 4, end: { do: 'worsen', how: 'source', wait: 0 } },
  ],
  'a signal that comes again, and is about who has signed in again': [
    { ...story, live: 7, end: { do: 'worsen', how: 'signal', wait: 0 } },
    { do: 'signal', event: 0, about: 1, value: 0, ago: 0, again: false },
    { do: 'advance', seconds: 120 },
    { do: 'signal', event: 0, about: 0, value: 0, ago: 0, again: true },
  ],
  'what is decided while its tool is locked, or what it is given on gets worse': [
    { ...story, live: 1, end: { do: 'race', times: 3, wait: 2, against: 'fact' } },
    { ...story, live: 3, end: { do: 'race', times: 3, wait: 2, against: 'tool' } },
    { do: 'unlock', lock: 0, by: 1 },
  ],
  'what a hundred runs come to a few times only': [
    { ...story, declare: { ...declare, scope: 2, limit: 1 }, end: { do: 'burst', times: 3, key: 0 } },
    { do: 'evaluate', try: story.try, grant: 0, approval: 0, key: 0, how: 'use' },
    { ...story, declare: { ...declare, scope: 1 }, end: { do: 'race', times: 2, wait: 1, against: 'task' } },
    { ...story, live: 1, end: { do: 'worsen', how: 'tool', wait: 0 } },
    { do: 'advance', seconds: 180 },
    { ...story, live: 1, end: { do: 'worsen', how: 'owner', wait: 0 } },
    { do: 'advance', seconds: 180 },
    {
      ...story,
      declare: { ...declare, scope: 1 },
      end: { do: 'issueRace', hold: 'before', meanwhile: 'crash' },
    },
    { ...story, live: 1, end: { do: 'race', times: 2, wait: 1, against: 'subject' } },
  ],
  'a ticket is over when it is due, and not when it is asked for next': [
    { ...story, live: 4, declare: { ...declare, life: 2 }, end: { do: 'worsen', how: 'lapse', wait: 0 } },
  ],
}
