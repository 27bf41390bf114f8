/**
 * What must hold of what a proof shows, by the laws alone: lives that follow each other, evidence that was given for what
 * it served, ends that were kept. Judged from the entries, without the code that wrote them.
 *
 * @module
 */
import { attemptStatement } from '../model/attempt.ts'
import type { Attempt } from '../model/attempt.ts'
import type { Entity } from '../model/entity.ts'
import { defaultKind, refKey } from '../model/entity.ts'
import type { Window } from '../model/calendar.ts'
import type { Task } from '../model/task.ts'
import { inScope } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { toRfc3339 } from '../model/time.ts'
import { digestOfText } from './bundle.ts'
import type { Finding, Proven, ProvenRecord } from './bundle.ts'
import { rewrite } from './verify.ts'

/** How long after the end of a grant its ending may still be unrecorded. */
const SWEPT_WITHIN = 60_000
/** How long it counts that somebody has proved that it is them. */
const PROVED_FOR = 5 * 60_000

type Members = Readonly<Record<string, unknown>>

/** What was found wrong, and what nothing here shows. */
export type Judgement = Readonly<{
  failures: readonly Finding[]
  notShown: readonly string[]
  checked: readonly string[]
}>

/** Entries of one life. */
export type Lives = Readonly<{
  decisions: ReadonlyMap<string, Proven>
  /** Decisions that have no id of their own. */
  nameless: readonly Proven[]
  grants: ReadonlyMap<string, Life>
  credentials: ReadonlyMap<string, Life>
  requests: ReadonlyMap<string, Life>
  tasks: ReadonlyMap<string, Life>
}>
export type Life = Readonly<{ id: string; entries: readonly Proven[] }>

const text = (entry: Members, name: string): string | undefined => {
  const value = entry[name]
  return typeof value === 'string' ? value : undefined
}
const number = (entry: Members, name: string): number | undefined => {
  const value = entry[name]
  return typeof value === 'number' ? value : undefined
}
const members = (value: unknown): Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {}
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const texts = (value: unknown): readonly string[] => list(value).filter((one) => typeof one === 'string')

/** The first entry of a kind in a life, and every one. */
export const first = (life: Life | undefined, kind: string): Proven | undefined =>
  life?.entries.find((one) => one.kind === kind)
export const every = (life: Life | undefined, kind: string): readonly Proven[] =>
  life?.entries.filter((one) => one.kind === kind) ?? []

/** What people give for a request belongs to its life. */
const EVIDENCE: readonly string[] = ['approval.given', 'reauth.given']

/** Sorts entries by what they are about. */
export function livesOf(entries: readonly Proven[]): Lives {
  const decisions = new Map<string, Proven>()
  const nameless: Proven[] = []
  const lives = { grant: new Map(), credential: new Map(), request: new Map(), task: new Map() } as Record<
    'grant' | 'credential' | 'request' | 'task',
    Map<string, { id: string; entries: Proven[] }>
  >
  for (const proven of entries) {
    const { kind, entry } = proven
    if (kind === 'decision') {
      const id = text(entry, 'id')
      if (id === undefined || decisions.has(id)) nameless.push(proven)
      else decisions.set(id, proven)
      continue
    }
    const family = EVIDENCE.includes(kind) ? 'request' : kind.slice(0, kind.indexOf('.'))
    if (!Object.hasOwn(lives, family)) continue
    const of = lives[family as keyof typeof lives]
    const id = text(entry, family)
    if (id === undefined) continue
    const life = of.get(id) ?? { id, entries: [] }
    life.entries.push(proven)
    of.set(id, life)
  }
  return {
    decisions,
    nameless,
    grants: lives.grant,
    credentials: lives.credential,
    requests: lives.request,
    tasks: lives.task,
  }
}

export const digestOfJson = (value: unknown): string => digestOfText(rewrite(value))

export function judgeLives(record: ProvenRecord): Judgement {
  const judge = new Judge(record)
  judge.all()
  return judge
}

class Judge implements Judgement {
  readonly failures: Finding[] = []
  readonly notShown: string[] = []
  readonly checked: string[] = []
  readonly #record: ProvenRecord
  readonly #lives: Lives
  readonly #installation: string | undefined

