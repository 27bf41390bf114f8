/**
 * Judges a run by its log alone, as somebody would who has nothing else: the laws that can be broken in the order of
 * entries.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { LogEntry } from '../../src/store/port.ts'

type Members = Readonly<Record<string, unknown>>

export class Auditor {
  /** Everything so far, by sequence number. */
  readonly entries: Members[] = []
  readonly #permits = new Map<string, Members>()
  readonly #endedTasks = new Set<string>()
  readonly #endedGrants = new Set<string>()
  readonly #locked = new Map<string, number>()
  /** Until when a tool, a resource or a task is locked, by what is locked. */
  readonly #under = new Map<string, number>()
  /** What is known, by the name of the fact and what it is about. */
  readonly #facts = new Map<string, Members | null>()
  readonly #spent = new Map<string, string>()
  readonly #asked = new Map<string, Members>()
  readonly #gave = new Map<string, Set<string>>()
  readonly #credentials = new Map<string, 'planned' | 'live' | 'revoking' | 'absent'>()
  #at = 0

  /** Takes the next entry. @throws when it breaks a law. */
  take({ seq, at, bytes }: LogEntry): Members {
    const entry = JSON.parse(Buffer.from(bytes).toString('utf8')) as Members
    assert.equal(seq, this.entries.length, 'C11 entries follow one another')
    assert.ok(at >= this.#at, 'C11 time in the log never goes back')
    this.#at = at
    this.entries.push(entry)
    this.#judge(entry, at)
    return entry
  }

  /** The last entry of a kind. */
  last(kind: string, from = 0): Members | undefined {
    return this.entries.findLast((entry, seq) => seq >= from && entry['kind'] === kind)
  }

  #judge(entry: Members, at: number): void {
    const name = (member: string): string => String(entry[member])
    switch (entry['kind']) {
      case 'decision':
      case 'decision.replayed':
        return this.#decision(entry, at)
      case 'task.ended':
        this.#endedTasks.add(name('task'))
        return
      case 'grant.ended':
        this.#endedGrants.add(name('grant'))
        return
      case 'subject.locked':
        this.#locked.set(name('subject'), (entry['until'] as number | undefined) ?? Infinity)
        return
      case 'subject.unlocked':
        this.#locked.delete(name('subject'))
        return
      case 'lock.set':
        this.#under.set(
          `${name('what')} ${name('about')}`,
          (entry['until'] as number | undefined) ?? Infinity,
        )
        return
      case 'lock.ended':
        this.#under.delete(`${name('what')} ${name('about')}`)
        return
      case 'fact.observed':
        this.#facts.set(`${name('name')} ${name('about')}`, entry['value'] as Members | null)
        return
      case 'inventory.put':
        for (const { type, id, locked } of entry['entities'] as {
          type: string
          id: string
          locked?: unknown
        }[]) {
          if (locked === undefined) this.#locked.delete(`${type}/${id}`)
        }
        return
      case 'person.enrolled':
        return
      case 'request.submitted':
        this.#asked.set(name('request'), entry)
        return
      case 'approval.given': {
        const asked = this.#asked.get(name('request'))
        const gave = this.#gave.get(name('request')) ?? new Set()
        const roots = (asked?.['roots'] ?? []) as string[]
        assert.ok(!roots.includes(name('by')), 'C4 nobody approves what is theirs')
        assert.ok(!gave.has(name('by')), 'C4 nobody approves twice')
        assert.equal(entry['statement'], asked?.['digest'], 'C10 what was approved is what was asked')
        this.#gave.set(name('request'), gave.add(name('by')))
        return
      }
      case 'grant.activated':
        return this.#activated(entry)
      case 'credential.planned':
        assert.ok(!this.#credentials.has(name('credential')), 'C8 a row is written once')
        this.#credentials.set(name('credential'), 'planned')
        return
      case 'credential.live':
        assert.equal(
          this.#credentials.get(name('credential')),
          'planned',
          'C8 what lives was planned and not given up',
        )
        this.#credentials.set(name('credential'), 'live')
        return
      case 'credential.abandoned':
      case 'credential.unresolved':
        assert.notEqual(this.#credentials.get(name('credential')), 'absent', 'C8 what is absent stays absent')
        this.#credentials.set(name('credential'), 'revoking')
        return
      case 'credential.absent':
        this.#credentials.set(name('credential'), 'absent')
        return
    }
  }

  #decision(entry: Members, at: number): void {
    if (entry['kind'] === 'decision' && entry['outcome'] !== 'permit') return
    const id = String(entry['id'] ?? entry['decision'])
    const permit = this.#permits.get(id) ?? entry
    this.#permits.set(id, permit)
    const { task, subject, action, resource } = permit['attempt'] as {
      task?: string
      subject: { type: string; id: string }
      action: { name: string }
      resource: { type: string; id: string }
    }
    assert.ok(!this.#endedTasks.has(task ?? ''), `C2 ${id} is permitted under a task that has ended`)
    assert.ok(
      !this.#endedGrants.has(String(permit['grant'])),
      `C2 ${id} is permitted by a grant that has ended`,
    )
    const until = this.#locked.get(`${subject.type}/${subject.id}`) ?? 0
    assert.ok(at >= until, `C2 ${id} is permitted to a subject that is locked`)
    const locks = [`tool ${action.name}`, `resource ${resource.type}/${resource.id}`, `task ${task}`]
    for (const lock of locks)
      assert.ok(at >= (this.#under.get(lock) ?? 0), `C2 ${id} is permitted under a lock`)
    const fact = (what: string): Members | null | undefined =>
      this.#facts.get(`${what} ${subject.type}/${subject.id}`)
    if (action.name === 'db:look')
      assert.equal(
        fact('posture')?.['compliant'],
        true,
        `C2 ${id} is permitted on a device that is not compliant`,
      )
    if (action.name === 'db:stow')
      assert.notEqual(fact('risk')?.['level'], 3, `C2 ${id} is permitted to a subject that is a risk`)
  }

  #activated(entry: Members): void {
    const decision = this.#permits.get(String(entry['decision']))
    assert.ok(decision !== undefined, 'C1 a grant begins with a recorded permit')
    const given = (entry['approvals'] as { root: string }[]).map(({ root }) => root)
    assert.equal(new Set(given).size, given.length, 'C4 a person counts once')
    const roots = decision['roots'] as string[]
    assert.ok(!given.some((root) => roots.includes(root)), 'C4 nobody behind a request counts')
    const request = entry['request']
    if (typeof request !== 'string') return
    assert.equal(this.#spent.get(request), undefined, 'C9 an approval is spent once')
    this.#spent.set(request, String(entry['grant']))
  }
}
