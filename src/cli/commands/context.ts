/**
 * What a decision would see, and what is known about something.
 *
 * @module
 */
import type { Fact, Json } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { usage } from '../exit.ts'
import { took, plain, when } from '../text.ts'

export type ShowOptions = Readonly<{ subject?: string; resource?: string; action?: string; task?: string }>

/** Everything that policies could read about an attempt, with its age and source. */
export async function contextShow(context: Context, options: ShowOptions): Promise<void> {
  const { subject, resource, action, task } = options
  if (subject === undefined)
    throw usage('`--subject` is missing', 'say who would act, e.g. `--subject Agent/migrator`')
  const seen = await context.writ.facts.seen({ subject, resource, action, task })
  const now = context.io.now()
  const { live } = seen
  const read = new Set(seen.read ?? [])
  // what a policy reads and nobody has said stands there too: it is why a `has` is false
  const told = Object.entries({
    ...Object.fromEntries(absent(seen).map((name) => [name, 'not known'])),
    ...live,
  })
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([name, value]) => `${read.has(name) ? '•' : ' '} ${plain(name).padEnd(10)} ${valueText(value)}`)
  const hidden = seen.unknown.map(
    (name) =>
      `${read.has(name) ? '•' : ' '} ${plain(name).padEnd(10)} unknown: whatever reads it does not permit`,
  )
  const sources = seen.facts.map((fact) => factLine(fact, now))
  context.print(
    { item: seen },
    {
      lines: [
        ...told,
        ...hidden,
        ...(sources.length === 0 ? [] : ['', ...sources]),
        ...(seen.resource === undefined
          ? []
          : [
              '',
              `${plain(seen.resource.id)}: ${seen.resource.registered ? '' : 'not registered, '}sensitivity ${seen.resource.sensitivity}${seen.resource.owner === undefined ? '' : `, owner ${plain(seen.resource.owner)}`}${seen.resource.team === undefined ? '' : `, team ${plain(seen.resource.team)}`}`,
            ]),
        ...(seen.read === undefined
          ? []
          : ['', read.size === 0 ? 'no policy in scope reads any of it' : '• read by the policies in scope']),
      ],
    },
  )
  if (task !== undefined && !('task' in live))
    context.note(
      'warn',
      `there is no task ${plain(task)} of ${plain(subject)}: this is what is so without one`,
    )
}

/** What the policies in scope read, and is neither there nor unknown. */
const absent = ({
  read = [],
  live,
  unknown,
}: Awaited<ReturnType<Context['writ']['facts']['seen']>>): string[] =>
  read.filter((name) => !(name in live) && !unknown.includes(name))

export type ReportOptions = Readonly<{ device?: string; value?: string; maxAge?: string }>

/** Says what was observed of something: for who is trusted to. */
export async function factReport(
  context: Context,
  name: string,
  about: string,
  { device, value: text, maxAge }: ReportOptions,
): Promise<void> {
  if (text === undefined)
    throw usage(
      '`--value` is missing',
      'give it as JSON, e.g. `--value \'{"compliant": true, "status": "ok"}\'`',
    )
  let value: Json
  try {
    value = JSON.parse(text) as Json
  } catch {
    throw usage('`--value` is no JSON', 'quote it for the shell')
  }
  await context.writ.facts.report([
    {
      name,
      about,
      ...(device === undefined ? {} : { device }),
      value,
      ...(maxAge === undefined ? {} : { max_age: maxAge }),
    },
  ])
  context.print({ item: { name, about } }, { lines: [`reported ${plain(name)} of ${plain(about)}`] })
}

/** What is known about a subject, session, ticket, incident or calendar. */
export async function factList(context: Context, about: string): Promise<void> {
  const { items } = await context.writ.facts.about(about)
  const now = context.io.now()
  context.print({ items }, { lines: items.map((fact) => `${factLine(fact, now)}: ${valueText(fact.value)}`) })
  if (items.length === 0) context.note('info', `nothing is known about ${plain(about)}`)
}

/** `posture of Person/ada on laptop-7 by mdm, 4 s ago, known for 9 min`. */
function factLine(fact: Fact, now: number): string {
  const what = fact.device === undefined ? fact.about : `${fact.about} on ${fact.device}`
  const age = `${plain(fact.name)} of ${plain(what)} by ${plain(fact.source)}, ${when(fact.observed_at, now)}`
  if (!fact.known) return `${age}, too old to be believed`
  if (fact.known_until === undefined) return age
  return `${age}, known for ${took(Math.max(0, Date.parse(fact.known_until) - now))} more`
}

/** `compliant true · status ok`: as it is written in policies, without the signs of JSON. */
function valueText(value: Json): string {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string' || typeof item === 'number'))
    return value.length === 0 ? 'none' : plain(value.join(', '))
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return plain(typeof value === 'string' ? value : JSON.stringify(value))
  return Object.entries(value as Readonly<Record<string, Json>>)
    .map(([name, inner]) => {
      const isDeep = typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      return `${plain(name)} ${isDeep ? `(${valueText(inner)})` : valueText(inner)}`
    })
    .join(' · ')
}
