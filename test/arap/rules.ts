/**
 * The rules of the access request profile (Draft 1) that Writ follows, in our words. Every one has a test whose title
 * begins with its id.
 *
 * @module
 */
export type Rule = Readonly<{ id: string; section: string; says: string }>

const rules = (section: string, says: Readonly<Record<string, string>>): Rule[] =>
  Object.entries(says).map(([id, sentence]) => ({ id, section, says: sentence }))

export const RULES: readonly Rule[] = [
  ...rules('metadata', {
    'META-1': 'the metadata names the access request endpoint and the capability',
    'META-2': 'it names a JWK Set whose keys have `kid` and `use: sig`, and hold nothing private',
  }),
  ...rules('requestable denial', {
    'DENIAL-1': 'a requestable denial is a denial: 200 and `decision: false`',
    'DENIAL-2': 'the offer is there only when it can be taken up: on no permit and no final denial',
    'DENIAL-3': 'it has an `evaluation_id` of its own, `evaluated_at` and a stable `reason`',
    'DENIAL-4': 'the offer expires, and names an endpoint and a schema of the same origin as the metadata',
    'DENIAL-5': 'the schema says which additions a submission needs',
    'DENIAL-6': 'the binding token is a compact JWS with the profile’s claims, by a published key',
  }),
  ...rules('submission', {
    'SUBMIT-1':
      'the tuple, `denial` and `denial.expires_at` are required; without them it is an ordinary 400',
    'SUBMIT-2': 'a denial with neither id nor token binds nothing',
    'SUBMIT-3': 'an accepted one is answered 202 with a task, and `Location` is its status endpoint',
    'SUBMIT-4': 'one that settles at once is answered 201, terminal, with its result',
    'SUBMIT-5': 'subject, resource and action are exactly those denied, every property included',
    'SUBMIT-6':
      'bound context members may neither change nor go; absent is not null, and order counts in arrays',
    'SUBMIT-7': 'members that are added bind nothing and change nothing',
    'SUBMIT-8': 'an unknown evaluation binds nothing',
    'SUBMIT-9': 'a known evaluation that was no requestable denial is not requestable',
    'SUBMIT-10': 'freshness is that of the record, not of the echo',
    'SUBMIT-11': 'somebody else’s denial is as good as unknown',
    'SUBMIT-12': 'who submits authenticates, RFC 6750',
    'SUBMIT-13': 'requested access bounds what is given; unknown members are ignored',
    'SUBMIT-14': 'what a client says of itself authorises nothing',
    'SUBMIT-15': 'companions that are not offered are refused clearly',
    'SUBMIT-16': 'a template decides nothing',
    'SUBMIT-17': 'a submission that lacks what the schema requires is refused',
    'SUBMIT-18': 'submissions and polls are rate-limited',
  }),
  ...rules('idempotency', {
    'KEY-1': 'the same key, caller and body are the same task',
    'KEY-2': 'the same key with another body is `duplicate_request`',
    'KEY-3': 'keys are the caller’s own',
    'KEY-4': 'a key is remembered until a day after its task has ended',
    'KEY-5': 'fifty at once with one key make one request',
    'KEY-6': 'fifty at once in the same words without a key make one request, settled or not',
  }),
  ...rules('task', {
    'TASK-1': 'ids are unguessable and mean nothing',
    'TASK-2': 'a task ends once, and stays as it ended',
    'TASK-3': 'progress counts approvals and names nobody',
    'TASK-4': 'while it is pending there is `Retry-After`',
    'TASK-5': 'one that nobody settles expires when it said it would',
    'TASK-6': 'a handle lives a day beyond the end, then it is `task_expired`',
    'TASK-7': 'an unknown task and somebody else’s are the same answer (B33)',
    'TASK-8': 'a handle outlives the key it was made with, and only for the same party',
    'TASK-9': 'a requester learns nothing of who approves and gets no link for them',
    'TASK-10': 'a person who asks gets a link to look at',
    'TASK-11': 'there is a result exactly when it is approved',
  }),
  ...rules('cancellation', {
    'CANCEL-1': 'a pending task can be cancelled, with reason and comment, and is then cancelled',
    'CANCEL-2': 'after the end it is `invalid_task_state`, and there is no link',
    'CANCEL-3': 'other methods are 405',
    'CANCEL-4': 'to see a request is not to be allowed to end it (B26)',
  }),
  ...rules('binding by value', {
    'TOKEN-1': 'the token alone binds',
    'TOKEN-2': 'where there is a token it is what counts',
    'TOKEN-3': 'a key that is not published, or signs no more, proves nothing',
    'TOKEN-4':
      'the algorithm is ours to say: `none`, HMAC with the public key and unknown `crit` are refused (B1, B2)',
    'TOKEN-5': 'type, issuer and audience are exact (B4)',
    'TOKEN-6': 'every changed character is noticed',
    'TOKEN-7': 'past its end it is `expired_denial`',
    'TOKEN-8': 'the echoed end is the protected one; without one, `exp` counts if it is not later',
    'TOKEN-9': 'a token makes one request',
    'TOKEN-10': 'its tuple and context members are what was denied, `act` left out',
    'TOKEN-11': 'long tuples are bound by hash, built as the profile says',
    'TOKEN-12': 'a rotation keeps what was signed before good until it ends (B45)',
  }),
  ...rules('re-evaluation', {
    'AGAIN-1': 'an approval carried unchanged permits, and the answer names it and its end',
    'AGAIN-2': 'an approval is no bearer grant: another party with it has nothing',
    'AGAIN-3': 'nothing that the caller writes beside the id is believed',
    'AGAIN-4': 'id and state must be of one approval',
    'AGAIN-5': 'a state that is not ours, not for us, changed or too old counts for nothing',
    'AGAIN-6': 'a state alone is enough to find the approval',
    'AGAIN-7': 'the scope is the exact tuple and context',
    'AGAIN-8': 'the approval’s current standing counts: spent, locked, its giver’s right lost',
    'AGAIN-9': 'current policy decides, whatever was approved',
    'AGAIN-10': 'after its end it is `approval_expired`, with a fresh offer and `request`',
    'AGAIN-11': 'before a window it is `grant_pending`, `retry` and seconds to wait',
    'AGAIN-12': 'what cannot be verified is `approval_unverifiable` and `none`, without an offer',
    'AGAIN-13': '`request` never comes without an offer',
    'AGAIN-14': 'of many at once exactly one is permitted, and a spent one is expired',
    'AGAIN-15': 'a permit that needed no approval names none',
    'AGAIN-16': 'an approval for a task covers its scope and no other task',
    'AGAIN-17': 'in a batch each item says what came of its approval',
  }),
  ...rules('security', {
    'SAFE-1': 'an emergency is recorded and shown to approvers, and skips nothing (B26)',
    'SAFE-2': 'request, approval, denial and completion can be rebuilt from the log, by `evaluation_id`',
    'SAFE-3': 'whoever asks, owns or stands behind it cannot approve it',
    'SAFE-4': 'what the profile spells is spelled in its own folder alone',
  }),
]
