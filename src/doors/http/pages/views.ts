/**
 * What the pages show. Words that a requester or agent wrote are quoted and marked as theirs (B24).
 *
 * @module
 */
import type { Json } from '../../../model/canonical.ts'
import type { EntityRef } from '../../../model/entity.ts'
import { refKey } from '../../../model/entity.ts'
import type { AccessRequest, RequirementSet } from '../../../model/request.ts'
import { mayBeProved, provedAt, proversOf } from '../../../model/request.ts'
import type { Instant, Millis } from '../../../model/time.ts'
import { HOUR, MINUTE, SECOND, toRfc3339 } from '../../../model/time.ts'
import type { Grounds } from '../../../flows/facts.ts'
import type { ListedRequest } from '../../../flows/port.ts'
import type { Fact } from '../../../model/fact.ts'
import { isFresh } from '../../../model/fact.ts'
import type { Problem } from '../../../wire/problem.ts'
import type { Html } from './html.ts'
import { markup } from './html.ts'
import type { Offer } from './passkey-form.ts'
import { passkeyForm } from './passkey-form.ts'

/** `script` is for pages that ask for a passkey; `to` leads on by itself. */
type Frame = Readonly<{
  title: string
  person?: EntityRef | undefined
  narrow?: boolean
  script?: boolean
  to?: string
}>

export function frame({ title, person, narrow, script, to }: Frame, content: Html): string {
  return markup`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · Writ</title>
        <link rel="icon" href="/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/style.css" />
        ${script === true ? markup`<script src="/passkey.js" defer></script>` : undefined}
        ${to === undefined ? undefined : markup`<meta http-equiv="refresh" content="0;url=${to}" />`}
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header class="top">
          <a class="brand" href="/inbox"><img src="/icon.svg" alt="" width="24" height="24" />Writ</a>
          ${
            person === undefined
              ? undefined
              : markup`<a class="who" href="/passkeys">${person.id}</a>
                  <form method="post" action="/signout"><button class="quiet">Sign out</button></form>`
          }
        </header>
        <main id="main"${narrow === true ? markup` class="narrow"` : undefined}>${content}</main>
      </body>
    </html> `.toString()
}

/** `4 min 51 s`, `2 h 5 min`; the two largest units, rounded down. */
export function spell(millis: Millis): string {
  const left = Math.max(0, millis)
  if (left < MINUTE) return `${Math.floor(left / SECOND)} s`
  if (left < HOUR) {
    const seconds = Math.floor((left % MINUTE) / SECOND)
    return `${Math.floor(left / MINUTE)} min${seconds === 0 ? '' : ` ${seconds} s`}`
  }
  const minutes = Math.floor((left % HOUR) / MINUTE)
  return `${Math.floor(left / HOUR)} h${minutes === 0 ? '' : ` ${minutes} min`}`
}

const units = [
  [24 * HOUR, 'd'],
  [HOUR, 'h'],
  [MINUTE, 'min'],
  [SECOND, 's'],
  [1, 'ms'],
] as const

/** `1 h 1 min 1 s`: nothing is rounded. */
function spellOut(millis: Millis): string {
  let left = millis
  const parts = units.flatMap(([size, unit]) => {
    const count = Math.floor(left / size)
    left -= count * size
    return count === 0 ? [] : [`${count} ${unit}`]
  })
  return parts.length === 0 ? '0 s' : parts.join(' ')
}

export function clockTime(at: Instant): Html {
  const text = toRfc3339(at)
  return markup`<time datetime="${text}">${text.slice(0, 10)} ${text.slice(11, 19)} UTC</time>`
}

export function thing(ref: EntityRef): Html {
  return markup`<bdi class="thing">${ref.id}</bdi> <span class="soft small">(${ref.type})</span>`
}

/** *Who* wants *what* on *which resource*. */
export function sentence(request: AccessRequest): Html {
  const { subject, action, resource } = request.attempt
  return markup`${thing(subject)} wants <bdi class="thing">${action.name}</bdi> on ${thing(resource)}`
}

