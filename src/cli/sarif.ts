/**
 * Findings as SARIF 2.1.0 (OASIS, 2020), for code scanners.
 *
 * @module
 */
import type { Problem, ProblemCode } from '../policy/index.ts'
import { lintNames, problemCodes, problemHelp } from '../policy/index.ts'
import { escaped } from './text.ts'

const SCHEMA = 'https://json.schemastore.org/sarif-2.1.0.json'

const codes = Object.keys(problemCodes) as ProblemCode[]

/** One finding, and whether its file is one that a reader could open. */
export type Found = Problem & Readonly<{ located?: boolean }>

/**
 * A SARIF log with one run; files are named relative to where the command ran (`%SRCROOT%`), and columns count
 * characters.
 */
export function sarif(problems: readonly Found[], version: string): string {
  const log = {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'writ', version, rules: codes.map(rule) } },
        columnKind: 'unicodeCodePoints',
        results: problems.map(result),
      },
    ],
  }
  return `${escaped(JSON.stringify(log, undefined, 2))}\n`
}

function rule(code: ProblemCode) {
  const sentence = `${problemCodes[code].charAt(0).toUpperCase()}${problemCodes[code].slice(1)}.`
  return {
    id: code,
    ...(code in lintNames ? { name: lintNames[code as keyof typeof lintNames] } : {}),
    shortDescription: { text: sentence },
    fullDescription: { text: sentence },
    help: { text: problemHelp[code], markdown: problemHelp[code] },
    defaultConfiguration: { level: code.startsWith('L') ? 'warning' : 'error' },
  }
}

function result({ located = true, ...problem }: Found) {
  const { code, severity, message, hint, file, line, column, endLine, endColumn, excerpt } = problem
  const region = {
    startLine: line,
    startColumn: column,
    ...(endLine === undefined || endColumn === undefined ? {} : { endLine, endColumn }),
  }
  const place = {
    physicalLocation: {
      artifactLocation: { uri: uriOf(file), uriBaseId: '%SRCROOT%' },
      region,
      ...(excerpt === '' || (endLine ?? line) > line
        ? {}
        : { contextRegion: { startLine: line, endLine: line, snippet: { text: excerpt } } }),
    },
  }
  return {
    ruleId: code,
    ruleIndex: codes.indexOf(code),
    level: severity,
    message: { text: hint === undefined ? message : `${message}: ${hint}` },
    locations: located ? [place] : [],
  }
}

/** A path as a relative reference (RFC 3986). */
function uriOf(path: string): string {
  const uri = path
    .split(/[\\/]/u)
    .map((name) => encodeURIComponent(name.toWellFormed()))
    .join('/')
  // a colon in the first segment would be read as a scheme, but it is escaped by then
  return uri.replace(/^\/+/u, '')
}
