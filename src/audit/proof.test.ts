import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { hex, leafHash, sha256 } from '../store/hash.ts'
import type { Editable } from '../../test/support/forge.ts'
import { forge, makeKey, ofKind } from '../../test/support/forge.ts'
import type { World } from '../../test/support/world.ts'
import { unpruned } from '../../test/support/store.ts'
import {
  activeGrant,
  attempt,
  callerOf,
  declare,
  migration,
  openWorld,
  people,
  ref,
  requestMigration,
  starterPolicies,
} from '../../test/support/world.ts'
import { referee } from '../decision/reference.ts'
import { Retention } from '../flows/retention.ts'
import type { Bundle, Trust } from './bundle.ts'
import { encodeBundle, findingText, policyVersion } from './bundle.ts'
import type { VerifierKey } from './note.ts'
import {
  cosignNote,
  formatCheckpoint,
  formatEndorsement,
  formatNote,
  formatVerifierKey,
  parseNote,
  parseVerifierKey,
  signNote,
  verifierKey,
} from './note.ts'
import { verifyBundle } from './proof.ts'
import { rewrite } from './verify.ts'
import { effort } from '../../test/support/effort.ts'

type Members = Record<string, unknown>

const judge = referee()
const verify = (text: string | Uint8Array, trust: Trust) => verifyBundle(Buffer.from(text), trust, judge)
const failuresOf = (text: string | Uint8Array, trust: Trust): string[] =>
  verify(text, trust).failures.map(findingText)
const fails = (text: string | Uint8Array, trust: Trust, why: RegExp): void => {
  const failures = failuresOf(text, trust)
  assert.ok(
    failures.some((failure) => why.test(failure)),
    `expected ${why}, found ${failures.join(' | ') || 'nothing'}`,
  )
}

const permits = (entries: Map<number, Editable>): Editable[] =>
  [...entries.values()].filter((entry) => entry.kind === 'decision' && entry['outcome'] === 'permit')
const drop = (entries: Map<number, Editable>, ...kinds: string[]): void => {
  for (const [seq, { kind }] of entries) if (kinds.includes(kind)) entries.delete(seq)
}

const NOTHING_MORE =
  '@id("more") forbid (principal, action == Action::"read", resource) when { resource.sensitivity > 3 };'

const policies = [
  {
    name: 'all.cedar',
    text: `@id("migrate") @ttl("5m") @uses("2") @binding("task")
permit (principal is Agent, action == Action::"db:migrate", resource is Database) when { context.proof.approvals.dba >= 1 };
@id("payments") forbid (principal, action == Action::"db:migrate", resource == Database::"payments");
@id("dba") permit (principal in Group::"dba", action == Writ::Action::"approve", resource) when { context.pool == "dba" };
@id("admin") permit (principal in Group::"administrators", action in [Writ::Action::"publish", Writ::Action::"administer", Writ::Action::"read"], resource);`,
  },
]