/** A text in the statement. */
function saidIn({ statement }: AccessRequest, member: 'purpose' | 'reason'): string | undefined {
  if (typeof statement !== 'object' || statement === null || Array.isArray(statement)) return undefined
  const text = (statement as Readonly<Record<string, Json>>)[member]
  return typeof text === 'string' ? text : undefined
}

/** How long, how often, for which task. */
export function chips(request: AccessRequest): Html {
  const uses =
    request.binding === 'attempt'
      ? 'once'
      : request.uses === undefined
        ? 'whole task'
        : `${request.uses} uses`
  const asked = request.merged > 0 ? `asked ${request.merged + 1} times` : undefined
  const items = [`for ${spell(request.ttl)}`, uses, request.task, asked]
  const loud =
    request.emergency === true
      ? markup`<li class="chip loud"><strong>EMERGENCY</strong>, says the requester (not verified)</li>`
      : ''
  return markup`<ul class="chips">
    ${loud} ${items.filter((item) => item !== undefined).map((item) => markup`<li class="chip">${item}</li>`)}
  </ul>`
}

export function quotes(request: AccessRequest): Html[] {
  const parts: [string, string | undefined][] = [
    ['Purpose of the task, in the requester’s words', saidIn(request, 'purpose')],
    ['Reason, in the requester’s words', request.justification ?? saidIn(request, 'reason')],
    ['Asked with, in the requester’s words', request.client?.name ?? request.client?.id],
  ]
  return parts.flatMap(([label, said]) =>
    said === undefined || said === ''
      ? []
      : [
          markup`<div class="quote">
            <p class="label">${label} (not verified)</p>
            <p>${said}</p>
          </div>`,
        ],
  )
}

/** Whether `person` is asked to prove that it is them, and has not just done so. */
const asksProofOf = (person: EntityRef, request: AccessRequest, now: Instant): boolean =>
  mayBeProved(request, now) &&
  proversOf(request).includes(refKey(person)) &&
  !provedAt(request, now).some((proof) => proof.person === refKey(person))

function card(request: ListedRequest, waitsForMe: boolean, now: Instant): Html {
  return markup`<li class="card">
    <h2>${sentence(request)}</h2>
    ${chips(request)} ${quotes(request)}
    <div class="foot">
      <span class="soft small">Expires in ${spell(request.expiresAt - now)}</span>
      <a class="button${waitsForMe ? ' go' : ''}" href="/requests/${encodeURIComponent(request.id)}">Review</a>
    </div>
  </li>`
}

export function inboxPage(
  person: EntityRef,
  requests: readonly ListedRequest[],
  more: string | undefined,
  now: Instant,
): string {
  const waitsForMe = (request: ListedRequest): boolean =>
    request.mayApprove.length > 0 || asksProofOf(person, request, now)
  const mine = requests.filter(waitsForMe)
  const others = requests.filter((request) => !waitsForMe(request))
  const list = (items: readonly ListedRequest[]): Html =>
    markup`<ul class="cards">
      ${items.map((item) => card(item, waitsForMe(item), now))}
    </ul>`
  return frame(
    { title: mine.length === 0 ? 'Inbox' : `${mine.length} waiting`, person },
    markup`<h1>Waiting for you</h1>
      ${
        mine.length > 0
          ? list(mine)
          : markup`<div class="card empty">
              <h2>Nothing waits for you</h2>
              <p class="soft">
                A request appears here when somebody needs your approval and you may give it.
              </p>
              <p class="soft">
                To see one, ask for something: <code>writ request ACTION --on TYPE/ID --wait</code>
              </p>
            </div>`
      }
      ${
        others.length > 0
          ? markup`<h2>Also pending</h2>
              <p class="soft small">You asked for these, or others must approve them.</p>
              ${list(others)}`
          : undefined
      }
      ${more === undefined ? undefined : markup`<p><a href="/inbox?cursor=${encodeURIComponent(more)}">More</a></p>`}
      <p class="small">
        <a href="/inbox">Look again</a> <span class="soft">· as of ${clockTime(now)}</span>
      </p>`,
  )
}

