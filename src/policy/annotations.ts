/**
 * Annotations: obligations on permits, and how a policy treats the unknown.
 *
 * @module
 */
import { parseDuration } from '../model/time.ts'
import type { Millis } from '../model/time.ts'
import type { Cut, Token } from './engine/parse.ts'
import { facts } from './facts.ts'
import type { Problem, SourceFile, Span } from './problems.ts'
import { suggest } from './problems.ts'
import { unquote } from './scan.ts'
import type { Effect, Obligations } from './types.ts'

export type Annotations = Readonly<{
  id?: string
  ttl?: Millis
  uses?: number
  binding?: 'attempt' | 'task'
  review?: Millis
  notify: readonly string[]
  unknownIgnore: ReadonlySet<string>
  explain: boolean
}>

/** Everything Writ reads, with what it takes and an example. `@doc` is free text for people. */
export const annotationNames: Readonly<
  Record<string, Readonly<{ on: 'permit' | 'forbid' | 'both'; takes: string }>>
> = {
  id: { on: 'both', takes: 'a name, e.g. `@id("migrations")`' },
  doc: { on: 'both', takes: 'a sentence' },
  ttl: { on: 'permit', takes: 'a duration, e.g. `@ttl("10m")`' },
  uses: { on: 'permit', takes: 'a whole number from 1 on, e.g. `@uses("1")`' },
  binding: { on: 'permit', takes: '`@binding("attempt")` or `@binding("task")`' },
  review: { on: 'permit', takes: 'a duration, e.g. `@review("24h")`' },
  notify: { on: 'permit', takes: 'names separated by spaces, e.g. `@notify("on-call")`' },
  unknown_ignore: {
    on: 'both',
    takes: 'names of facts or inputs separated by spaces, e.g. `@unknown_ignore("history")`',
  },
  explain: { on: 'forbid', takes: 'nothing: write `@explain`' },
  lint_ignore: { on: 'both', takes: 'names of lint rules, e.g. `@lint_ignore("wildcard-action")`' },
}

type Written = Readonly<{ name: string; value: string | undefined; span: Span; valueSpan: Span }>

/** The annotations as written, with their places. */
function written(slice: Cut): Written[] {
  const found: Written[] = []
  const { tokens } = slice
  for (let at = 0; tokens[at]?.text === '@';) {
    const mark = tokens[at] as Token
    const name = tokens[at + 1]
    if (name === undefined) break
    const value = tokens[at + 2]?.text === '(' ? tokens[at + 3] : undefined
    found.push({
      name: name.text,
      value: value === undefined ? undefined : unquote(value.text),
      span: { start: mark.start, end: name.end },
      valueSpan: value ?? { start: mark.start, end: name.end },
    })
    at += value === undefined ? 2 : 5
  }
  return found
}

/** Name and text of each annotation; one without text says nothing. */
export function annotationTexts(slice: Cut): Record<string, string> {
  return Object.fromEntries(written(slice).map(({ name, value }) => [name, value ?? '']))
}

const NOBODY: readonly string[] = []
const NOTHING: ReadonlySet<string> = new Set()

/** Reads and checks; every problem at its place. */
export function readAnnotations(
  file: SourceFile,
  slice: Cut,
  effect: Effect,
): { annotations: Annotations; problems: Problem[] } {
  const problems: Problem[] = []
  const result: {
    -readonly [K in keyof Annotations]: Annotations[K]
  } = { notify: NOBODY, unknownIgnore: NOTHING, explain: false }
  for (const { name, value, span, valueSpan } of written(slice)) {
    const known = Object.hasOwn(annotationNames, name) ? annotationNames[name] : undefined
    if (known === undefined) {
      const hint = suggest(name, Object.keys(annotationNames), 'annotations')
      problems.push(file.problem('P004', span, `unknown annotation \`@${name}\``, { hint }))
      continue
    }
    if (known.on !== 'both' && known.on !== effect) {
      const message = `\`@${name}\` has no effect on a ${effect}`
      problems.push(file.problem('P004', span, message, { hint: `it belongs on a ${known.on}` }))
      continue
    }
    const malformed = (hint = `it takes ${known.takes}`) => {
      problems.push(file.problem('P005', valueSpan, `\`@${name}\` cannot be read`, { hint }))
    }
    const text = value ?? ''
    switch (name) {
      case 'id':
        if (/^[^\s\p{C}][^\p{C}]{0,127}$/u.test(text)) result.id = text
        else malformed()
        break
      case 'ttl':
      case 'review': {
        const millis = parseDuration(text)
        if (millis === undefined) malformed()
        else result[name] = millis
        break
      }
      case 'uses':
        if (/^[1-9]\d{0,8}$/.test(text)) result.uses = Number(text)
        else malformed()
        break
      case 'binding':
        if (text === 'attempt' || text === 'task') result.binding = text
        else malformed()
        break
      case 'notify': {
        const names = words(text)
        if (names.length > 0 && names.every((one) => /^[\w.:@/-]{1,128}$/.test(one))) result.notify = names
        else malformed()
        break
      }
      case 'unknown_ignore': {
        const names = words(text)
        const wrong = names.find(
          (one) => !Object.hasOwn(facts, one) && !/^(context|principal|resource)\../.test(one),
        )
        if (names.length === 0) malformed()
        else if (wrong === undefined) result.unknownIgnore = new Set(names)
        else {
          problems.push(
            file.problem('P005', valueSpan, `unknown fact \`${wrong}\``, {
              hint: suggest(wrong, Object.keys(facts), 'facts'),
            }),
          )
        }
        break
      }
      case 'explain':
        if (text === '') result.explain = true
        else malformed()
        break
      default:
        break
    }
  }
  return { annotations: result, problems }
}

const words = (text: string): string[] => text.split(' ').filter((word) => word !== '')

/**
 * The strictest of several: least ttl, uses and review, attempt before task, everyone notified. Without a declared
 * binding it is the attempt, which is the narrower.
 */
export function strictest(all: readonly Annotations[]): Obligations {
  const least = (pick: (one: Annotations) => number | undefined): number | undefined => {
    const given = all.map(pick).filter((value) => value !== undefined)
    return given.length === 0 ? undefined : Math.min(...given)
  }
  const [ttl, uses, review] = [least((one) => one.ttl), least((one) => one.uses), least((one) => one.review)]
  const bindings = all.flatMap((one) => one.binding ?? [])
  return {
    ...(ttl === undefined ? {} : { ttl }),
    ...(uses === undefined ? {} : { uses }),
    ...(review === undefined ? {} : { review }),
    binding: bindings.length > 0 && bindings.every((one) => one === 'task') ? 'task' : 'attempt',
    bindingDeclared: bindings.length > 0,
    notify: [...new Set(all.flatMap((one) => one.notify))].sort(),
  }
}
