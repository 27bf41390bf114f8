/**
 * Rules evaluated for one request.
 *
 * @module
 */
import type { Env } from './closures.ts'
import type { Finder } from './finder.ts'
import { find } from './finder.ts'
import type { Rule } from './rule.ts'
import { evaluate } from './rule.ts'
import { FAILURE, typeError } from './values.ts'

/** The rules that hold, and those that failed; missing where there is none, in no order. */
export type Run = {
  permits: Rule[] | undefined
  forbids: Rule[] | undefined
  failed: { rule: Rule; message: string }[] | undefined
  seen: Set<Rule> | undefined
}

export function runRules(finder: Finder<Rule>, env: Env): Run {
  const run: Run = { permits: undefined, forbids: undefined, failed: undefined, seen: undefined }
  find(finder, env, judge, run)
  return run
}

function judge(rule: Rule, env: Env, run: Run): void {
  if (rule.isRepeated) {
    run.seen ??= new Set()
    if (run.seen.has(rule)) return
    run.seen.add(rule)
  }
  const result = evaluate(rule, env)
  if (result === false) return
  if (result === true) {
    if (rule.isForbid) (run.forbids ??= []).push(rule)
    else (run.permits ??= []).push(rule)
    return
  }
  const { message } =
    typeof result === 'object' && result.kind === FAILURE ? result : typeError('bool', result)
  run.failed ??= []
  run.failed.push({ rule, message })
}