const labels: ReadonlyMap<string, string> = new Map([
  ['kind', 'Covers'],
  ['ttl_ms', 'Lasts at most'],
  ['life_ms', 'Task lives at most'],
  ['uses', 'Uses'],
  ['calls', 'Calls at most'],
  ['chain', 'Acting chain'],
  ['purpose', 'Purpose (their words)'],
  ['reason', 'Reason (their words)'],
  ['justification', 'Justification (their words)'],
  ['starts_at', 'From'],
  ['ends_at', 'Until'],
])

function label(member: string): string {
  const words = member.replaceAll('_', ' ')
  return labels.get(member) ?? words.charAt(0).toUpperCase() + words.slice(1)
}

/** A name that others gave, as they spelled it: it must not read as if we had said it. */
const theirName = (name: string): Html => markup`<bdi class="mono">${name}</bdi>`

/**
 * Every member of a statement, whatever it holds: nothing that evidence is given for is left out. Below the statement's own
 * members, names and values are the requester's: `isOurs` is false.
 */
function shown(value: Json | undefined, member: string, isOurs: boolean): Html {
  if (isOurs && member === 'kind' && value === 'attempt') return markup`this one attempt`
  if (isOurs && member === 'kind' && value === 'task') return markup`a whole task, within these bounds`
  if (isOurs && typeof value === 'number' && member.endsWith('_ms')) {
    return markup`${spellOut(value)}`
  }
  if (value === null || typeof value === 'number' || typeof value === 'boolean')
    return markup`${String(value)}`
  if (typeof value === 'string') return markup`<bdi>${value}</bdi>`
  if (value === undefined) return markup``
  if (Array.isArray(value)) {
    if (value.length === 0) return markup`<span class="soft">none</span>`
    return markup`<ul>
      ${value.map((item: Json) => markup`<li>${shown(item, '', false)}</li>`)}
    </ul>`
  }
  const members = Object.entries(value as Record<string, Json>)
  const { type, id, name } = value as Record<string, Json>
  // what is nothing but a reference or a name reads as one
  if (members.length === 2 && typeof type === 'string' && typeof id === 'string') return thing({ type, id })
  if (member === 'action' && members.length === 1 && typeof name === 'string')
    return markup`<bdi>${name}</bdi>`
  if (members.length === 0) return markup`<span class="soft">none</span>`
  const areOurs = isOurs && ['', 'window'].includes(member)
  return markup`<dl>
    ${members.map(
      ([name, inner]) =>
        markup`<dt>${areOurs ? label(name) : theirName(name)}</dt>
          <dd>${shown(inner, name, areOurs)}</dd>`,
    )}
  </dl>`
}

/** The whole of what evidence is given for. */
export function asked(request: AccessRequest): Html {
  const { kind, ...rest } = (request.statement ?? {}) as Record<string, Json>
  return markup`${shown(kind === undefined ? rest : { kind, ...rest }, '', true)}
    <details>
      <summary>As signed</summary>
      <p class="small mono">${request.digest}</p>
      <pre><code>${visible(JSON.stringify(request.statement, undefined, 2))}</code></pre>
    </details>`
}