describe('a proof of why', () => {
  let world: World
  let keys: VerifierKey[]
  let text: string
  let grant: string
  /** Of a denial: as little as a proof can be. */
  let small: string

  before(async () => {
    world = await openWorld({ policies })
    const { flows } = world.app
    const given = await activeGrant(world)
    grant = given.grant
    const used = await flows.evaluate(world.migrator, migration(given.task, { grant }))
    assert.equal(used.outcome, 'permit')
    await flows.endTask(world.migrator, given.task, 'completed', 'done')
    text = await flows.prove(world.ada, grant)
    const denied = await flows.evaluate(
      world.migrator,
      attempt('Agent/migrator', 'db:migrate', 'Database/payments'),
    )
    small = await flows.prove(world.ada, denied.id)
    keys = flows.transparency.keys().keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? [])
  })
  after(() => world[Symbol.asyncDispose]())

  const bundle = (): Bundle => JSON.parse(text) as Bundle
  const edited = (change: (content: Record<string, never> & Members) => void): string => {
    const content = JSON.parse(text) as Record<string, never> & Members
    change(content)
    return `${rewrite(content)}\n`
  }

  test('verifies with the key alone, decides again, and tells why', () => {
    const verdict = verify(text, { keys })
    assert.deepEqual(verdict.failures, [])
    assert.deepEqual(verdict.notShown, [])
    const story = verdict.story.join('\n')
    for (const said of [
      'Agent/migrator',
      'db:migrate',
      'Database/orders',
      'Person/grace',
      'INC-42',
      'migrate',
      'ended at \\S+: completed',
    ])
      assert.match(story, new RegExp(said, 'u'))
    assert.ok(
      verdict.checked.some((line) => /3 decisions, taken again with reference Cedar/u.test(line)),
      verdict.checked.join(),
    )
  })

  test('is the same of whatever it is asked about: decision, request, task', async () => {
    const seqs = bundle().entries.map(({ seq }) => seq)
    const kinds = bundle().entries.map(({ body }) => JSON.parse(body ?? '') as Editable)
    const decision = kinds.findLast(({ kind }) => kind === 'decision')?.['id']
    const request = kinds.find(({ kind }) => kind === 'request.submitted')?.['request']
    const task = kinds.find(({ kind }) => kind === 'task.declared')?.['task']
    for (const id of [decision, request, task]) {
      const other = await world.app.flows.prove(world.ada, String(id))
      assert.deepEqual(failuresOf(other, { keys }), [])
      assert.deepEqual(
        (JSON.parse(other) as Bundle).entries.map(({ seq }) => seq),
        seqs,
      )
    }
  })

  test('of a denial shows the denial, and of nothing there is none', async () => {
    const { flows } = world.app
    const denied = await flows.evaluate(world.migrator, migration(undefined, {}))
    const proof = await flows.prove(world.ada, denied.id)
    assert.match(verify(proof, { keys }).story.join('\n'), /deny|challenge/u)
    await assert.rejects(flows.prove(world.ada, 'grant_none'), { code: 'ERR_NOT_FOUND' })
    await assert.rejects(flows.prove(world.migrator, grant), { code: 'ERR_FORBIDDEN' })
  })

  test('is about nobody else: other tasks and their subjects stay out', async () => {
    const other = await activeGrant(world)
    const again = await world.app.flows.prove(world.ada, grant)
    assert.deepEqual(failuresOf(again, { keys }), [])
    assert.ok(!again.includes(other.task) && !again.includes(other.grant))
  })

  test('holds no secret', () => {
    for (const secret of Object.values(world.tokens)) {
      assert.ok(!text.includes(secret))
      assert.ok(!text.includes(secret.slice(-20)))
    }
  })

  describe('trust', () => {
    test('without a key nothing vouches for the one in it', () => {
      fails(
        text,
        { keys: [] },
        /^checkpoint: no key was given, and nothing vouches for the key in the bundle$/u,
      )
      assert.deepEqual(failuresOf(text, { keys: [], unsafeTrustBundledKey: true }), [])
    })

    test('another key of the same name, or the key of another log', () => {
      const origin = keys[0]?.name ?? ''
      fails(text, { keys: [makeKey(origin, 'log').key] }, /^checkpoint: signature is not by the given key$/u)
      fails(text, { keys: [makeKey('writ/inst_other', 'log').key] }, /^checkpoint: it is of the log/u)
    })

    test('a witness that cosigned twice, under two names or lines, counts once (CVE-2026-49834)', () => {
      const one = makeKey('one.example', 'witness')
      const two = makeKey('two.example', 'witness')
      const alias = verifierKey('alias.example', 'witness', one.key.raw)
      const by = (...signers: { key: VerifierKey; privateKey: (typeof one)['privateKey'] }[]) => {
        const made = forge(text, () => undefined)
        const { seal: _seal, kind: _kind, v: _v, ...content } = JSON.parse(made.text) as Bundle
        const note = parseNote(content.checkpoint)
        assert.ok(note)
        const signatures = signers.map(({ key, privateKey }, at) =>
          cosignNote(note.text, key, privateKey, 1_700_000_000 + at),
        )
        const witnesses = [...new Set(signers.map(({ key }) => formatVerifierKey(key)))]
        const checkpoint = formatNote({ ...note, signatures: [...note.signatures, ...signatures] })
        return {
          ...made,
          text: encodeBundle({ ...content, checkpoint, witnesses }, made.key, made.privateKey),
        }
      }
      const both = by(one, two)
      assert.deepEqual(failuresOf(both.text, { ...both.trust, witnesses: [one.key, two.key] }), [])
      const aliased = by(one, { key: alias, privateKey: one.privateKey })
      fails(
        aliased.text,
        { ...aliased.trust, witnesses: [one.key, alias, two.key], witnessesNeeded: 2 },
        /1 of the 2 cosignatures/u,
      )
      const twice = by(one, one)
      fails(twice.text, { ...twice.trust, witnesses: [one.key, two.key] }, /same signature twice|1 of the 2/u)
      const unlisted = by(makeKey('else.example', 'witness'), makeKey('more.example', 'witness'))
      fails(
        unlisted.text,
        { ...unlisted.trust, witnesses: [one.key, two.key], witnessesNeeded: 1 },
        /0 of the 1 cosignatures/u,
      )
      const none = forge(text, () => undefined)
      fails(none.text, { ...none.trust, witnesses: [one.key] }, /0 of the 1 cosignatures/u)
    })

    test('a cosignature that does not verify, or whose signer nobody names, is no part of it', () => {
      const one = makeKey('one.example', 'witness')
      const made = forge(text, () => undefined)
      const { seal: _seal, kind: _kind, v: _v, ...content } = JSON.parse(made.text) as Bundle
      const note = parseNote(content.checkpoint)
      assert.ok(note)
      const other = cosignNote('another text\n', one.key, one.privateKey, 1)
      const checkpoint = formatNote({ ...note, signatures: [...note.signatures, other] })
      const named = encodeBundle(
        { ...content, checkpoint, witnesses: [formatVerifierKey(one.key)] },
        made.key,
        made.privateKey,
      )
      fails(named, made.trust, /^checkpoint: the cosignature of `one\.example` does not verify$/u)
      const nameless = encodeBundle({ ...content, checkpoint }, made.key, made.privateKey)
      fails(nameless, made.trust, /^checkpoint: nothing says what key/u)
    })
  })

  test('every single-byte change fails and says where', (context) => {
    const bytes = Buffer.from(small)
    const wheres = new Map<string, number>()
    const started = performance.now()
    // everywhere the bit that makes another digit or letter; here and there what leaves ASCII, and what ends a string
    const letter = (byte: number): number => byte ^ 1
    const others = [(byte: number) => byte ^ 0x80, (byte: number) => (byte === 0x22 ? 0x20 : 0x22)]
    for (let at = 0; at < bytes.length; at += 1) {
      const was = bytes[at] as number
      for (const change of at % 16 === 0 ? [letter, ...others] : [letter]) {
        bytes[at] = change(was)
        const { ok, failures } = verifyBundle(bytes, { keys })
        assert.ok(!ok, `byte ${at} may be ${bytes[at]} instead of ${was}`)
        assert.ok(failures.every(({ where, why }) => where !== '' && why !== ''))
        const where = failures[0]?.where.replace(/[ /].*$/u, '') ?? ''
        wheres.set(where, (wheres.get(where) ?? 0) + 1)
      }
      bytes[at] = was
    }
    context.diagnostic(
      `${bytes.length} bytes in ${Math.round(performance.now() - started)} ms: ${JSON.stringify([...wheres])}`,
    )
    for (const where of ['file', 'entry', 'checkpoint', 'seal', 'policy', 'bodies'])
      assert.ok(wheres.has(where), `nothing fails at ${where}`)
    for (const cut of [
      bytes.subarray(0, -1),
      bytes.subarray(1),
      Buffer.concat([bytes, Buffer.from('\n')]),
      Buffer.alloc(0),
    ])
      assert.ok(!verifyBundle(cut, { keys }).ok)
  })

  test('a digit of a proof, an entry or a digest that is still well-formed fails too', () => {
    const bytes = Buffer.from(text)
    assert.ok(verifyBundle(bytes, { keys }).ok)
    for (let at = 0; at < bytes.length; at += 7) {
      bytes[at] = (bytes[at] as number) ^ 1
      assert.ok(!verifyBundle(bytes, { keys }).ok, `byte ${at}`)
      bytes[at] = (bytes[at] as number) ^ 1
    }
    const digits = [...text.matchAll(/[0-9a-f]{64}/gu)].map((match) =>
      Buffer.byteLength(text.slice(0, match.index)),
    )
    for (const from of digits) {
      const at = from + (from % 64)
      const was = bytes[at] as number
      bytes[at] = was === 0x30 ? 0x31 : 0x30
      assert.ok(!verifyBundle(bytes, { keys }).ok, `byte ${at}`)
      bytes[at] = was
    }
  })

  describe('what somebody without the key does to it', () => {
    const entriesOf = (content: Members): (Members & { seq: number; body: string; proof: string[] })[] =>
      content['entries'] as never
    const seqOf = (kind: string): number =>
      bundle().entries.find(({ body }) => (JSON.parse(body ?? '') as Editable).kind === kind)?.seq ?? -1

    test('another approval, in its own words', () => {
      const seq = seqOf('approval.given')
      const forged = edited((content) => {
        for (const entry of entriesOf(content))
          if (entry.seq === seq) entry.body = entry.body.replaceAll('grace', 'hedy')
      })
      fails(forged, { keys }, new RegExp(`^entry ${seq}: bytes do not match the proof$`, 'u'))
    })

    test('an ending, a denial or the publication left out', () => {
      for (const kind of ['grant.ended', 'task.ended', 'policy.published', 'decision']) {
        const seq = seqOf(kind)
        const forged = edited((content) => {
          content['entries'] = entriesOf(content).filter((entry) => entry.seq !== seq) as never
        })
        fails(forged, { keys }, /^seal: something was left out/u)
      }
    })

    test('a policy without its forbid, or under another version', () => {
      const weaker = (policy: Bundle['policies'][number]) => ({
        ...policy,
        files: policy.files.map((file) => ({
          ...file,
          text: file.text.replace(/@id\("payments"\).*\n/u, ''),
        })),
      })
      const forged = edited((content) => {
        content['policies'] = (content['policies'] as unknown as Bundle['policies']).map(weaker) as never
      })
      fails(forged, { keys }, /^policy [0-9a-f]{12}: its text is not that of its version$/u)
      fails(forged, { keys }, /`all\.cedar` is not the file that entry \d+ says/u)
      const renamed = edited((content) => {
        content['policies'] = (content['policies'] as unknown as Bundle['policies'])
          .map(weaker)
          .map((policy) => ({ ...policy, version: policyVersion(policy) })) as never
      })
      fails(renamed, { keys }, /no decision here ran it/u)
    })

    test('other attributes of an entity', () => {
      const forged = edited((content) => {
        content['bodies'] = (content['bodies'] as unknown as string[]).map((body) =>
          body.replace('"sensitivity":3', '"sensitivity":1'),
        ) as never
      })
      fails(forged, { keys }, /^bodies\/0: no entry holds its digest/u)
    })

    test('entries, or the checkpoint, of another log', async () => {
      await using other = await openWorld({ policies })
      const theirs = await activeGrant(other)
      const foreign = JSON.parse(await other.app.flows.prove(other.ada, theirs.grant)) as Bundle
      const seq = seqOf('approval.given')
      const mixed = edited((content) => {
        content['entries'] = entriesOf(content).map(
          (entry) => foreign.entries.find((one) => one.seq === entry.seq) ?? entry,
        ) as never
      })
      fails(mixed, { keys }, new RegExp(`^entry ${seq}: bytes do not match the proof$`, 'u'))
      fails(rewrite(foreign) + '\n', { keys }, /^checkpoint: it is of the log/u)
      const headless = edited((content) => {
        content['checkpoint'] = foreign.checkpoint as never
      })
      fails(headless, { keys }, /^entry \d+: (bytes do not match|is not covered)/u)
    })

    test('an older checkpoint does not cover what came later', async () => {
      const { flows } = world.app
      const given = await activeGrant(world)
      const early = JSON.parse(await flows.prove(world.ada, given.grant)) as Bundle
      await flows.endTask(world.migrator, given.task, 'completed')
      const late = JSON.parse(await flows.prove(world.ada, given.grant)) as Bundle
      fails(`${rewrite({ ...late, checkpoint: early.checkpoint })}\n`, { keys }, /^entry \d+: /u)
      // the earlier bundle is true of its time, and says when that was
      const verdict = verify(`${rewrite(early)}\n`, { keys })
      assert.ok(verdict.ok)
      assert.match(verdict.story.join('\n'), /is not shown to have ended/u)
      assert.ok((verdict.madeAt ?? 0) < late.made_at)
    })

    test('what no entry speaks of: a policy, a text, a witness, a member', () => {
      fails(
        edited((content) => void (content['bodies'] as unknown as string[]).push('"trust me"')),
        { keys },
        /^bodies\/1: no entry/u,
      )
      fails(
        edited((content) => void (content['note'] = 'trust me' as never)),
        { keys },
        /^file: has a member `note` that means nothing$/u,
      )
      const witness = formatVerifierKey(makeKey('w.example', 'witness').key)
      fails(
        edited((content) => void (content['witnesses'] = [witness] as never)),
        { keys },
        /^checkpoint: the cosignature of `w\.example` is missing$/u,
      )
      fails(
        edited((content) => void (content['about'] = 'grant_other' as never)),
        { keys },
        /^about: no entry is about/u,
      )
      fails(
        edited((content) => void (content['made_at'] = 1 as never)),
        { keys },
        /^seal: /u,
      )
    })
  })

  describe('what somebody does to it who has the key', () => {
    const forged = (edit: Parameters<typeof forge>[1], why: RegExp): void => {
      const { text: made, trust } = forge(text, edit)
      fails(made, trust, why)
    }

    test('a forgery without a change is no forgery', () => {
      const { text: made, trust } = forge(text, () => undefined)
      assert.deepEqual(failuresOf(made, trust), [])
    })

    test('law 4: an approval by who asked, by the same person twice, of another statement, or of nobody', () => {
      forged((entries) => {
        const given = ofKind(entries, 'approval.given')
        given['by'] = 'Person/ada'
        ofKind(entries, 'request.approved')['by'] = ['Person/ada']
      }, /Person\/ada approved what they asked for or own/u)
      forged(
        (entries) => void (ofKind(entries, 'approval.given')['statement'] = `sha256:${'0'.repeat(64)}`),
        /approved another statement/u,
      )
      forged(
        (entries) => drop(entries, 'approval.given'),
        /the approval of Person\/grace for `dba` is missing/u,
      )
      forged((entries) => {
        const activated = ofKind(entries, 'grant.activated')
        activated['approvals'] = [
          ...(activated['approvals'] as unknown[]),
          { pool: 'dba', root: 'Person/hedy' },
        ]
      }, /other approvals than it was decided on/u)
    })

    test('law 10: a statement of something else', () => {
      forged((entries) => {
        const submitted = ofKind(entries, 'request.submitted')
        submitted['statement'] = { ...(submitted['statement'] as Members), actions: ['db:read'] }
      }, /its digest is not that of its statement/u)
      forged((entries) => {
        const submitted = ofKind(entries, 'request.submitted')
        const statement = { ...(submitted['statement'] as Members), actions: ['db:read'] }
        const digest = `sha256:${hex(sha256(rewrite(statement)))}`
        for (const entry of entries.values()) {
          for (const member of ['digest', 'statement'])
            if (entry[member] === submitted['digest'] && entry !== submitted) entry[member] = digest
        }
        Object.assign(submitted, { statement, digest })
      }, /its statement does not cover the attempt/u)
    })

    test('law 3: a grant that ends late, or that is used after its end', () => {
      forged((entries) => {
        const activated = ofKind(entries, 'grant.activated')
        activated['ends_at'] = Number(activated['ends_at']) + 60_000
      }, /ends after what policy allows/u)
      forged((entries) => {
        const activated = ofKind(entries, 'grant.activated')
        activated['ends_at'] = Number(activated['at']) + 1
      }, /permits after the end of grant/u)
    })

    test('law 9: more uses than were allowed, a use left out, an approval spent twice', () => {
      forged(
        (entries) => void (ofKind(entries, 'grant.activated')['uses'] = 0),
        /was used 1 times, 0 were allowed/u,
      )
      forged((entries) => {
        const last = permits(entries).at(-1)
        for (const [seq, entry] of entries) if (entry === last) entries.delete(seq)
      }, /a use: it ended after 1, 0 are here; is missing/u)
      forged((entries) => {
        const closed = ofKind(entries, 'grant.closed')
        const seq = Number(closed['seq'])
        entries.set(seq, {
          ...ofKind(entries, 'grant.activated'),
          seq,
          at: closed['at'],
          grant: 'grant_second',
        })
      }, /was spent into grant/u)
    })

    test('an ending left out is noticed: by what follows it, by the count, by the clock', () => {
      forged((entries) => drop(entries, 'grant.ended'), /its ending is missing/u)
      forged((entries, content) => {
        drop(entries, 'grant.ended', 'grant.closed')
        content.made_at += 24 * 3_600_000
      }, /its ending, due at .* is missing/u)
    })

    test('law 6: a decision that its policy does not make', () => {
      forged((entries) => {
        for (const decision of permits(entries)) decision['proof'] = { approvals: {}, justification: true }
      }, /policy says deny/u)
      forged((entries) => {
        const [decision] = permits(entries)
        assert.ok(decision)
        decision['determining'] = ['payments']
      }, /determining policies were \[payments\]/u)
      forged((entries) => {
        for (const decision of permits(entries)) {
          delete decision['says']
          Object.assign(decision, { determining: ['writ:founding'], policy: 'none' })
        }
      }, /permits, although policy did not/u)
      forged((entries) => {
        const challenge = [...entries.values()].find((entry) => entry['outcome'] === 'challenge')
        assert.ok(challenge)
        challenge['outcome'] = 'permit'
      }, /permits, although policy did not/u)
    })

    test('entities that the inventory did not have like this', () => {
      forged((entries, content) => {
        const text_ = (content.bodies[0] ?? '').replace('"sensitivity":3', '"sensitivity":1')
        const was = `sha256:${hex(sha256(content.bodies[0] ?? ''))}`
        content.bodies = [text_]
        for (const entry of entries.values())
          if (entry['inputs'] === was) entry['inputs'] = `sha256:${hex(sha256(text_))}`
      }, /`Database\/orders` is not as entry \d+ says/u)
      forged((entries) => drop(entries, 'inventory.put'), /no entry says what `/u)
    })

    test('a policy that was not in force', () => {
      forged(
        (entries) => drop(entries, 'policy.published'),
        /the publication of policy [0-9a-f]{12} is missing/u,
      )
      forged((entries) => {
        const [decision] = permits(entries)
        const published = ofKind(entries, 'policy.published')
        const seq = Number(decision?.['seq']) - 1
        entries.set(seq, { ...published, seq, policy: '0'.repeat(64), at: decision?.['at'] })
      }, /which entry \d+ had replaced/u)
    })

    test('entries that go back in time, or stand elsewhere than they say', () => {
      forged((entries) => void (ofKind(entries, 'grant.ended')['at'] = 5), /is dated before one ahead of it/u)
      forged((entries) => void (ofKind(entries, 'grant.ended')['seq'] = 5), /says it is entry 5/u)
    })

    test('law 6: a decision that does not say what it was made on, or of which that was kept back', () => {
      forged((entries, content) => {
        for (const entry of entries.values()) if (entry.kind === 'decision') delete entry['inputs']
        content.bodies = []
      }, /does not say what it was made on/u)
      forged(
        (_entries, content) => void (content.bodies = []),
        /the entities that it was made on are not here/u,
      )
      forged((entries) => drop(entries, 'policy.schema'), /the policy or schema that it ran is not here/u)
      forged((entries) => {
        for (const decision of permits(entries)) decision['policy'] = 'none'
      }, /permits without a policy/u)
      forged((entries, content) => {
        const [was = ''] = content.bodies
        const less = rewrite(
          (JSON.parse(was) as { uid: { type: string } }[]).filter(({ uid }) => uid.type !== 'Database'),
        )
        content.bodies = [less]
        const digest = (body: string) => `sha256:${hex(sha256(body))}`
        for (const entry of entries.values())
          if (entry['inputs'] === digest(was)) entry['inputs'] = digest(less)
      }, /was made without `Database\/orders`, which entry \d+ tells of/u)
    })

    test('law 6: policy was told of evidence that nobody gave', () => {
      const more = (entries: Map<number, Editable>, change: Members, without: readonly string[] = []) => {
        const last = permits(entries).at(-1)
        assert.ok(last)
        const ended = ofKind(entries, 'task.ended')
        const seq = Number(ended['seq'])
        const made: Editable = { ...last, id: 'dec_more', refs: ['dec_more'], ...change, seq }
        for (const name of without) delete made[name]
        entries.set(seq, made)
      }
      forged(
        (entries) => more(entries, {}, ['grant', 'grant_used', 'evidence']),
        /decision dec_more: counts 1 approvals of `dba`, 0 were given/u,
      )
      forged((entries) => more(entries, {}, ['grant', 'grant_used']), /permits on evidence without a grant/u)
      forged((entries) => {
        const approvals = [{ pool: 'dba', root: 'Person/hedy', generation: 0 }]
        more(entries, { evidence: { approvals }, grant_used: 2 })
      }, /counts an approval of Person\/hedy that grant grant_\w+ was not given on/u)
      forged((entries) => {
        const declared = ofKind(entries, 'task.declared')
        declared['declared'] = { ...(declared['declared'] as Members), reason: '' }
      }, /counts a justification that nobody gave/u)
    })

    test('law 3: obligations that are not those of the policies that decided', () => {
      const withObligations = (entries: Map<number, Editable>, change: (obligations: Members) => void) => {
        for (const decision of permits(entries)) {
          const obligations = { ...(decision['obligations'] as Members) }
          change(obligations)
          decision['obligations'] = obligations
        }
      }
      forged(
        (entries) => withObligations(entries, (one) => void (one['ttl'] = 86_400_000)),
        /its `ttl` was 86400000, policy says 300000/u,
      )
      forged((entries) => {
        withObligations(entries, (one) => void delete one['uses'])
      }, /its `uses` was none, policy says 2/u)
      forged(
        (entries) => withObligations(entries, (one) => void (one['binding'] = 'attempt')),
        /needs a grant for this attempt alone/u,
      )
      forged(
        (entries) => void (ofKind(entries, 'grant.activated')['uses'] = 3),
        /more uses than policy allows/u,
      )
      forged((entries) => {
        const ended = ofKind(entries, 'task.ended')
        const { grant } = ofKind(entries, 'grant.activated')
        const seq = Number(ended['seq'])
        entries.set(seq, { v: 1, kind: 'grant.shortened', grant, refs: [], at: ended['at'], seq })
      }, /was lengthened in entry/u)
    })

    test('law 5: a window that a calendar narrowed was widened', () => {
      for (const [startsAt, endsAt] of [
        [0, 9e15 + 1],
        [-1, 9e15],
        [undefined, 9e15],
      ])
        forged((entries) => {
          const declared = ofKind(entries, 'task.declared')
          declared['declared'] = {
            ...(declared['declared'] as Members),
            window: { startsAt: 0, endsAt: 9e15 },
          }
          const { task, at } = ofKind(entries, 'task.ended')
          const seq = Number(ofKind(entries, 'task.ended')['seq'])
          const window = { ...(startsAt === undefined ? {} : { startsAt }), endsAt: Number(endsAt) }
          entries.set(seq, { v: 1, kind: 'task.narrowed', task, refs: [], window, at, seq })
        }, /its window was widened in entry/u)
    })

    test('law 9: a use that is not counted, or a decision that hides behind the id of another', () => {
      forged(
        (entries) => void delete permits(entries).at(-1)?.['grant_used'],
        /does not count its use of grant/u,
      )
      forged(
        (entries) => void delete ofKind(entries, 'grant.ended')['used'],
        /ended without counting its uses/u,
      )
      for (const change of [{}, { id: undefined }])
        forged((entries) => {
          const seq = Number(ofKind(entries, 'task.ended')['seq'])
          entries.set(
            seq,
            JSON.parse(JSON.stringify({ ...permits(entries).at(-1), seq, ...change })) as Editable,
          )
        }, /is a decision without an id of its own/u)
    })

    test('law 4: an approval by whose agent it is, although the record bars nobody', () => {
      forged((entries) => {
        for (const [seq, entry] of entries) {
          const swapped = JSON.stringify(entry).replaceAll('Person/grace', 'Person/ada')
          if (!/^(?:inventory|person|installation)\./u.test(entry.kind))
            entries.set(seq, JSON.parse(swapped.replaceAll(/"roots":\[[^\]]*\]/gu, '"roots":[]')) as Editable)
        }
      }, /Person\/ada approved what they asked for or own/u)
    })

    test('a text that was too long for its entry and is kept back', () => {
      forged((entries) => {
        const submitted = ofKind(entries, 'request.submitted')
        const gone = `sha256:${'0'.repeat(64)}`
        Object.assign(submitted, { statement: { $digest: gone, kept: true, size: 9 }, cut: ['/statement'] })
      }, /^entry \d+: the text of `sha256:0+` is missing$/u)
    })

    test('a proof that says it was made before what is in it', () => {
      forged(
        (_entries, content) => void (content.made_at = 1),
        /^file: says that it was made before entry 0$/u,
      )
    })

    test('retention that took something else, long before, excuses nothing', () => {
      forged((entries) => {
        drop(entries, 'approval.given')
        const { at } = ofKind(entries, 'person.enrolled')
        const pruned = { v: 1, kind: 'log.pruned', refs: [], from: 4, to: 6, count: 2, before: 1, times: '' }
        entries.set(7, { ...pruned, at, seq: 7 })
      }, /the approval of Person\/grace for `dba` is missing/u)
    })

    test('entries of forms that nothing expects are a failure, never a crash', () => {
      const deep = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels))
      const strange = [null, 1, 'x', [], {}, [null], { scope: 1 }, { scope: { actions: 1 } }, deep(30_000)]
      for (const value of strange)
        for (const [kind, member] of [
          ['task.declared', 'declared'],
          ['decision', 'attempt'],
          ['decision', 'facts'],
          ['grant.activated', 'ends_at'],
          ['grant.activated', 'approvals'],
          ['inventory.put', 'entities'],
          ['policy.published', 'files'],
          ['request.submitted', 'statement'],
          ['installation.made', 'installation'],
        ] as const) {
          let made: ReturnType<typeof forge>
          try {
            made = forge(text, (entries) => void (ofKind(entries, kind)[member] = value))
          } catch (error) {
            assert.ok(error instanceof RangeError) // too deep to be written by this test
            continue
          }
          const { ok } = verify(made.text, made.trust)
          // what no policy reads changes no decision
          if (member !== 'facts') assert.ok(!ok, `${kind} with ${member} ${JSON.stringify(value)}`)
        }
    })

    test('a hash in place of an entry, of which nothing says that it was pruned', () => {
      const made = forge(text, () => undefined)
      const { seal: _seal, kind: _kind, v: _v, ...content } = JSON.parse(made.text) as Bundle
      const entries = content.entries.map((entry) =>
        (JSON.parse(entry.body ?? '') as Editable).kind === 'grant.ended'
          ? { seq: entry.seq, proof: entry.proof, leaf: hex(leafHash(Buffer.from(entry.body ?? ''))) }
          : entry,
      )
      fails(
        encodeBundle({ ...content, entries }, made.key, made.privateKey),
        made.trust,
        /no entry says that it was pruned/u,
      )
    })
  })

  test('what retention has taken is named, and believed only as far as the log says so', async () => {
    await using old = await openWorld({ policies })
    const { flows, store } = old.app
    const given = await activeGrant(old)
    await flows.endTask(old.migrator, given.task, 'completed')
    const whole = JSON.parse(await flows.prove(old.ada, given.grant)) as Bundle
    const gone = new Set(
      whole.entries
        .filter(({ body }) => /"kind":"(?:approval\.given|inventory\.put)"/u.test(body ?? ''))
        .map(({ seq }) => seq),
    )
    // another line of the inventory takes the place of what decisions were made on
    await flows.putEntities(old.ada, people)
    await new Retention({ store, log: () => undefined }, { keep: 0, mayPrune: (seq) => gone.has(seq) }).run()
    const trusted = {
      keys: flows.transparency.keys().keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? []),
    }
    const proof = await flows.prove(old.ada, given.grant)
    const verdict = verify(proof, trusted)
    assert.deepEqual(verdict.failures, [])
    assert.ok(
      verdict.notShown.some((line) =>
        /the approval of Person\/grace .* retention may have pruned it/u.test(line),
      ),
      verdict.notShown.join(),
    )
    assert.ok(
      verdict.notShown.some((line) => /cannot be taken again/u.test(line)),
      verdict.notShown.join(),
    )
    // of what comes after it nothing was pruned
    const made = forge(proof, (entries) => drop(entries, 'grant.ended', 'grant.closed', 'task.ended'))
    assert.deepEqual(failuresOf(made.text, made.trust), [], 'it may have been going on')
    const late = forge(proof, (entries, content) => {
      drop(entries, 'grant.ended', 'grant.closed', 'task.ended')
      content.made_at += 24 * 3_600_000
    })
    fails(late.text, late.trust, /its ending, due at .* is missing/u)
    const unsaid = forge(proof, (entries) => drop(entries, 'log.pruned'))
    fails(unsaid.text, unsaid.trust, /the approval of Person\/grace for `dba` is missing/u)
  })

  test('everything that ever happened has a proof that verifies', async () => {
    await using busy = await openWorld({
      entities: [{ type: 'Service', id: 'gateway', kind: 'workload', owner: ref('Person/ada') }],
    })
    const { flows, store } = busy.app
    const { secret } = await flows.createKey(busy.ada, {
      name: 'gateway',
      subject: ref('Service/gateway'),
      pep: { subjects: ['*'], attributes: { Agent: ['region'], Ship: ['flag'] } },
    })
    const gateway = await callerOf(busy.app, secret.expose())
    // what a caller asserts, of what is registered and of what nobody knows
    for (const resource of [ref('Database/orders'), { ...ref('Ship/one'), properties: { flag: 'nl' } }])
      await flows.evaluate(gateway, {
        subject: { ...ref('Agent/migrator'), properties: { region: 'eu', rank: 3 } },
        action: { name: 'db:migrate' },
        resource,
      })
    // what is too long for an entry
    await flows.evaluate(busy.migrator, migration(undefined, { note: 'x'.repeat(70_000) }))
    const pending = await requestMigration(busy, await declare(busy))
    await flows.denyRequest(busy.grace, pending.id, { statement: pending.digest, reason: 'not today' })
    const revoked = await activeGrant(busy)
    await flows.revokeGrant(busy.ada, revoked.grant, 'a drill')
    const parent = await declare(busy)
    const { grant: below } = await activeGrant(busy, await declare(busy, { parent }))
    await flows.evaluate(busy.migrator, migration(parent, { grant: below }))
    await flows.endTask(busy.migrator, parent, 'failed', 'it did not work')
    // an inventory that changes: a person, a resource that goes and comes back, another parent
    await flows.deleteEntity(busy.ada, ref('Document/handbook'))
    await flows.evaluate(busy.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
    await flows.putEntities(busy.ada, [{ ...ref('Document/handbook'), kind: 'resource', sensitivity: 2 }])
    await flows.evaluate(busy.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
    await flows.putEntities(busy.ada, [
      { ...ref('Agent/migrator'), parents: [ref('Group/deployers'), ref('Group/dba')] },
    ])
    await activeGrant(busy)
    await flows.publish(busy.ada, {
      policies: [...starterPolicies(), { name: 'more.cedar', text: NOTHING_MORE }],
    })
    await flows.locks.lock(busy.ada, { what: 'subject', about: 'Agent/migrator', reason: 'a drill' })
    await flows.evaluate(busy.migrator, migration(undefined))
    await flows.settled()

    const ids = new Set<string>()
    const { size } = await flows.head()
    for (const entry of unpruned(await store.log.entries(0, size))) {
      const { refs } = JSON.parse(Buffer.from(entry.bytes).toString()) as { refs?: unknown }
      if (Array.isArray(refs))
        for (const id of refs as string[]) if (/^(?:dec|grant|task|req)_/u.test(id)) ids.add(id)
    }
    const trusted = flows.transparency.keys().keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? [])
    let again = 0
    for (const id of ids) {
      const verdict = verify(await flows.prove(busy.ada, id), { keys: trusted })
      assert.deepEqual(
        [...verdict.failures.map(findingText), ...verdict.notShown],
        [],
        `${id}: ${verdict.story.join('\n')}`,
      )
      if (verdict.checked.some((line) => line.includes('reference Cedar'))) again += 1
    }
    assert.ok(ids.size > 25 && again > ids.size / 2, `${again} of ${ids.size}`)
  })

  describe('files from strangers', () => {
    const refused = (made: string, why: RegExp): void => {
      const took = effort()
      fails(made, { keys }, why)
      assert.ok(took() < 20_000)
    }

    test('B76 are refused for what is in them before it is built up', () => {
      refused('['.repeat(10_000_000), /^file: has more in it, or deeper, than any proof$/u)
      refused(`[${'[],'.repeat(9_000_000)}[]]`, /^file: has more in it, or deeper, than any proof$/u)
      refused(`{"${'x'.repeat(1_000_000)}":1,"kind":"writ.proof","v":1}`, /^file: has a member `x{64}`/u)
      const entries = Array.from({ length: 100_001 }, (_, seq) => ({ seq, proof: [], body: '{}' }))
      refused(`${rewrite({ ...bundle(), entries })}\n`, /^file: has more than 100000 entries$/u)
      const witnesses = Array.from({ length: 100_000 }, (_, at) => `w${at}`)
      refused(`${rewrite({ ...bundle(), witnesses })}\n`, /^witnesses: are more than have signed$/u)
    })

    test('B76 an entry too deep to be read is a failure', () => {
      const body = `${'['.repeat(32_000)}${']'.repeat(32_000)}`
      const head = { origin: keys[0]?.name ?? '', size: 1, root: hex(leafHash(Buffer.from(body))) }
      const { key, privateKey } = makeKey(head.origin, 'log')
      const signed = formatCheckpoint(head)
      const made = encodeBundle(
        {
          about: 'grant_x',
          made_at: 1,
          checkpoint: formatNote({ text: signed, signatures: [signNote(signed, key, privateKey)] }),
          witnesses: [],
          entries: [{ seq: 0, proof: [], body }],
          bodies: [],
          policies: [],
        },
        key,
        privateKey,
      )
      refused(made, /^(?:entry 0|file|checkpoint): /u)
    })
  })

  test('B67 a key that was rotated since still leads to it; one that was given up does not', async () => {
    const { flows } = world.app
    await flows.transparency.rotate(world.ada, { use: 'log' })
    await activeGrant(world)
    const after_ = await flows.prove(world.ada, grant)
    const verdict = verify(after_, { keys })
    assert.deepEqual(verdict.failures, [])
    assert.ok(
      verdict.checked.some((line) => line.includes('which follows from')),
      verdict.checked.join('\n'),
    )
    const now = flows.transparency.keys().keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? [])
    assert.deepEqual(failuresOf(after_, { keys: now.slice(-1) }), [])
    assert.deepEqual(failuresOf(text, { keys }), [], 'what was made before the rotation')
    // a key that led to the one that signed the checkpoint seals nothing any more, whoever has it
    const sealed = forge(after_, () => undefined)
    const { seal: _seal, kind: _kind, v: _v, ...content } = JSON.parse(sealed.text) as Bundle
    const head = parseNote(content.checkpoint)?.text ?? ''
    const taker = makeKey(sealed.key.name, 'log')
    const word = formatEndorsement({ origin: taker.key.name, size: 0, key: taker.key })
    const rotated = forge(after_, (entries) => {
      ofKind(entries, 'signer.rotated')['endorsement'] = formatNote({
        text: word,
        signatures: [signNote(word, sealed.key, sealed.privateKey)],
      })
    })
    const { seal: _old, kind: _k, v: _n, ...again } = JSON.parse(rotated.text) as Bundle
    const signedText = parseNote(again.checkpoint)?.text ?? ''
    assert.notEqual(head, '')
    const checkpoint = formatNote({
      text: signedText,
      signatures: [signNote(signedText, taker.key, taker.privateKey)],
    })
    const by = (who: typeof taker) =>
      failuresOf(encodeBundle({ ...again, checkpoint }, who.key, who.privateKey), { keys: [sealed.key] })
    assert.deepEqual(by(taker), [])
    assert.deepEqual(by({ key: sealed.key, privateKey: sealed.privateKey }), [
      'seal: signature is not by the key of the log',
    ])
    await flows.transparency.rotate(world.ada, {
      use: 'log',
      compromised: true,
      reason: 'it was on a lost disk',
    })
    const lost = await flows.prove(world.ada, grant)
    fails(lost, { keys: now.slice(-1) }, /which was given up in entry \d+/u)
    fails(lost, { keys }, /^checkpoint: signature is not by the given key/u)
    const last = flows.transparency
      .keys()
      .keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? [])
      .slice(-1)
    assert.deepEqual(failuresOf(lost, { keys: last }), [])
    // who has the old key signs what it likes, also that another takes over; nobody who sees that it was lost believes it
    const stolen = forge(lost, (entries, _content, key) => {
      const { before: id } = ofKind(entries, 'signer.compromised')
      for (const entry of entries.values())
        if (entry.kind === 'signer.made' && entry['signer'] === id)
          entry['public'] = { crv: 'Ed25519', kty: 'OKP', x: Buffer.from(key.raw).toString('base64url') }
    })
    fails(stolen.text, stolen.trust, /^checkpoint: signature is by a key that was given up at \d+ entries$/u)
  })
})
