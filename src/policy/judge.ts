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
      return validate(input.texts, input.schema)
  }
}

function parse(text: string): ParsedText {
  try {
    const answer = cedar.policyToJson(text)
    if (answer.type === 'success') return { ok: true, json: answer.json }
    return { ok: false, errors: answer.errors.map(plain) }
  } catch (error) {
    return { ok: false, errors: [{ message: `the policy cannot be read: ${messageOf(error)}` }] }
  }
}

function validate(texts: readonly string[], schema: SchemaJson<string>): Judgement {
  const failed = (message: string): Judgement => ({
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
      policies: { staticPolicies: Object.fromEntries(texts.map((text, at) => [`p${at}`, text])) },
    })
  } catch (error) {
    return failed(`the validator failed: ${messageOf(error)}`)
  }
  if (answer.type === 'failure') return failed(answer.errors.map(({ message }) => message).join('; '))
  const findings = (errors: readonly cedar.ValidationError[]): JudgedFinding[] =>
    errors.map(({ policyId, error }) => ({ at: Number(policyId.slice(1)), error: plain(error) }))
  return {
    kind: 'validate',
    errors: findings(answer.validationErrors),
    warnings: findings(answer.validationWarnings),
  }
}

function plain({ message, help, sourceLocations }: cedar.DetailedError): JudgedError {
  const place = sourceLocations?.[0]
  return {
    message,
    ...(help === null ? {} : { help }),
    ...(place === undefined
      ? {}
      : {
          place: {
            start: place.start,
            end: place.end,
            ...(place.label === null ? {} : { label: place.label }),
          },
        }),
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
