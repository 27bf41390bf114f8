/**
 * What only the reference can say about policies: whether they parse, and whether they are valid under a schema. It takes
 * plain data and gives plain data, so that a worker can do it.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { SchemaJson } from '@cedar-policy/cedar-wasm/nodejs'

/** Texts of one policy each: to be parsed, to be told whether they parse, or to be validated against a composed schema. */
export type JudgeInput =
  | Readonly<{ kind: 'parse' | 'check'; texts: readonly string[] }>
  | Readonly<{ kind: 'validate'; texts: readonly string[]; schema: SchemaJson<string> }>

/** An error of the reference; places are offsets in bytes of UTF-8. */
export type JudgedError = Readonly<{
  message: string
  help?: string
  place?: Readonly<{ start: number; end: number; label?: string }>
}>

export type ParsedText =
  | Readonly<{ ok: true; json: unknown }>
  | Readonly<{ ok: false; errors: readonly JudgedError[] }>

/** What was found about the text numbered `at`. */
export type JudgedFinding = Readonly<{ at: number; error: JudgedError }>

/** The answer to the input of the same kind. `failed`: the reference could not judge, since some text does not parse, or at all. */
export type Judgement =
  | Readonly<{ kind: 'parse'; parsed: readonly ParsedText[] }>
  | Readonly<{ kind: 'check'; refused: readonly Readonly<{ at: number; errors: readonly JudgedError[] }>[] }>
  | Readonly<{
      kind: 'validate'
      errors: readonly JudgedFinding[]
      warnings: readonly JudgedFinding[]
      failed?: string
    }>

type Validated = Extract<Judgement, { kind: 'validate' }>

/** The reference's judgement. Depths are bounded before: its stack is not. */
export function judge(input: JudgeInput): Judgement {
  switch (input.kind) {
    case 'parse':
      return { kind: 'parse', parsed: input.texts.map(parse) }
    case 'check':
      return {
        kind: 'check',
        refused: input.texts.flatMap((text, at) => {
          const parsed = parse(text)
          return parsed.ok ? [] : [{ at, errors: parsed.errors }]
        }),
      }
    case 'validate':
      return validateAll(input.texts, input.schema)
  }
}

function parse(text: string): ParsedText {
  try {
    const answer = cedar.policyToJson(text)
    if (answer.type === 'success') return { ok: true, json: answer.json }
    return { ok: false, errors: answer.errors.map((error) => plain(error)) }
  } catch (error) {
    return { ok: false, errors: [{ message: `the policy cannot be read: ${messageOf(error)}` }] }
  }
}

/** Validated at once: with more, what the library takes of memory for the first time costs more than the rest. */
const PART = 2_000

function validateAll(texts: readonly string[], schema: SchemaJson<string>): Judgement {
  const errors: JudgedFinding[] = []
  const warnings: JudgedFinding[] = []
  for (let from = 0; from < texts.length; from += PART) {
    const part = validate(texts.slice(from, from + PART), schema)
    if (part.failed !== undefined) return part
    for (const { at, error } of part.errors) errors.push({ at: at + from, error })
    for (const { at, error } of part.warnings) warnings.push({ at: at + from, error })
  }
  return { kind: 'validate', errors, warnings }
}

function validate(texts: readonly string[], schema: SchemaJson<string>): Validated {
  const failed = (message: string): Validated => ({
    kind: 'validate',
    errors: [],
    warnings: [],
    failed: message,
  })
  let answer: cedar.ValidationAnswer
  try {
    answer = cedar.validate({
      validationSettings: { mode: 'strict' },
      schema,
      // one text is read in a fraction of the time that many take; its policies are numbered
      policies: { staticPolicies: texts.join('\n') },
    })
  } catch (error) {
    return failed(`the validator failed: ${messageOf(error)}`)
  }
  if (answer.type === 'failure') return failed(answer.errors.map(({ message }) => message).join('; '))
  const { validationErrors, validationWarnings } = answer
  if (validationErrors.length + validationWarnings.length === 0) {
    return { kind: 'validate', errors: [], warnings: [] }
  }
  const starts = byteStarts(texts)
  const findings = (errors: readonly cedar.ValidationError[]): JudgedFinding[] =>
    errors.map(({ policyId, error }) => {
      const at = Number(policyId.slice('policy'.length))
      return { at, error: plain(error, starts[at] ?? 0) }
    })
  return { kind: 'validate', errors: findings(validationErrors), warnings: findings(validationWarnings) }
}

/** Where each text begins among all, joined by one character. */
function byteStarts(texts: readonly string[]): number[] {
  const encoder = new TextEncoder()
  let at = 0
  return texts.map((text) => {
    const start = at
    at += encoder.encode(text).length + 1
    return start
  })
}

function plain({ message, help, sourceLocations }: cedar.DetailedError, from = 0): JudgedError {
  const place = sourceLocations?.[0]
  return {
    message,
    ...(help === null ? {} : { help }),
    ...(place === undefined
      ? {}
      : {
          place: {
            start: place.start - from,
            end: place.end - from,
            ...(place.label === null ? {} : { label: place.label }),
          },
        }),
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
