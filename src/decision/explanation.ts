/**
 * The explanation of a denial as it is recorded: what the nearest rules asked and what they were told, within bounds
 * that no value, however long, can break.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { ActualValue, ClauseResult, Explanation, RequiredValue, RuleResult } from '../policy/index.ts'

/**
 * What an entry keeps, for operators alone. `cut` says that something was left out or shortened (`…`); `principal` names
 * the party of the chain that it is about, where that is not the acting one.
 */
export type RecordedExplanation = Explanation & Readonly<{ principal?: string; cut?: true }>

export const explanationLimits = {
  /** Nearest permits, and forbids that fired. */
  rules: 3,
  /** Clauses of a rule, and parts of a disjunction. */
  clauses: 16,
  /** Values that a clause read. */
  values: 8,
  /** Policies that decided. */
  determining: 16,
  /** Characters of a policy's id, and of its file's name. */
  name: 128,
  /** Characters of a clause as it is written. */
  text: 512,
  /** Characters of a value as JSON. */
  value: 256,
  /** Bytes of all of it. */
  bytes: 16 * 1024,
} as const

/** Levels of disjunctions in each other. */
const DEEPEST = 4
const MARK = '…'

/** `explanation` within `explanationLimits`, and such that it has a canonical form whatever was read. */
export function boundExplanation(explanation: Explanation, principal?: string): RecordedExplanation {
  const bounding = new Bounding()
  const whole = bounding.explanation(explanation, principal)
  // most are far from too long, and then need not be written out to know it
  if (bounding.most <= explanationLimits.bytes || bytesOf(whole) <= explanationLimits.bytes) return whole
  const bare: RecordedExplanation = {
    ...whole,
    fired: whole.fired.map((rule) => ({ ...rule, clauses: rule.clauses.map(withoutValues) })),
    nearest: whole.nearest.map((rule) => ({ ...rule, clauses: rule.clauses.map(withoutValues) })),
    cut: true,
  }
  if (bytesOf(bare) <= explanationLimits.bytes) return bare
  const places = (rules: readonly RuleResult[]) => rules.map((rule) => ({ ...rule, clauses: [] }))
  const { rules } = explanationLimits
  return {
    ...bare,
    determining: bare.determining.slice(0, rules),
    fired: places(bare.fired),
    nearest: places(bare.nearest),
  }
}

const bytesOf = (value: RecordedExplanation): number => Buffer.byteLength(JSON.stringify(value))

function withoutValues({ required, any, ...clause }: ClauseResult): ClauseResult {
  return {
    ...clause,
    actual: [],
    ...(required === undefined ? {} : { required: { path: required.path, operator: required.operator } }),
    ...(any === undefined ? {} : { any: any.map(withoutValues) }),
  }
}

/** Most bytes of one UTF-16 unit of text as JSON, and of all that a member, value or object has around it. */
const UNIT = 6
const AROUND = 32

/** Notes whether anything was cut on the way. */
class Bounding {
  /** No more bytes of JSON than this. */
  most = 2 * AROUND
  #cut = false

