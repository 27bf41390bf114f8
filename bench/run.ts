/**
 * `npm run bench [-- NAME…] [--json] [--full]`: ratios with a peer measured in the same run. Exits 1 when an answer was wrong.
 *
 * @module
 */
import type { Row } from './measure.ts'
import { challenge } from './challenge.ts'
import { cut } from './cut.ts'
import { decision } from './decision.ts'
import { grants } from './grants.ts'
import { tokens } from './tokens.ts'
import { growth } from './growth.ts'
import { http } from './http.ts'
import { log } from './log.ts'
import { policy } from './policy.ts'
import { proof } from './proof.ts'
import { reload } from './reload.ts'
import { revoke } from './revoke.ts'
import { search } from './search.ts'
import { storm } from './storm.ts'

const benches: Readonly<
  Record<string, { what: string; run: () => readonly Row[] | Promise<readonly Row[]> }>
> = {
  policy: { what: 'P1 P10 decision by compiled policies, 10 to 10,000', run: policy },
  decision: { what: 'P2 full decision in process, durable record', run: decision },
  challenge: { what: 'the challenge search, 8 kinds of evidence and 1,000 policies', run: challenge },
  http: { what: 'P3 AuthZEN over HTTP, durable record before the reply', run: http },
  tokens: {
    what: 'P5 tokens: exchange and client credentials, verified, decided, signed, recorded',
    run: tokens,
  },
  grants: { what: 'P4 grant issue: decision, state and record in one commit', run: grants },
  proof: { what: 'S06 the proof of why made from a long log, and verified', run: proof },
  log: {
    what: 'P7 P10 the log: append, prove, verify, search; --full to 10⁷ entries',
    run: () => log({ full }),
  },
  reload: { what: 'P12 10,000 policies published while decisions go on', run: reload },
  search: {
    what: 'AuthZEN search: 10 of 10,000 resources, without deciding what no permit reaches',
    run: search,
  },
  growth: {
    what: 'P10 decisions as live grants and open tasks grow; --full to 10⁶ and 10⁵',
    run: () => growth(full),
  },
  storm: {
    what: 'P6 P6c P11 10,000 live grants end at once while others decide; --full 100,000',
    run: () => storm(full),
  },
  cut: { what: 'P6 from a signal to an open PostgreSQL session closed, at 10,000 grants', run: cut },
  revoke: { what: 'P6b PostgreSQL role removed, its open session cut', run: revoke },
}

const full = process.argv.includes('--full')
const json = process.argv.includes('--json')
const names = process.argv.slice(2).filter((name) => !name.startsWith('--'))
const unknown = names.filter((name) => benches[name] === undefined)
if (unknown.length > 0) {
  process.stderr.write(
    `unknown bench \`${unknown.join('`, `')}\`; known are ${Object.keys(benches).join(', ')}\n`,
  )
  process.exit(2)
}

for (const [name, { what, run }] of Object.entries(benches)) {
  if (names.length > 0 && !names.includes(name)) continue
  process.stderr.write(`${what} …\n`)
  for (const row of await run()) process.stdout.write(json ? `${JSON.stringify(row)}\n` : `${table(row)}\n`)
}
process.exit(0)

function table({ bench, metric, value, unit, peer, ratio }: Row): string {
  const figure = `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${unit}`
  const against = peer === null || ratio === null ? '' : `${ratio.toPrecision(3)}× ${peer}`
  return `${bench.padEnd(9)} ${metric.padEnd(34)} ${figure.padStart(12)}   ${against}`
}
