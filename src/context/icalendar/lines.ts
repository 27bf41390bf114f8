/**
 * iCalendar text (RFC 5545 §3.1) as components with their lines, strictly: what is not understood is named by its line and
 * is never passed over, because an event that is left out may be a freeze as well as a window.
 *
 * @module
 */

/** What is wrong with a calendar, with its line: `line 7: DTSTART is not a time`. */
export class CalendarError extends Error {
  override readonly name = 'CalendarError'

  constructor(line: number, what: string) {
    super(`line ${line}: ${what}`)
  }
}

/** `DTSTART;TZID=Europe/Berlin:20261123T220000` in line 7. Names are upper case. */
export type Property = Readonly<{
  line: number
  name: string
  params: Readonly<Record<string, string>>
  value: string
}>

export type Component = Readonly<{
  line: number
  name: string
  properties: readonly Property[]
  parts: readonly Component[]
}>

type Open = { line: number; name: string; properties: Property[]; parts: Component[] }

const MOST_DEEP = 8
/** Characters of one unfolded line; a longer one (an attachment) is cut, and is no time. */
const MOST_LINE = 65_536

/**
 * The calendars in `text`; at least one.
 *
 * @throws {CalendarError}
 */
export function parseComponents(text: string): readonly Component[] {
  const calendars: Component[] = []
  const open: Open[] = []
  let last = 1
  for (const { line, text: content } of unfolded(text)) {
    last = line
    const property = parseProperty(content, line)
    const { name, value } = property
    const inside = open.at(-1)
    if (inside === undefined && !(name === 'BEGIN' && value.toUpperCase() === 'VCALENDAR'))
      throw new CalendarError(line, 'this is no calendar: `BEGIN:VCALENDAR` is missing')
    if (name === 'BEGIN') {
      if (open.length >= MOST_DEEP) throw new CalendarError(line, 'components are nested too deep')
      open.push({ line, name: value.toUpperCase(), properties: [], parts: [] })
    } else if (name === 'END') {
      if (inside?.name !== value.toUpperCase())
        throw new CalendarError(
          line,
          `\`END:${shown(value)}\` does not end the \`${inside?.name}\` of line ${inside?.line}`,
        )
      open.pop()
      const above = open.at(-1)
      if (above === undefined) calendars.push(inside)
      else above.parts.push(inside)
    } else inside?.properties.push(property)
  }
  const unended = open.at(-1)
  if (unended !== undefined)
    throw new CalendarError(unended.line, `\`BEGIN:${unended.name}\` has no end: the calendar is cut off`)
  if (calendars.length === 0)
    throw new CalendarError(last, 'this is no calendar: `BEGIN:VCALENDAR` is missing')
  return calendars
}

/** Content lines put together again where they were folded; each with the line it begins in. */
function* unfolded(text: string): Generator<{ line: number; text: string }> {
  let current: { line: number; text: string } | undefined
  let line = 0
  for (const raw of text.replace(/^\uFEFF/u, '').split(/\r\n|\n|\r/u)) {
    line += 1
    if (raw.startsWith(' ') || raw.startsWith('\t')) {
      if (current === undefined) throw new CalendarError(line, 'it goes on with a line that is not there')
      if (current.text.length < MOST_LINE) current.text += raw.slice(1)
    } else {
      if (current !== undefined) yield current
      current = raw === '' ? undefined : { line, text: raw }
    }
  }
  if (current !== undefined) yield current
}

function parseProperty(text: string, line: number): Property {
  const head = /^[A-Za-z0-9-]+/u.exec(text)?.[0]
  if (head === undefined) throw new CalendarError(line, `\`${shown(text)}\` is no content line`)
  const params: Record<string, string> = Object.create(null) as Record<string, string>
  let at = head.length
  while (text[at] === ';') {
    const match = /^;([A-Za-z0-9-]+)=((?:"[^"]*"|[^";:,]*)(?:,(?:"[^"]*"|[^";:,]*))*)/u.exec(
      text.slice(at, at + 4_096),
    )
    if (match === null) throw new CalendarError(line, `a parameter of \`${head}\` is malformed`)
    params[(match[1] as string).toUpperCase()] = (match[2] as string).replaceAll('"', '')
    at += match[0].length
  }
  if (text[at] !== ':') throw new CalendarError(line, `\`${shown(text)}\` has no value: a \`:\` is missing`)
  return { line, name: head.toUpperCase(), params, value: text.slice(at + 1) }
}

/** Somebody else's text as part of a sentence. */
export const shown = (text: string): string => {
  const plain = text.replace(/[^\x20-\x7E]/gu, '?').replaceAll('`', "'")
  return plain.length > 40 ? `${plain.slice(0, 40)}…` : plain
}

/** The property `name`, of which there is at most one. */
export function only(component: Component, name: string): Property | undefined {
  const [first, second] = component.properties.filter((one) => one.name === name)
  if (second !== undefined) throw new CalendarError(second.line, `a second \`${name}\``)
  return first
}
