/**
 * P3: AuthZEN over HTTP. The load generator is `node:http` with keep-alive in this process; the servers run in
 * processes of their own. The peer is a bare Fastify door that parses the same body and writes one durable row.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { fork } from 'node:child_process'
import { once as happens } from 'node:events'
import { Agent, request } from 'node:http'
import type { Row } from './measure.ts'
import { rows, sample } from './measure.ts'

type Served = { url: string; token: string }

const evaluation = {
  subject: { type: 'Agent', id: 'migrator' },
  action: { name: 'read' },
  resource: { type: 'Document', id: 'handbook' },
}

export async function http(): Promise<readonly Row[]> {
  const peerDoor = await serve('peer')
  const ours = await serve('writ')
  try {
    const result: Row[] = []
    for (const concurrency of [1, 32]) {
      const peer = await load(peerDoor.served, '/access/v1/evaluation', evaluation, concurrency, permits)
      const mine = await load(ours.served, '/access/v1/evaluation', evaluation, concurrency, permits)
      result.push(...rows('http', `evaluation c=${concurrency}`, mine, { name: PEER, sample: peer }))
    }
    const batch = { evaluations: Array.from({ length: 50 }, () => evaluation) }
    const peer = await load(peerDoor.served, '/access/v1/evaluation', batch, 1, () => undefined)
    const mine = await load(ours.served, '/access/v1/evaluations', batch, 1, (answer) => {
      const { evaluations } = answer as { evaluations: { decision: boolean }[] }
      assert.ok(evaluations.length === 50 && evaluations.every(({ decision }) => decision))
    })
    result.push(...rows('http', 'batch of 50 c=1', mine, { name: `${PEER} (one row)`, sample: peer }))
    return result
  } finally {
    await peerDoor.stop()
    await ours.stop()
  }
}

const PEER = 'bare Fastify door, one durable row'

function permits(answer: unknown): void {
  assert.equal((answer as { decision: boolean }).decision, true)
}

async function serve(what: 'writ' | 'peer'): Promise<{ served: Served; stop(): Promise<void> }> {
  const child = fork(new URL('./http-server.ts', import.meta.url), [what])
  const [served] = (await happens(child, 'message')) as [Served]
  return {
    served,
    async stop() {
      const gone = happens(child, 'exit')
      child.send('stop')
      await gone
    },
  }
}

async function load(
  { url, token }: Served,
  path: string,
  body: unknown,
  concurrency: number,
  check: (answer: unknown) => void,
): ReturnType<typeof sample> {
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency })
  const payload = Buffer.from(JSON.stringify(body))
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': payload.length,
  }
  const once = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const sent = request(`${url}${path}`, { method: 'POST', agent, headers }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          try {
            assert.equal(response.statusCode, 200)
            check(JSON.parse(Buffer.concat(chunks).toString()))
            resolve()
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)))
          }
        })
      })
      sent.on('error', reject)
      sent.end(payload)
    })
  try {
    return await sample(once, { seconds: 2, concurrency })
  } finally {
    agent.destroy()
  }
}