/** JSON in which what turns the direction of a line, or shows nothing, is written as an escape. */
const visible = (json: string): string =>
  json.replaceAll(
    /[\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

/** How a set of requirements reads, e.g. `2 approvals from peer and a reason`. */
function requirementText(set: RequirementSet): string {
  return set.requirements
    .map((r) => {
      if (r.kind === 'justification') return 'a reason'
      if (r.kind === 'reauth') return `the passkey of ${r.people.join(' and ')}`
      return `${r.count === 1 ? 'one approval' : `${r.count} approvals`} from ${r.pool}`
    })
    .join(' and ')
}

const statusSentence: Readonly<Record<AccessRequest['status'], string>> = {
  pending: 'This request is waiting.',
  approved: 'This request was approved.',
  denied: 'This request was denied.',
  expired: 'This request expired before it was settled.',
  cancelled: 'This request was cancelled.',
  failed: 'This request failed.',
}

/** How the request stands, once it is not simply waiting. */
function standing(request: AccessRequest, person: EntityRef, now: Instant): Html | undefined {
  if (request.status === 'pending') {
    if (!request.approvals.some((approval) => approval.person === refKey(person))) return undefined
    return markup`<div class="banner good" role="status">
      <p><strong>✓ Your approval counts.</strong> More are needed before the request is approved.</p>
    </div>`
  }
  if (request.status === 'approved') {
    return markup`<div class="banner good" role="status">
      <p><strong>✓ ${statusSentence.approved}</strong> ${usability(request, now)}</p>
    </div>`
  }
  if (request.status === 'denied') {
    const why = request.reason === undefined || request.reason === '' ? undefined : request.reason
    return markup`<div class="banner bad" role="status">
      <p><strong>✗ ${statusSentence.denied}</strong> ${why === undefined ? undefined : markup`Reason: <bdi>${why}</bdi>`}</p>
    </div>`
  }
  return markup`<div class="banner" role="status">
    <p><strong>${statusSentence[request.status]}</strong></p>
  </div>`
}

function usability({ grant, activateBy }: AccessRequest, now: Instant): Html | undefined {
  if (grant !== undefined) return markup`It has been used: <code>${grant}</code>.`
  if (activateBy === undefined) return undefined
  if (activateBy <= now) return markup`Nobody used it in time.`
  return markup`It can be used for ${spell(activateBy - now)} more (until ${clockTime(activateBy)}); its clock starts with the first use.`
}

function decideForms(request: ListedRequest): Html {
  const action = `/requests/${encodeURIComponent(request.id)}`
  const statement = markup`<input type="hidden" name="statement" value="${request.digest}" />`
  const [only] = request.mayApprove
  const pools =
    request.mayApprove.length === 1
      ? markup`<input type="hidden" name="pool" value="${only}" />
          <p class="soft small">You approve as <bdi>${only}</bdi>.</p>`
      : markup`<fieldset>
          <legend>You approve as</legend>
          ${request.mayApprove.map(
            (pool, i) =>
              markup`<label
                ><input
                  type="radio"
                  name="pool"
                  value="${pool}"
                  ${i === 0 ? markup` checked` : undefined}
                /><bdi>${pool}</bdi></label
              >`,
          )}
        </fieldset>`
  return markup`<h2>Your decision</h2>
    <p class="soft small">
      It holds for exactly what is asked above. If anything in that changes, your decision does not count.
    </p>
    <div class="decide">
      <form class="card" method="post" action="${action}/approve">
        ${statement}${pools}
        <label for="comment">Comment <span class="soft">(optional, for the record)</span></label>
        <textarea id="comment" name="comment" maxlength="2000"></textarea>
        <button class="go">✓ Approve</button>
      </form>
      <form class="card" method="post" action="${action}/deny">
        ${statement}
        <p class="soft small">One denial ends the request.</p>
        <label for="reason">Reason <span class="soft">(optional, they read it)</span></label>
        <textarea id="reason" name="reason" maxlength="2000"></textarea>
        <button class="stop">✗ Deny</button>
      </form>
    </div>`
}

const asksApproval = ({ alternatives }: AccessRequest): boolean =>
  alternatives.some(({ requirements }) => requirements.some(({ kind }) => kind === 'approval'))

/** What was verified of who asks: unlike its words, this is no claim of its own. */
export function provenance({ proved, provedAlso = [], instigators = [] }: AccessRequest): Html | undefined {
  if (proved === undefined && instigators.length + provedAlso.length === 0) return undefined
  return markup`<details open>
    <summary>What is proved about who asks</summary>
    ${instigators.length === 0 ? undefined : markup`<dl>${instigators.map((one) => markup`<dt>Set going by</dt><dd>${instigator(one)}</dd>`)}</dl>`}
    ${proved === undefined ? undefined : claimsOf(proved)}
    ${provedAlso.map((other) => markup`<p>Asked for the same again, when this was proved:</p>${claimsOf(other)}`)}
  </details>`
}

const instigator = (one: NonNullable<AccessRequest['instigators']>[number]): Html =>
  'issuer' in one
    ? markup`account <bdi>${one.id}</bdi> at <bdi>${one.issuer}</bdi>`
    : markup`<bdi>${refKey(one)}</bdi>`

function claimsOf(proved: Json): Html {
  const { issuer, ...claims } = proved as Record<string, Json>
  if (issuer === undefined) return markup`<p>Nothing.</p>`
  return markup`<dl>
      <dt>Proved by issuer</dt>
      <dd>${shown(issuer, '', false)}</dd>
      ${Object.entries(claims).map(([name, value]) => markup`<dt>${theirName(name)}</dt><dd>${shown(value, name, false)}</dd>`)}
    </dl>
    <p class="soft small">
      The issuer says so. What things are called there, such as a branch, a workflow or an environment, is chosen by who
      may change them there.
    </p>`
}

function proofCard({ id }: AccessRequest): Html {
  return markup`<h2>Is it you who asks?</h2>
    <div class="card">
      <p>
        This needs your passkey, for exactly what is written above. What it proves is good for five minutes. If you
        did not ask for this, leave it and tell an administrator.
      </p>
      <p><a class="button go" href="/requests/${encodeURIComponent(id)}/prove">Use your passkey</a></p>
    </div>`
}

/** What is known just now of the ticket, window and device that the request stands on: seen before it is decided. */
function known({ window, ticket, postures, isThirdParty }: Grounds, now: Instant): Html | undefined {
  const rows: [string, Html][] = []
  if (isThirdParty)
    rows.push([
      'Third party',
      markup`<strong>Somebody from outside is behind this</strong>; what they get ends sooner.`,
    ])
  if (ticket !== undefined) rows.push(['Ticket', ticketText(ticket, now)])
  if (window !== undefined) rows.push(['Window', windowText(window, now)])
  for (const fact of postures) rows.push(['Device', postureText(fact, now)])
  if (rows.length === 0) return undefined
  return markup`<h2>What is known now</h2>
    <div class="card">
      <dl>
        ${rows.map(
          ([name, text]) =>
            markup`<dt>${name}</dt>
              <dd>${text}</dd>`,
        )}
      </dl>
    </div>`
}

/** How old it is, or that nobody believes it any more. */
function ageText(fact: Fact, now: Instant): Html {
  const age = markup`observed ${spell(now - fact.observedAt)} ago by <bdi>${fact.source}</bdi>`
  return isFresh(fact, now)
    ? markup` <span class="soft">· ${age}</span>`
    : markup` <strong>· too old to be believed</strong>, ${age}`
}

function ticketText({ key, fact }: NonNullable<Grounds['ticket']>, now: Instant): Html {
  if (fact === undefined || fact.value === null)
    return markup`<bdi>${key}</bdi>: <strong>nothing is known of it</strong>`
  const { open, approved, status, startsAt, endsAt } = fact.value
  const times = [['from', startsAt] as const, ['until', endsAt] as const].flatMap(([word, at]) => {
    const instant = typeof at === 'string' ? Date.parse(at) : at
    return typeof instant === 'number' && Number.isFinite(instant)
      ? [markup`, ${word} ${clockTime(instant)}`]
      : []
  })
  return markup`<bdi>${key}</bdi>: ${open === true ? 'open' : markup`<strong>not open</strong>`}, ${approved === true ? 'approved' : markup`<strong>not approved</strong>`}
    ${typeof status === 'string' ? markup`(<bdi>${status}</bdi>)` : undefined}${times}${ageText(fact, now)}`
}

function windowText({ startsAt, endsAt, ...more }: NonNullable<Grounds['window']>, now: Instant): Html {
  const stands =
    now < startsAt
      ? `opens in ${spell(startsAt - now)}`
      : now < endsAt
        ? `open for ${spell(endsAt - now)} more`
        : 'over'
  const calendar = 'calendar' in more ? more.calendar : undefined
  const of = calendar === undefined ? undefined : markup` of the calendar <bdi>${calendar.name}</bdi>`
  return markup`<strong>${stands}</strong>${of}: ${clockTime(startsAt)} to ${clockTime(endsAt)}`
}

function postureText(fact: Fact, now: Instant): Html {
  const { compliant, status } = fact.value ?? {}
  const device = fact.device === undefined ? undefined : markup`<bdi>${fact.device}</bdi>: `
  return markup`${device}${compliant === true ? 'compliant' : markup`<strong>not compliant</strong>`}
    ${typeof status === 'string' ? markup`(<bdi>${status}</bdi>)` : undefined}${ageText(fact, now)}`
}

export function requestPage(
  person: EntityRef,
  request: ListedRequest,
  now: Instant,
  grounds?: Grounds,
): string {
  const pending = request.status === 'pending'
  return frame(
    { title: `${request.attempt.action.name} on ${request.attempt.resource.id}`, person },
    markup`<p class="small"><a href="/inbox">← Inbox</a></p>
      ${standing(request, person, now)}
      <h1>${sentence(request)}</h1>
      ${chips(request)}
      ${pending ? markup`<p class="soft">Expires in ${spell(request.expiresAt - now)} (${clockTime(request.expiresAt)}).</p>` : undefined}
      ${quotes(request)} ${grounds === undefined ? undefined : known(grounds, now)}
      <h2>What exactly is asked</h2>
      <div class="card">
        ${asked(request)}
      </div>
      <h2>What it needs</h2>
      <div class="card">
        <p>${prose(request.alternatives.map(requirementText).join(', or '))}</p>
        ${
          request.approvals.length === 0
            ? !asksApproval(request)
              ? undefined
              : markup`<p class="soft small">No approvals yet.</p>`
            : markup`<ul>
                ${request.approvals.map((approval) => markup`<li><bdi>${approval.person}</bdi> as <bdi>${approval.pool}</bdi>, ${clockTime(approval.at)}${approval.comment === undefined ? undefined : markup`: <bdi>${approval.comment}</bdi>`}</li>`)}
              </ul>`
        }
        ${
          request.reauths === undefined
            ? undefined
            : markup`<ul>
                ${request.reauths.map(({ person: who, at, endsAt }) => markup`<li><bdi>${who}</bdi> proved with a passkey that it is them, ${clockTime(at)}${endsAt > now ? undefined : ': that is over'}</li>`)}
              </ul>`
        }
        <p class="soft small">
          Requested by <bdi>${refKey(request.requester)}</bdi>, ${clockTime(request.requestedAt)}.
        </p>
        ${provenance(request)}
      </div>
      ${asksProofOf(person, request, now) ? proofCard(request) : undefined}
      ${
        !pending || (proversOf(request).includes(refKey(person)) && request.mayApprove.length === 0)
          ? undefined
          : request.mayApprove.length > 0
            ? decideForms(request)
            : markup`<div class="banner">
                <p>
                  <strong>You cannot approve this one.</strong> You asked for it, own it, approved it already,
                  or are in none of the groups it needs.
                </p>
              </div>`
      }`,
  )
}

export type SignInOptions = Readonly<{
  problem?: string
  code?: string
  /** Where to go on afterwards. */
  next?: string
  passkey?: Offer
  providers?: readonly Readonly<{ name: string; label: string }>[]
  /** The provider that was asked for, before all other ways. */
  chosen?: string
}>

const onTo = (next: string | undefined): Html | undefined =>
  next === undefined ? undefined : markup`<input type="hidden" name="next" value="${next}" />`

/** Those named `chosen` stand out; all others do not. */
function providerForms({ providers = [], next, chosen }: SignInOptions, isChosen: boolean): Html[] {
  return providers
    .filter(({ name }) => (name === chosen) === isChosen)
    .map(
      ({ name, label: shownAs }) =>
        markup`<form class="way" method="post" action="/signin/provider">
          <input type="hidden" name="provider" value="${name}" />${onTo(next)}
          <button${isChosen ? markup` class="go" autofocus` : undefined}>Sign in with ${shownAs}</button>
        </form>`,
    )
}

/** Ways to sign in beside the code. */
function others(options: SignInOptions): Html | undefined {
  const { passkey, next } = options
  const providers = providerForms(options, false)
  if (passkey === undefined && providers.length === 0) return undefined
  return markup`<h2>Or</h2>
    ${passkey === undefined ? undefined : passkeyForm({ action: '/signin/passkey', offer: passkey, fields: onTo(next), button: 'Sign in with a passkey', plain: true })}
    ${providers}`
}

export function signinPage(options: SignInOptions = {}): string {
  const { problem, code, next } = options
  const known = code !== undefined
  const first = providerForms(options, true)
  return frame(
    { title: 'Sign in', narrow: true, script: options.passkey !== undefined },
    markup`<h1>Sign in</h1>
      ${problem === undefined ? undefined : markup`<div class="banner bad" role="alert"><p>${problem}</p></div>`}
      ${next?.startsWith('/login/continue/') === true ? markup`<p>A program waits for you to sign in. Then you are asked whether to let it in.</p>` : undefined}
      ${first.length === 0 ? undefined : markup`${first}<h2>Or</h2>`}
      <p class="soft">
        ${known ? 'Your link holds a code that works once.' : 'Type the one-time code that you were given.'}
      </p>
      <form class="card" method="post" action="/signin">
        ${onTo(next)}
        ${
          known
            ? markup`<input type="hidden" name="code" value="${code}" />`
            : markup`<label for="code">One-time code</label>
                <input
                  class="code"
                  type="text"
                  id="code"
                  name="code"
                  required
                  ${first.length === 0 ? markup`autofocus` : undefined}
                  autocomplete="one-time-code"
                  autocapitalize="none"
                  autocorrect="off"
                  spellcheck="false"
                  maxlength="200"
                />`
        }
        <p><button class="go">Sign in</button></p>
      </form>
      ${others(options)}
      ${known ? undefined : markup`<p class="soft small">No code? Ask an administrator to run <code>writ people invite</code>.</p>`}`,
  )
}

export function changedPage(person: EntityRef, id: string, detail: string): string {
  return frame(
    { title: 'It changed', person },
    markup`<h1>It changed while you were looking</h1>
      <div class="banner bad" role="alert"><p>Your decision was not taken. ${prose(detail)}</p></div>
      <p>Look at it as it is now, then decide.</p>
      <p><a class="button go" href="/requests/${encodeURIComponent(id)}">Look again</a></p>`,
  )
}

/** An error's sentence as a page says it: begun and ended like one, `code` as code. */
export function prose(text: string): Html {
  const sentence = text.charAt(0).toUpperCase() + text.slice(1)
  const parts = sentence.split('`').map((part, i) => (i % 2 === 1 ? markup`<code>${part}</code>` : part))
  return markup`${parts}${/[.!?]$/.test(text) ? undefined : '.'}`
}

const errorTitles: Readonly<Record<number, string>> = {
  400: 'This cannot be read',
  403: 'You may not do this',
  404: 'There is nothing here',
  409: 'This has changed',
  413: 'This is too large',
  429: 'Too many requests',
}

export function errorPage(problem: Problem): string {
  return frame(
    { title: 'Problem', narrow: true },
    markup`<h1>${errorTitles[problem.status] ?? 'Something went wrong'}</h1>
      <div class="banner bad" role="alert"><p>${prose(problem.detail)}</p></div>
      ${problem.hint === undefined ? undefined : markup`<p>${prose(problem.hint)}</p>`}
      <p><a href="/inbox">Go to the inbox</a></p>
      <p class="soft small">An operator finds this in the log as <code>${problem.request_id}</code>.</p>`,
  )
}
