/**
 * Ports that are one's own, also while nothing listens there.
 *
 * A port that the system picks (`listen(0)`) is for anybody's next connection or server once it is closed again: who
 * starts a server there a second time finds it taken, now and then.
 *
 * @module
 */
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'

export type OwnPort = Readonly<{
  port: number
  /** It may be another's from here on; as it may when this process ends. */
  release(): void
}>

/** Below it programs of the system have theirs. */
const FIRST = 10_000
/** From here on the system picks by itself, where it does not say otherwise: Linux; others begin later. */
const PICKED_FROM = 32_768
const ATTEMPTS = 100

/**
 * A port on `host` that the system gives nobody, and no other caller of this, in whatever process, gets meanwhile.
 *
 * @throws {Error} if there is none.
 */
export async function ownPort(host: string): Promise<OwnPort> {
  const end = pickedFrom()
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST, end)
    const claim = await claimed(host, port)
    if (claim === undefined) continue
    if (await isFree(host, port)) return { port, release: claim }
    claim()
  }
  throw new Error(`no free port between ${FIRST} and ${end}`)
}

/** Ports of UDP are others: what is bound there stands for the claim, and goes with this process. */
async function claimed(host: string, port: number): Promise<(() => void) | undefined> {
  const socket = createSocket('udp4').unref()
  const bound = once(socket, 'listening')
  socket.bind({ address: host, port, exclusive: true })
  try {
    await bound
    return () => socket.close()
  } catch {
    socket.close()
    return undefined
  }
}

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer()
  const listening = once(server, 'listening')
  server.listen({ host, port, exclusive: true })
  try {
    await listening
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}

function pickedFrom(): number {
  try {
    const [first = ''] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/u)
    // a machine that lets the system pick from everywhere leaves none that is nobody's
    return Number(first) > FIRST ? Number(first) : PICKED_FROM
  } catch {
    return PICKED_FROM
  }
}
