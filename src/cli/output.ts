/**
 * Data on standard output: a table for people, or JSON, YAML and NDJSON for programs, which only ever gain members.
 *
 * @module
 */
import { yaml as library } from '../config/yaml.ts'
import { usage } from './exit.ts'
import { escaped, plain } from './text.ts'

export const formats = ['table', 'json', 'yaml', 'ndjson'] as const
export type Format = (typeof formats)[number]

/** Rises when a member changes its meaning or goes away, never when one is added. */
export const SCHEMA_VERSION = 1

export type Row = Readonly<Record<string, unknown>>

/** How a table shows rows. */
export type Column = Readonly<{ title: string; value: (row: Row) => string }>

export type View = Readonly<{
  /** Several rows, or one thing. */
  columns?: readonly Column[]
  /** The lines a person reads: of one thing, or where rows are sentences. */
  lines?: readonly string[]
}>

/** What is printed. `items` is a list, else one thing. */
export type Data = Readonly<{ items: readonly Row[]; more?: Row } | { item: Row }>

/** The text of `data` in `format`; with `fields`, only these members; a table for a terminal with `most` columns. */
export function render(data: Data, format: Format, view: View, fields?: readonly string[], most = 0): string {
  if (format === 'table') return table(data, view, fields, most)
  if ('item' in data) {
    const item = { schema_version: SCHEMA_VERSION, ...pick(data.item, fields) }
    return format === 'yaml' ? yaml(item) : json(item, format === 'json' ? 2 : 0)
  }
  const items = data.items.map((item) => pick(item, fields))
  if (format === 'ndjson')
    return items.map((item) => json({ schema_version: SCHEMA_VERSION, ...item }, 0)).join('')
  const whole = { schema_version: SCHEMA_VERSION, items, ...data.more }
  return format === 'yaml' ? yaml(whole) : json(whole, 2)
}

// data is often read at a terminal: what could turn that over stands there escaped, and means the same (B69)
const json = (value: Row, indent: number): string => `${escaped(JSON.stringify(value, undefined, indent))}\n`

function yaml(value: Row): string {
  const { stringify } = library()
  const text = stringify(value)
  if (escaped(text) === text) return text
  return escaped(stringify(value, { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'QUOTE_DOUBLE' }))
}

function pick(item: Row, fields: readonly string[] | undefined): Row {
  if (fields === undefined) return item
  return Object.fromEntries(
    fields.filter((field) => Object.hasOwn(item, field)).map((field) => [field, item[field]]),
  )
}

/** Fields that were asked for and that nothing printed has: a typing mistake must not look like an empty answer. */
export function checkFields(data: Data, fields: readonly string[] | undefined): void {
  if (fields === undefined) return
  const items = 'item' in data ? [data.item] : data.items
  if (items.length === 0) return
  const known = new Set(items.flatMap((item) => Object.keys(item)))
  const wrong = fields.find((field) => !known.has(field))
  if (wrong !== undefined) {
    throw usage(
      `no field \`${wrong}\``,
      `there are ${[...known]
        .sort()
        .map((field) => `\`${field}\``)
        .join(', ')}`,
    )
  }
}

function table(data: Data, view: View, fields: readonly string[] | undefined, most: number): string {
  if (view.lines !== undefined && fields === undefined) return view.lines.map((line) => `${line}\n`).join('')
  if ('item' in data) {
    return Object.entries(pick(data.item, fields))
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}: ${cell(value)}\n`)
      .join('')
  }
  const all: readonly Column[] =
    fields?.map((field) => ({ title: field.toUpperCase(), value: (row: Row) => cell(row[field]) })) ??
    view.columns ??
    []
  if (data.items.length === 0) return ''
  // a program that reads columns finds each in its place; a person is not shown empty ones
  const columns =
    most === 0
      ? all
      : all.filter(({ value }, at) => at === 0 || data.items.some((item) => value(item) !== ''))
  const rows = [
    columns.map((c) => c.title),
    ...data.items.map((item) => columns.map((c) => plain(c.value(item)))),
  ]
  const widths = columns.map((_, at) => Math.max(...rows.map((row) => width(row[at] ?? ''))))
  const wide = widths.reduce((sum, one) => sum + one, 2 * (widths.length - 1))
  if (most > 0 && wide > most) return blocks(rows)
  return rows
    .map((row) =>
      row
        .map((text, at) => text + ' '.repeat((widths[at] as number) - width(text)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** Rows one below the other, where a table would not fit: the first cell, and each other one after its title. */
function blocks([titles = [], ...rows]: readonly (readonly string[])[]): string {
  const indent = Math.max(...titles.slice(1).map(width), 0)
  return rows
    .map(([first = '', ...others]) => {
      const lines = others.flatMap((text, at) => {
        const title = (titles[at + 1] ?? '').toLowerCase()
        return text === '' ? [] : [`  ${title}${' '.repeat(indent - width(title))}  ${text}\n`]
      })
      return `${first}\n${lines.join('')}`
    })
    .join('')
}

/** A value in one cell. */
export function cell(value: unknown): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'string') return plain(value)
  return plain(JSON.stringify(value))
}

/** Columns that a terminal gives to a text; wide characters take two. */
function width(text: string): number {
  let columns = 0
  for (const char of text) {
    const point = char.codePointAt(0) as number
    const wide =
      (point >= 0x1100 && point <= 0x115f) ||
      (point >= 0x2e80 && point <= 0xa4cf) ||
      (point >= 0xac00 && point <= 0xd7a3) ||
      (point >= 0xf900 && point <= 0xfaff) ||
      (point >= 0xfe30 && point <= 0xfe6f) ||
      (point >= 0xff00 && point <= 0xff60) ||
      (point >= 0xffe0 && point <= 0xffe6) ||
      (point >= 0x1f300 && point <= 0x1faff) ||
      (point >= 0x20000 && point <= 0x3fffd)
    columns += /\p{Mn}/u.test(char) ? 0 : wide ? 2 : 1
  }
  return columns
}