  explanation(
    { determining, fired, nearest, inScope, mismatch }: Explanation,
    principal: string | undefined,
  ): RecordedExplanation {
    const { rules, determining: most } = explanationLimits
    const bounded = {
      determining: this.#few(determining, most).map(({ policy, file, line, effect }) => ({
        policy: this.#text(policy, explanationLimits.name),
        file: this.#text(file, explanationLimits.name),
        line,
        effect,
      })),
      fired: this.#few(fired, rules).map((rule) => this.#rule(rule)),
      nearest: this.#few(nearest, rules).map((rule) => this.#rule(rule)),
      inScope,
      ...(mismatch === undefined ? {} : { mismatch: this.#text(mismatch) }),
      ...(principal === undefined ? {} : { principal: this.#text(principal) }),
    }
    return this.#cut ? { ...bounded, cut: true } : bounded
  }

  #rule({ policy, file, line, effect, clauses }: RuleResult): RuleResult {
    return {
      policy: this.#text(policy, explanationLimits.name),
      file: this.#text(file, explanationLimits.name),
      line,
      effect,
      clauses: this.#mostTelling(clauses).map((clause) => this.#clause(clause, DEEPEST)),
    }
  }

  #clause(clause: ClauseResult, levels: number): ClauseResult {
    const { kind, line, column, endLine, endColumn, status, message, actual, required, any } = clause
    this.most += 8 * AROUND
    const parts = any === undefined || levels === 0 ? undefined : this.#mostTelling(any)
    if (any !== undefined && levels === 0) this.#cut = true
    return {
      kind,
      text: this.#text(clause.text),
      line,
      column,
      endLine,
      endColumn,
      status,
      ...(message === undefined ? {} : { message: this.#text(message) }),
      actual: this.#few(actual, explanationLimits.values).map((value) => this.#actual(value)),
      ...(required === undefined ? {} : { required: this.#required(required) }),
      ...(parts === undefined ? {} : { any: parts.map((part) => this.#clause(part, levels - 1)) }),
    }
  }

  #actual({ path, value, unknown }: ActualValue): ActualValue {
    return {
      path: this.#text(path),
      ...(value === undefined ? {} : { value: this.value(value) }),
      ...(unknown === undefined ? {} : { unknown }),
    }
  }

  #required({ path, operator, value }: RequiredValue): RequiredValue {
    return {
      path: this.#text(path),
      operator,
      ...(value === undefined ? {} : { value: this.value(value) }),
    }
  }

  #few<T>(items: readonly T[], most: number): readonly T[] {
    if (items.length <= most) return items
    this.#cut = true
    return items.slice(0, most)
  }

  /** Where there are too many, those in the way before those that hold; in their order. */
  #mostTelling(clauses: readonly ClauseResult[]): readonly ClauseResult[] {
    const most = explanationLimits.clauses
    if (clauses.length <= most) return clauses
    this.#cut = true
    const failing = clauses.filter(({ status }) => status !== 'holds').slice(0, most)
    const holding = clauses.filter(({ status }) => status === 'holds').slice(0, most - failing.length)
    const kept = new Set([...failing, ...holding])
    return clauses.filter((clause) => kept.has(clause))
  }

  #text(text: string, most: number = explanationLimits.text): string {
    const isShort = text.length <= most
    this.most += UNIT * Math.min(text.length, most) + 2 * AROUND
    if (isShort && text.isWellFormed()) return text
    this.#cut = true
    // never half a character at the end, and none inside
    return isShort
      ? text.toWellFormed()
      : `${text.slice(0, most).replace(/[\uD800-\uDBFF]$/u, '')}${MARK}`.toWellFormed()
  }

  /** A copy of at most about `explanationLimits.value` characters; what is left out of it stands as `…`. */
  value(value: Json): Json {
    let left: number = explanationLimits.value
    const copy = (part: Json, levels: number): Json => {
      if (typeof part === 'string') {
        const text = this.#text(part, Math.max(left, 0))
        left -= text.length + 2
        return text
      }
      left -= 4
      this.most += 2 * AROUND
      if (typeof part !== 'object' || part === null) return part
      if (levels === 0) return this.#left()
      if (Array.isArray(part)) {
        const items: Json[] = []
        for (const item of part as readonly Json[]) {
          if (left <= 0) return [...items, this.#left()]
          items.push(copy(item, levels - 1))
        }
        return items
      }
      const members: [string, Json][] = []
      for (const name of Object.keys(part)) {
        const member = (part as Readonly<Record<string, Json | undefined>>)[name]
        if (member === undefined) continue
        if (left <= 0) {
          members.push([MARK, this.#left()])
          break
        }
        const shown = this.#text(name, left)
        left -= shown.length + 3
        members.push([shown, copy(member, levels - 1)])
      }
      return Object.fromEntries(members)
    }
    return copy(value, DEEPEST)
  }

  #left(): string {
    this.#cut = true
    this.most += 2 * AROUND
    return MARK
  }
}
