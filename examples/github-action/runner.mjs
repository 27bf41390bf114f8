/**
 * What the runner of GitHub gives an action: inputs, and files into which outputs and state go. No dependencies.
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { appendFileSync } from 'node:fs'

/** An input, as `with:` gave it. */
export function input(name, env = process.env) {
  return (env[`INPUT_${name.replaceAll(' ', '_').toUpperCase()}`] ?? '').trim()
}

/** What `save` kept in the main step; the step after the job alone sees it. */
export const saved = (name, env = process.env) => env[`STATE_${name}`] ?? ''

export const save = (name, value, env = process.env) => put(env.GITHUB_STATE, name, value)
export const output = (name, value, env = process.env) => put(env.GITHUB_OUTPUT, name, value)

function put(file, name, value) {
  if (!file) throw new Error('this is no step of GitHub Actions')
  // nobody can foresee the line that ends the value
  const end = `end_${randomUUID()}`
  appendFileSync(file, `${name}<<${end}\n${value}\n${end}\n`)
}

const escaped = (text) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A')

/** A command of the runner: `::error::…`. */
export const say = (kind, text) => process.stdout.write(`::${kind}::${escaped(text)}\n`)

/** From here on the log shows stars in its place. */
export const mask = (secret) => say('add-mask', secret)

/** Runs a step; what goes wrong is one sentence, and the step fails. */
export async function step(work) {
  try {
    await work()
  } catch (error) {
    say('error', error instanceof Error ? error.message : String(error))
    process.exitCode = 1
  }
}