  constructor(record: ProvenRecord) {
    this.#record = record
    this.#lives = livesOf(record.entries)
    const made = record.entries.find(({ kind }) => kind === 'installation.made')
    this.#installation = made && text(made.entry, 'installation')
  }

  all(): void {
    const { decisions, grants, credentials, requests, tasks } = this.#lives
    const before = this.failures.length
    const passed = (count: number, what: string): void => {
      if (count > 0 && this.failures.length === before) this.checked.push(what)
    }
    if (this.#installation === undefined)
      this.#bad('entry 0', 'the entry that names the installation is missing')
    for (const { seq, at } of this.#record.entries)
      if (at > this.#record.madeAt) {
        this.#bad('file', `says that it was made before entry ${seq}`)
        break
      }
    for (const { seq } of this.#lives.nameless)
      this.#bad(`entry ${seq}`, 'is a decision without an id of its own')
    for (const [id, decision] of decisions) this.#decision(id, decision)
    for (const life of requests.values()) this.#request(life)
    for (const life of grants.values()) this.#grant(life)
    for (const life of credentials.values()) this.#credential(life)
    for (const life of tasks.values()) this.#task(life)
    this.#spentOnce()
    this.#policies()
    for (const { seq, entry } of this.#record.entries)
      for (const place of texts(entry['cut']))
        this.notShown.push(`entry ${seq}: what stood at ${place} is not here`)
    passed(
      grants.size,
      'every grant ends within its bounds, serves only what it was given for, and no longer',
    )
    passed(
      requests.size,
      'every approval is by a distinct person who had no part in the request, for this statement, and was spent once',
    )
    passed(credentials.size, 'no credential outlives its grant; what has gone was verified absent')
  }

  #bad(where: string, why: string): void {
    this.failures.push({ where, why })
  }

  /**
   * Retention may have taken it, if it took some entry between these two that is not here; otherwise it was kept back.
   */
  #lacks(where: string, what: string, after = -1, before = Infinity): void {
    if (mayBePruned(this.#record, after, before))
      this.notShown.push(`${where}: ${what} is not here; retention may have pruned it`)
    else this.#bad(where, `${what} is missing`)
  }

  #decision(id: string, { seq, at, entry }: Proven): void {
    const where = `decision ${id}`
    const attempt = attemptOf(entry)
    if (attempt === undefined) {
      if (entry['outcome'] === 'permit') this.#bad(where, 'permits what is not here')
      else this.notShown.push(`${where}: its attempt is not here`)
      return
    }
    if (this.#installation !== undefined) {
      const digest = digestOfJson(attemptStatement(this.#installation, attempt))
      if (digest !== entry['attempt_digest']) this.#bad(where, 'the digest of its attempt is another')
    }
    if (entry['outcome'] !== 'permit') return
    const founding = this.#isFounding(seq, entry)
    if (entry['says'] !== 'permit' && !founding) this.#bad(where, 'permits, although policy did not')
    if (entry['policy'] === 'none' && !founding) this.#bad(where, 'permits without a policy')
    if (attempt.task !== undefined) this.#under(where, attempt, seq, at)
    this.#counts(where, entry, attempt, seq)
    const grant = text(entry, 'grant')
    const { approvals, reauth } = members(entry['evidence'])
    if (grant === undefined) {
      if (list(approvals).length + list(reauth).length > 0)
        this.#bad(where, 'permits on evidence without a grant that it was spent into')
      return
    }
    if (number(entry, 'grant_used') === undefined)
      this.#bad(where, `does not count its use of grant ${grant}`)
    const life = this.#lives.grants.get(grant)
    const activated = first(life, 'grant.activated')
    if (activated === undefined)
      return this.#lacks(where, `grant ${grant}, under which it permits,`, -1, seq + 2)
    if (text(activated.entry, 'decision') !== id && activated.seq > seq)
      this.#bad(where, `permits under grant ${grant} before it was given`)
    const obligations = members(entry['obligations'])
    if (obligations['binding'] === 'attempt' && activated.entry['binding'] !== 'attempt')
      this.#bad(where, `needs a grant for this attempt alone, which grant ${grant} is not`)
    if (at >= activated.at + (number(obligations, 'ttl') ?? Infinity))
      this.#bad(where, `permits later than its policy allows after grant ${grant} was given`)
    const approved = list(activated.entry['approvals']).map(members)
    for (const { pool, root } of list(approvals).map(members))
      if (!approved.some((one) => one['pool'] === pool && one['root'] === root))
        this.#bad(where, `counts an approval of ${String(root)} that grant ${grant} was not given on`)
    const proofs = list(activated.entry['reauth']).map(rewrite)
    for (const one of list(reauth))
      if (!proofs.includes(rewrite(one)))
        this.#bad(
          where,
          `counts a proof of ${String(members(one)['person'])} that grant ${grant} was not given on`,
        )
    if (list(reauth).length > 0 && activated.entry['binding'] !== 'attempt')
      this.#bad(where, 'counts for a whole task what people proved for one act')
    const endsAt = endsAtAt(life, seq)
    if (endsAt !== undefined && at >= endsAt) this.#bad(where, `permits after the end of grant ${grant}`)
    const ended = first(life, 'grant.ended')
    if (ended !== undefined && ended.seq < seq)
      this.#bad(where, `permits although grant ${grant} had ended in entry ${ended.seq}`)
    const giving = this.#lives.decisions.get(text(activated.entry, 'decision') ?? '')
    if (giving === undefined) return
    const given = attemptOf(giving.entry)
    if (activated.entry['binding'] === 'attempt') {
      if (giving.entry['attempt_digest'] !== entry['attempt_digest'])
        this.#bad(where, `grant ${grant} was given for another attempt`)
    } else if (given?.task !== attempt.task) {
      this.#bad(where, `grant ${grant} was given for another task`)
    }
    if (given !== undefined && chainOf(given) !== chainOf(attempt))
      this.#bad(where, `grant ${grant} was given to others`)
  }

  /** Policy was told of no more evidence than there was. */
  #counts(where: string, entry: Members, attempt: Attempt, seq: number): void {
    const proof = members(entry['proof'])
    const evidence = members(entry['evidence'])
    const approvals = list(evidence['approvals']).map(members)
    for (const [pool, count] of Object.entries(members(proof['approvals']))) {
      const given = approvals.filter((one) => one['pool'] === pool).length
      if (!(typeof count === 'number' && count <= given))
        this.#bad(where, `counts ${String(count)} approvals of \`${pool}\`, ${given} were given`)
    }
    if (proof['reauth'] === true) {
      const proved = list(evidence['reauth']).map((one) => members(one)['person'])
      const people = this.#people(attempt, seq)
      if (proved.length === 0 || people.some((person) => !proved.includes(person)))
        this.#bad(where, 'counts a proof that it is them that people behind it did not give')
    }
    if (proof['justification'] !== true || evidence['justification'] === true) return
    const declared = first(this.#lives.tasks.get(attempt.task ?? ''), 'task.declared')
    if (attempt.task !== undefined && declared === undefined) return
    const { reason } = members(declared?.entry['declared'])
    if (typeof reason !== 'string' || reason === '')
      this.#bad(where, 'counts a justification that nobody gave')
  }

  /** The parties of the chain that are people. */
  #people(attempt: Attempt, seq: number): readonly string[] {
    return attempt.chain
      .filter((ref) => (this.#entityAt(refKey(ref), seq)?.kind ?? defaultKind(ref.type)) === 'human')
      .map(refKey)
  }

  /** People who are behind an attempt: parties of its chain, or whose they are. */
  #behind(attempt: Attempt | undefined, seq: number): readonly string[] {
    const people: string[] = []
    for (const party of attempt?.chain ?? []) {
      let key = refKey(party)
      for (let depth = 0; depth < 16; depth += 1) {
        const entity = this.#entityAt(key, seq)
        if (entity?.kind === 'human') people.push(key)
        if (entity?.owner === undefined || entity.kind === 'human' || entity.kind === 'group') break
        key = refKey(entity.owner)
      }
    }
    return people
  }

  /** Before anybody published, administrators set Writ up; nothing else is ever permitted without policy. */
  #isFounding(seq: number, entry: Members): boolean {
    return (
      entry['policy'] === 'none' &&
      attemptOf(entry)?.action.name.startsWith('Writ::') === true &&
      !this.#record.entries.some((one) => one.kind === 'policy.published' && one.seq < seq)
    )
  }

  /** The task that an attempt names was open to it, and so were those above. */
  #under(where: string, attempt: Attempt, seq: number, at: Instant): void {
    let id = attempt.task
    for (let depth = 0; id !== undefined && depth < 64; depth += 1) {
      const life: Life | undefined = this.#lives.tasks.get(id)
      const declared = first(life, 'task.declared')
      if (declared === undefined) return this.#lacks(where, `task ${id}`, -1, seq)
      const task = declared.entry['declared'] as Partial<Task> | undefined
      if (task?.scope === undefined)
        return void this.notShown.push(`${where}: the scope of task ${id} is not here`)
      if (declared.seq > seq) this.#bad(where, `permits under task ${id} before it was declared`)
      const ended = first(life, 'task.ended')
      if (ended !== undefined && ended.seq < seq)
        this.#bad(where, `permits although task ${id} had ended in entry ${ended.seq}`)
      if (!inScope(task.scope, attempt.action.name, attempt.resource))
        this.#bad(where, `lies outside the scope of task ${id}`)
      const window = windowAt(life, task, seq)
      if (at >= (window?.endsAt ?? Infinity)) this.#bad(where, `permits after the window of task ${id}`)
      if (at < (window?.startsAt ?? -Infinity)) this.#bad(where, `permits before the window of task ${id}`)
      id = task.parent
    }
  }

  #request(life: Life): void {
    const where = `request ${life.id}`
    const submitted = first(life, 'request.submitted')
    if (submitted === undefined) return this.#lacks(where, 'its submission', -1, life.entries[0]?.seq)
    const { entry } = submitted
    const digest = text(entry, 'digest')
    const decision = this.#lives.decisions.get(text(entry, 'decision') ?? '')
    const isWhole = entry['statement'] !== undefined && members(entry['statement'])['$digest'] === undefined
    if (!isWhole) this.notShown.push(`${where}: its statement is not here`)
    else if (digestOfJson(entry['statement']) !== digest)
      this.#bad(where, 'its digest is not that of its statement')
    const settled = life.entries.filter(({ kind }) =>
      ['request.approved', 'request.denied', 'request.ended'].includes(kind),
    )
    if (settled.length > 1) this.#bad(where, 'was settled more than once')
    const barred = new Set([...texts(entry['roots']), text(entry, 'by') ?? ''])
    for (const one of this.#behind(decision && attemptOf(decision.entry), submitted.seq)) barred.add(one)
    const roots = new Set<string>()
    for (const approval of every(life, 'approval.given')) {
      const by = text(approval.entry, 'by') ?? ''
      const place = `entry ${approval.seq}`
      if (roots.has(by)) this.#bad(place, `${by} approved twice`)
      roots.add(by)
      if (barred.has(by)) this.#bad(place, `${by} approved what they asked for or own`)
      if (text(approval.entry, 'statement') !== digest) this.#bad(place, `${by} approved another statement`)
      if (approval.seq < submitted.seq) this.#bad(place, 'was given before it was asked for')
    }
    const people = (decision && attemptOf(decision.entry))?.chain.map(refKey)
    for (const { seq, at, entry: given } of every(life, 'reauth.given')) {
      const [place, person] = [`entry ${seq}`, text(given, 'person') ?? '']
      if (text(given, 'statement') !== digest) this.#bad(place, `${person} proved it for another statement`)
      if (seq < submitted.seq) this.#bad(place, 'was given before it was asked for')
      if (!((number(given, 'ends_at') ?? Infinity) <= at + PROVED_FOR))
        this.#bad(place, 'counts for longer than five minutes')
      if (people?.includes(person) === false) this.#bad(place, `${person} has no part in what is asked for`)
    }
    const approved = first(life, 'request.approved')
    for (const by of texts(approved?.entry['by']))
      if (!roots.has(by)) this.#lacks(where, `the approval of ${by}`, submitted.seq, approved?.seq)
    if (decision === undefined) return this.#lacks(where, 'the denial that it asks about', -1, submitted.seq)
    if (isWhole) this.#covers(where, members(entry['statement']), decision)
  }

  /** Evidence serves only an attempt that lies inside the statement it was given for (law 10). */
  #covers(where: string, statement: Members, { entry }: Proven): void {
    const attempt = attemptOf(entry)
    if (attempt === undefined || this.#installation === undefined) return
    if (statement['installation'] !== this.#installation)
      this.#bad(where, 'its statement was made for another installation')
    const exact = attemptStatement(this.#installation, attempt) as Members
    if (statement['kind'] === 'attempt') {
      const wrong = Object.keys(exact).find(
        (name) => exact[name] !== undefined && rewrite(exact[name]) !== rewrite(statement[name] ?? null),
      )
      if (wrong !== undefined) this.#bad(where, `its statement has another \`${wrong}\` than the attempt`)
      return
    }
    const covered =
      statement['task'] === attempt.task &&
      statement['subject'] === refKey(attempt.subject) &&
      rewrite(statement['chain'] ?? null) === rewrite(exact['chain'] ?? null) &&
      texts(statement['actions']).includes(attempt.action.name) &&
      [refKey(attempt.resource), `${attempt.resource.type} (any)`].some((one) =>
        texts(statement['resources']).includes(one),
      )
    if (!covered) this.#bad(where, 'its statement does not cover the attempt')
  }

  #grant(life: Life): void {
    const where = `grant ${life.id}`
    const activated = first(life, 'grant.activated')
    if (activated === undefined) return this.#lacks(where, 'its activation', -1, life.entries[0]?.seq)
    if (every(life, 'grant.activated').length > 1) this.#bad(where, 'was given twice')
    const { entry, at, seq } = activated
    const decision = this.#lives.decisions.get(text(entry, 'decision') ?? '')
    if (decision === undefined) this.#lacks(where, 'its decision', -1, seq)
    else {
      if (decision.entry['outcome'] !== 'permit' || decision.entry['grant'] !== life.id)
        this.#bad(where, 'its decision did not permit it')
      if (decision.at !== at) this.#bad(where, 'was given at another time than it was decided')
      this.#bounds(where, life, activated, decision)
      this.#evidence(where, activated, decision)
    }
    const request = text(entry, 'request')
    if (
      request === undefined &&
      decision !== undefined &&
      entry['statement'] !== decision.entry['attempt_digest']
    )
      this.#bad(where, 'its statement is not its attempt')

    const ended = first(life, 'grant.ended')
    const closed = first(life, 'grant.closed')
    if (every(life, 'grant.ended').length > 1) this.#bad(where, 'ended twice')
    if (ended !== undefined && ended.seq < seq) this.#bad(where, 'ended before it was given')
    const endsAt = endsAtAt(life, Infinity)
    if (ended === undefined) {
      if (closed !== undefined) this.#lacks(where, 'its ending', seq, closed.seq)
      else if (endsAt !== undefined && this.#record.madeAt > endsAt + SWEPT_WITHIN)
        this.#lacks(where, `its ending, due at ${toRfc3339(endsAt)},`, seq)
    }
    if (closed !== undefined)
      for (const { id, entries } of this.#lives.credentials.values())
        if (
          ofGrant(entries, life.id) &&
          !entries.some((one) => one.kind === 'credential.absent' && one.seq < closed.seq)
        )
          this.#lacks(where, `the absence of credential ${id}, although it was closed,`, seq, closed.seq)
    this.#uses(where, life, activated, ended)
  }

  /** Every use is counted in the decision that spent it, so none can be left out unseen. */
  #uses(where: string, life: Life, activated: Proven, ended: Proven | undefined): void {
    const allowed = number(activated.entry, 'uses')
    let [used, before] = [0, activated.seq - 2]
    const permits = [...this.#lives.decisions.values()].filter(
      ({ entry }) => entry['outcome'] === 'permit' && entry['grant'] === life.id,
    )
    for (const { seq, entry } of permits.toSorted((a, b) => a.seq - b.seq)) {
      const now = number(entry, 'grant_used')
      if (now === undefined) continue
      if (now !== used && now !== used + 1) this.#lacks(where, `a use before entry ${seq}`, before, seq)
      ;[used, before] = [now, seq]
      if (allowed !== undefined && used > allowed)
        this.#bad(where, `was used ${used} times, ${allowed} were allowed`)
    }
    const total = ended === undefined ? undefined : number(ended.entry, 'used')
    if (ended !== undefined && total === undefined) this.#bad(where, 'ended without counting its uses')
    if (total !== undefined && total !== used)
      this.#lacks(where, `a use: it ended after ${total}, ${used} are here;`, before, ended?.seq)
  }

  /** Law 3: no later than the earliest of its ttl, its tasks' ends, their windows' and its subject's. */
  #bounds(where: string, life: Life, activated: Proven, decision: Proven): void {
    const endsAt = number(activated.entry, 'ends_at')
    if (endsAt === undefined) return this.#bad(where, 'has no end')
    const late = (bound: number | undefined, what: string): void => {
      if (bound !== undefined && endsAt > bound) this.#bad(where, `ends after ${what}`)
    }
    const obligations = members(decision.entry['obligations'])
    const ttl = number(obligations, 'ttl')
    late(ttl === undefined ? undefined : activated.at + ttl, 'what policy allows')
    const request = this.#lives.requests.get(text(activated.entry, 'request') ?? '')
    const statement = members(first(request, 'request.submitted')?.entry['statement'])
    const asked = number(statement, 'ttl_ms')
    late(asked === undefined ? undefined : activated.at + asked, 'what was approved')
    const uses = number(statement, 'uses')
    const allowed = number(activated.entry, 'uses')
    if ((allowed ?? Infinity) > (uses ?? Infinity)) this.#bad(where, 'has more uses than were approved')
    if ((allowed ?? Infinity) > (number(obligations, 'uses') ?? Infinity))
      this.#bad(where, 'has more uses than policy allows')
    if (typeof statement['kind'] === 'string' && statement['kind'] !== activated.entry['binding'])
      this.#bad(where, 'is bound to something else than was approved')
    if (activated.entry['binding'] === 'attempt' && allowed !== 1)
      this.#bad(where, 'is bound to an attempt and has not one use')
    const attempt = attemptOf(decision.entry)
    let id = attempt?.task
    for (let depth = 0; id !== undefined && depth < 64; depth += 1) {
      const task = first(this.#lives.tasks.get(id), 'task.declared')?.entry['declared'] as
        | Partial<Task>
        | undefined
      late(windowAt(this.#lives.tasks.get(id), task, activated.seq)?.endsAt, `the window of task ${id}`)
      // it opened at this permit or before
      late(task?.life === undefined ? undefined : activated.at + task.life, `the life of task ${id}`)
      id = task?.parent
    }
    const subject = attempt && this.#entityAt(refKey(attempt.subject), activated.seq)
    late(subject?.endsAt, 'its subject')
    let end = endsAt
    for (const shortened of every(life, 'grant.shortened')) {
      const now = number(shortened.entry, 'ends_at')
      if (now === undefined || now > end) this.#bad(where, `was lengthened in entry ${shortened.seq}`)
      else end = now
    }
  }

  /** What the inventory said of an entity before `seq`. */
  #entityAt(key: string, seq: number): Entity | undefined {
    return this.#record.entries
      .filter((one) => one.seq < seq)
      .flatMap(({ entry }) => list(entry['entities']) as Entity[])
      .findLast((entity) => typeof entity === 'object' && entity !== null && refKey(entity) === key)
  }

  #evidence(where: string, activated: Proven, decision: Proven): void {
    const evidence = members(decision.entry['evidence'])
    const approvals = list(evidence['approvals']).map(members)
    const request = text(activated.entry, 'request')
    const roots = texts(approvals.map(({ root }) => root))
    if (new Set(roots).size !== roots.length) this.#bad(where, 'counts one person twice')
    const barred = new Set(texts(decision.entry['roots']))
    for (const one of this.#behind(attemptOf(decision.entry), decision.seq)) barred.add(one)
    for (const root of roots)
      if (barred.has(root)) this.#bad(where, `counts ${root}, who asked for it or owns it`)
    if (
      rewrite(list(activated.entry['approvals'])) !==
      rewrite(approvals.map(({ pool, root }) => ({ pool, root })))
    )
      this.#bad(where, 'was given on other approvals than it was decided on')
    const reauth = list(evidence['reauth'])
    if (rewrite(list(activated.entry['reauth'])) !== rewrite(reauth))
      this.#bad(where, 'was given on other proofs than it was decided on')
    if (request === undefined) {
      if (roots.length + reauth.length > 0) this.#bad(where, 'has evidence of people without a request')
      return
    }
    const life = this.#lives.requests.get(request)
    if (life === undefined) return this.#lacks(where, `request ${request}`, -1, activated.seq)
    const submitted = first(life, 'request.submitted')
    if (submitted !== undefined) {
      if (activated.entry['statement'] !== submitted.entry['digest'])
        this.#bad(where, 'was given for another statement than was approved')
      const statement = members(submitted.entry['statement'])
      if (statement['$digest'] === undefined) this.#covers(`request ${request}`, statement, decision)
    }
    const approved = first(life, 'request.approved')
    if (approved === undefined)
      return this.#lacks(where, `the approval of request ${request}`, submitted?.seq, activated.seq)
    if (approved.seq > activated.seq) this.#bad(where, 'was given before its request was approved')
    if (!(activated.at < (number(approved.entry, 'activate_by') ?? 0)))
      this.#bad(where, 'was given after its approval had lapsed')
    const proofs = every(life, 'reauth.given')
    for (const { person, passkey } of reauth.map(members)) {
      const found = proofs.findLast(
        ({ entry, seq }) => seq < activated.seq && entry['person'] === person && entry['passkey'] === passkey,
      )
      if (found === undefined)
        this.#lacks(where, `the proof of ${String(person)} that it is them`, submitted?.seq, activated.seq)
      else if (!(activated.at < (number(found.entry, 'ends_at') ?? 0)))
        this.#bad(where, `was given after ${String(person)} had proved that it is them too long ago`)
      else if (found.entry['statement'] !== activated.entry['statement'])
        this.#bad(where, `counts what ${String(person)} proved for another statement`)
    }
    const given = every(life, 'approval.given')
    for (const one of approvals) {
      const found = given.find(
        ({ entry, seq }) =>
          seq < activated.seq && entry['by'] === one['root'] && entry['pool'] === one['pool'],
      )
      if (found === undefined)
        this.#lacks(
          where,
          `the approval of ${String(one['root'])} for \`${String(one['pool'])}\``,
          submitted?.seq,
          approved.seq,
        )
    }
  }

  /** Law 9: an approval is spent into one grant. */
  #spentOnce(): void {
    const spent = new Map<string, string>()
    for (const life of this.#lives.grants.values()) {
      const request = text(first(life, 'grant.activated')?.entry ?? {}, 'request')
      if (request === undefined) continue
      const other = spent.get(request)
      if (other !== undefined)
        this.#bad(`request ${request}`, `was spent into grant ${other} and grant ${life.id}`)
      spent.set(request, life.id)
    }
  }

  #credential(life: Life): void {
    const where = `credential ${life.id}`
    const planned = first(life, 'credential.planned')
    if (planned === undefined)
      return this.#lacks(where, 'the plan that came before it', -1, life.entries[0]?.seq)
    for (const { kind, seq } of life.entries)
      if (seq < planned.seq) this.#bad(where, `\`${kind}\` in entry ${seq} came before its plan`)
    const live = first(life, 'credential.live')
    const absent = first(life, 'credential.absent')
    if (live !== undefined && absent !== undefined && live.seq > absent.seq)
      this.#bad(where, 'lived after it was verified absent')
    const grant = [...this.#lives.grants.values()].find(({ id }) => planned.refs.includes(id))
    const activated = first(grant, 'grant.activated')
    if (grant === undefined || activated === undefined)
      return this.#lacks(where, 'its grant', -1, planned.seq)
    const endsAt = number(planned.entry, 'ends_at')
    if (endsAt === undefined || endsAt > (endsAtAt(grant, planned.seq) ?? Infinity))
      this.#bad(where, `ends after grant ${grant.id}`)
    const ended = first(grant, 'grant.ended')
    if (ended !== undefined && live !== undefined && live.seq > ended.seq)
      this.#bad(where, `was handed out although grant ${grant.id} had ended`)
    const issued = [...this.#lives.decisions.values()].some(
      ({ seq, entry }) => entry['outcome'] === 'permit' && entry['grant'] === grant.id && seq < planned.seq,
    )
    if (!issued) this.#lacks(where, 'the decision to issue it', -1, planned.seq)
  }

  #task(life: Life): void {
    const where = `task ${life.id}`
    const declared = first(life, 'task.declared')
    if (declared === undefined) return this.#lacks(where, 'its declaration', -1, life.entries[0]?.seq)
    if (every(life, 'task.ended').length > 1) this.#bad(where, 'ended twice')
    const task = declared.entry['declared'] as Partial<Task> | undefined
    let window = task?.window
    for (const { entry, seq } of every(life, 'task.narrowed')) {
      const left = entry['window'] as Partial<Window> | undefined
      const { startsAt, endsAt } = { startsAt: left?.startsAt ?? NaN, endsAt: left?.endsAt ?? NaN }
      if (window === undefined || !(startsAt >= window.startsAt && endsAt <= window.endsAt))
        this.#bad(where, `its window was widened in entry ${seq}`)
      else window = { startsAt, endsAt }
    }
    const parent = task?.parent
    if (parent === undefined) return
    const above = first(this.#lives.tasks.get(parent), 'task.declared')
    if (above === undefined)
      return this.#lacks(where, `task ${parent}, under which it stands,`, -1, declared.seq)
    const outer = above.entry['declared'] as Partial<Task> | undefined
    const scope = task?.scope
    if (scope === undefined || outer?.scope === undefined) return
    const inside =
      scope.actions.every((action) => outer.scope?.actions.includes(action)) &&
      scope.resources.every((c) =>
        outer.scope?.resources.some((p) => p.type === c.type && (p.id === undefined || p.id === c.id)),
      )
    if (!inside) this.#bad(where, `reaches beyond task ${parent}`)
  }

  /** Every decision ran the policy set that was in force by the entries before it. */
  #policies(): void {
    const published = this.#record.entries.filter(({ kind }) => kind === 'policy.published')
    const known = new Set(this.#record.policies.map(({ version }) => version))
    for (const [id, { seq, entry }] of this.#lives.decisions) {
      const version = text(entry, 'policy')
      if (version === undefined || version === 'none') continue
      const where = `decision ${id}`
      // a lock, an end or a bound may have denied before any policy was asked
      if (entry['says'] !== undefined && !known.has(version))
        this.#bad(where, `the text of policy ${version.slice(0, 12)} is missing`)
      const last = published.findLast((one) => one.seq < seq)
      if (last === undefined) this.#bad(where, `the publication of policy ${version.slice(0, 12)} is missing`)
      else if (last.entry['policy'] !== version)
        this.#bad(where, `ran policy ${version.slice(0, 12)}, which entry ${last.seq} had replaced`)
    }
    for (const { seq, entry } of published) {
      const agreed = texts(entry['agreed_by'])
      if (agreed.length === 0 || new Set(agreed).size !== agreed.length)
        this.#bad(`entry ${seq}`, 'names nobody, or one twice, who agreed')
    }
  }
}

/** Whether retention took some entry between `after` and `before` that is not here: what is missing may have been it. */
export function mayBePruned(record: ProvenRecord, after: number, before: number): boolean {
  return record.prunings.some(({ from, to, except }) => {
    const [first_, last] = [Math.max(from, after + 1), Math.min(to, before) - 1]
    const there = new Set(except.filter((seq) => seq >= first_ && seq <= last))
    for (const { seq } of record.entries) if (seq >= first_ && seq <= last) there.add(seq)
    return last - first_ + 1 > there.size
  })
}

export function attemptOf(entry: Members): Attempt | undefined {
  const attempt = entry['attempt'] as (Partial<Attempt> & Readonly<{ $digest?: string }>) | undefined
  return attempt?.subject === undefined ||
    attempt.action === undefined ||
    attempt.resource === undefined ||
    attempt.context === undefined
    ? undefined
    : (attempt as Attempt)
}

const chainOf = (attempt: Attempt): string => rewrite(attempt.chain)

const ofGrant = (entries: readonly Proven[], grant: string): boolean =>
  entries.some(({ refs }) => refs.includes(grant))

/** When a grant was to end, by what is recorded before `seq`. */
export function endsAtAt(life: Life | undefined, seq: number): Instant | undefined {
  const said = life?.entries.findLast(
    (one) =>
      (one.kind === 'grant.activated' || one.kind === 'grant.shortened') &&
      (one.seq <= seq || one.kind === 'grant.activated'),
  )
  return said && number(said.entry, 'ends_at')
}

/** The window of a task as it was when entry `seq` was made: what calendars had narrowed by then. */
function windowAt(life: Life | undefined, task: Partial<Task> | undefined, seq: number): Window | undefined {
  const narrowed = every(life, 'task.narrowed').findLast((one) => one.seq < seq)
  return (narrowed?.entry['window'] as Window | undefined) ?? task?.window
}
