/**
 * `writ audit prove` and `writ audit verify FILE`. Looks into the house itself: a proof is verified without a server, a
 * data folder or a configuration.
 *
 * @module
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { SignatureType, VerifierKey } from '../audit/note.ts'
import { parseVerifierKey } from '../audit/note.ts'
import { BUNDLE_LIMIT, findingText } from '../audit/bundle.ts'
import { verifyBundle } from '../audit/proof.ts'
import { authorities } from '../audit/witness.ts'
import { resolvePath } from '../config/index.ts'
import { referee } from '../decision/reference.ts'
import type { Context } from './context.ts'
import { exit, usage } from './exit.ts'
import { plain } from './text.ts'

/** Failures beyond these are counted. */
const MOST_FAILURES = 100

/** Writes the proof to a file, or to standard output. */
export async function auditProve(context: Context, id: string, options: { out?: string }): Promise<void> {
  const path = options.out === undefined ? undefined : fileOf(context, options.out)
  if (path !== undefined && existsSync(path)) {
    throw usage(`\`${path}\` exists already`, 'name another file; a proof replaces nothing')
  }
  const text = await context.writ.log.prove(id)
  if (path === undefined) {
    context.io.out(text)
    return
  }
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' })
  context.note(
    'ok',
    `${path} proves why; whoever has the key of the log verifies it with \`writ audit verify\``,
  )
}

export type VerifyProofOptions = Readonly<{
  key?: readonly string[]
  witness?: readonly string[]
  witnessesNeeded?: string
  unsafeTrustBundledKey?: boolean
}>

/** Verifies a proof with nothing but the file and the keys given, and tells what it proves. */
export function auditVerifyProof(context: Context, file: string, options: VerifyProofOptions): number {
  const path = fileOf(context, file)
  const stats = statSync(path)
  // a device or a pipe may go on for ever
  if (!stats.isFile()) throw usage(`\`${path}\` is no file`, 'save the proof to a file first')
  if (stats.size > BUNDLE_LIMIT) throw usage(`\`${path}\` is too large for a proof`)
  const keys = (options.key ?? []).flatMap((given) => keysOf(context, given, 'log', '--key'))
  const witnesses = (options.witness ?? []).flatMap((given) => keysOf(context, given, 'witness', '--witness'))
  const verdict = verifyBundle(
    readFileSync(path),
    {
      keys,
      witnesses,
      ...(options.unsafeTrustBundledKey === true ? { unsafeTrustBundledKey: true } : {}),
      ...(options.witnessesNeeded === undefined
        ? {}
        : { witnessesNeeded: needed(options.witnessesNeeded, witnesses) }),
    },
    referee(),
  )
  const { ok, failures, notShown, checked, story, about, madeAt, checkpoint, cosigned } = verdict
  const failed = failures.slice(0, MOST_FAILURES).map(findingText)
  const more = failures.length - failed.length
  if (more > 0) failed.push(`and ${more} more failures`)
  context.print(
    {
      item: {
        ok,
        ...(about === undefined ? {} : { about }),
        ...(madeAt === undefined ? {} : { made_at: new Date(madeAt).toISOString() }),
        ...(checkpoint === undefined ? {} : { log: checkpoint }),
        failures: failed,
        not_shown: notShown,
        checked,
        cosigned: cosigned.map(({ name, at }) => ({ name, at: new Date(at).toISOString() })),
        story,
      },
    },
    {
      lines: ok
        ? [
            `Why, about ${oneLine(about ?? '?')} in the log ${oneLine(checkpoint?.origin ?? '?')}:`,
            '',
            ...story.map((line) => indented(line)),
            '',
            `Verified, as of ${madeAt === undefined ? '?' : new Date(madeAt).toISOString()}:`,
            ...checked.map((line) => `  ${oneLine(line)}`),
            ...(notShown.length === 0 ? [] : ['Not shown:', ...notShown.map((line) => `  ${oneLine(line)}`)]),
          ]
        : [
            `verify FAILED: ${oneLine(failed[0] ?? '')}`,
            ...failed.slice(1).map((line) => `  ${oneLine(line)}`),
          ],
    },
  )
  if (ok) {
    if (options.unsafeTrustBundledKey === true)
      context.note(
        'warn',
        'the key came with the file: this shows that the file agrees with itself, not who made it',
      )
    return exit.ok
  }
  if (keys.length === 0 && options.unsafeTrustBundledKey !== true) {
    context.note(
      'info',
      'give --key with a key of the log that you have from elsewhere (`writ audit keys` prints it)',
    )
  } else {
    context.note('bad', 'this proves nothing; keep the file as it is and ask for another')
  }
  return exit.error
}

/** What a proof says to whoever has nothing but it and one key of the log. */
export function checkProof(
  text: string,
  key: string,
): Readonly<{ ok: boolean; checked: readonly string[]; failures: readonly string[] }> {
  const keys = [parseVerifierKey(key)].filter((one) => one !== undefined)
  const { ok, checked, failures } = verifyBundle(Buffer.from(text), { keys, witnesses: [] }, referee())
  return { ok, checked, failures: failures.map(findingText) }
}

const fileOf = (context: Context, path: string): string => resolvePath(path, context.io.cwd, context.io.home)

/** Others' words cannot be pushed to a line of their own by the blanks before them (B69). */
const oneLine = (line: string): string => plain(line).replaceAll(/[\s\u2800\u3164\u200b\ufeff]+/gu, ' ')
const indented = (line: string): string => `${/^ */u.exec(line)?.[0] ?? ''}${oneLine(line.trimStart())}`

/** A verifier key as it is written, or a file with one in each line. */
function keysOf(context: Context, given: string, type: SignatureType, flag: string): readonly VerifierKey[] {
  const path = fileOf(context, given)
  const isFile = parseVerifierKey(given) === undefined && existsSync(path)
  const lines = isFile ? readFileSync(path, 'utf8').split('\n') : [given]
  const texts = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  const keys = texts.map((text) => {
    const key = parseVerifierKey(text)
    if (key?.type === type) return key
    const what = type === 'log' ? 'a log' : 'a witness'
    throw usage(
      `\`${flag}\`: ${isFile ? `\`${path}\` holds what` : `\`${given}\``} is no verifier key of ${what}`,
      `a verifier key reads \`name+0a1b2c3d+base64\` and stands alone on its line, as ${type === 'log' ? 'under KEY in `writ audit keys`' : '`writ witness` prints it'}`,
    )
  })
  if (keys.length === 0) throw usage(`\`${flag}\`: \`${path}\` holds no verifier key`)
  return keys
}

function needed(text: string, witnesses: readonly VerifierKey[]): number {
  const number = Number(text)
  const most = authorities(witnesses).length
  if (most === 0)
    throw usage(
      '`--witnesses-needed` counts witnesses, and none is given',
      'name those you trust with --witness',
    )
  if (!/^\d{1,3}$/u.test(text) || number < 1 || number > most) {
    throw usage(
      `\`--witnesses-needed ${text}\` must be 1 to ${most}`,
      'so many distinct witnesses are given with --witness',
    )
  }
  return number
}
