/**
 * The forms in which entries leave, each one line of text.
 *
 * @module
 */
import { toCloudEvent } from './cloudevents.ts'
import { severities, ruleOf, toOcsf } from './ocsf.ts'
import type { Recorded } from './record.ts'
import { outcomeOf } from './record.ts'

export const formats = ['ocsf', 'cloudevents', 'entries'] as const
export type ExportFormat = (typeof formats)[number]

/** The entry in `format` as one line of JSON, without its end of line. `version` is that of Writ. */
export function encodeLine(of: Recorded, format: ExportFormat, version: string): string {
  if (format === 'ocsf') return JSON.stringify(toOcsf(of, version))
  if (format === 'cloudevents') return JSON.stringify(toCloudEvent(of))
  const place = `"seq":${of.seq},"origin":${JSON.stringify(of.origin)},"leaf":"${of.leaf}"`
  // verbatim: whoever hashes the text after `"entry":` gets the leaf
  return of.text === undefined ? `{${place},"at":${of.at},"pruned":true}` : `{${place},"entry":${of.text}}`
}

/** How several lines travel in one HTTP body. */
export function encodeBatch(lines: readonly string[], format: ExportFormat): { type: string; body: string } {
  return format === 'cloudevents'
    ? { type: 'application/cloudevents-batch+json', body: `[${lines.join(',')}]` }
    : { type: 'application/x-ndjson', body: `${lines.join('\n')}\n` }
}

/** Syslog's severity of an entry: 2 critical … 6 informational (RFC 5424 §6.2.1). */
export function syslogSeverity(of: Recorded): number {
  const severity =
    severities[ruleOf(of.kind).severity ?? (outcomeOf(of) === 'deny' ? 'low' : 'informational')]
  return [6, 6, 5, 4, 3, 2][severity] as number
}
