/**
 * Looks for what opens something: in the environment and the arguments of processes, and in files.
 *
 * @module
 */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

export type Found = Readonly<{
  /** `password`: of an address; `jwt`; `private-key`; `writ-secret`: an API key or session of Writ; `known`. */
  kind: 'password' | 'jwt' | 'private-key' | 'writ-secret' | 'known'
  value: string
  /** `environment`, `arguments`, or the name of a file. */
  where: string
}>

const SHAPES: readonly (readonly [Found['kind'], RegExp])[] = [
  ['password', /[a-z]+:\/\/[^\s:/@]*:([^\s@/]+)@/gu],
  ['password', /PASSWORD=(.+)/gu],
  // as in a .pgpass
  ['password', /^[^\s:]+:(?:\d+|\*):[^\s:]+:[^\s:]+:([^\s:]+)$/gmu],
  ['jwt', /\b(eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*)/gu],
  ['private-key', /(-----BEGIN [A-Z ]*PRIVATE KEY-----)/gu],
  ['private-key', /"d" *: *"([\w-]{20,})"/gu],
  ['writ-secret', /(writ_(?:key|sess)_[\w-]+)/gu],
]

/** What `text` holds that opens something, or is one of `known`. */
function secretsIn(text: string, where: string, known: readonly string[]): Found[] {
  const shaped = SHAPES.flatMap(([kind, shape]) =>
    [...text.matchAll(shape)].map((match): Found => ({ kind, value: match[1] ?? '', where })),
  )
  const others = known.filter((value) => text.includes(value))
  return [...shaped, ...others.map((value): Found => ({ kind: 'known', value, where }))]
}

/** In every file under `folder`. */
export function secretsInFiles(folder: string, known: readonly string[]): Found[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isFile() ? secretsIn(readFileSync(path, 'utf8'), name, known) : []
  })
}

/** In environment and arguments of `root` and of everything below it. */
export function secretsInProcesses(root: number, known: readonly string[]): Found[] {
  return below(root).flatMap((pid) => [
    ...secretsIn(proc(pid, 'environ'), 'environment', known),
    ...secretsIn(proc(pid, 'cmdline'), 'arguments', known),
  ])
}

function below(root: number): number[] {
  const parents = new Map(
    processes().map((pid) => [pid, Number(/^PPid:\s*(\d+)/mu.exec(proc(pid, 'status'))?.[1] ?? 0)]),
  )
  const isBelow = (pid: number | undefined): boolean =>
    pid !== undefined && pid > 0 && (pid === root || isBelow(parents.get(pid)))
  return [...parents.keys()].filter(isBelow)
}

/** The arguments of every process on this machine, which everybody on it may read. */
export function argumentsOfAll(): string {
  return processes()
    .map((pid) => proc(pid, 'cmdline'))
    .join('\n')
}

const processes = (): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0)

/** A variable in the environment of some process below `root`: as whoever is on the same machine, and may, reads it. */
export function copiedVariable(root: number, name: string): string | undefined {
  const texts = below(root).map((pid) => proc(pid, 'environ'))
  return texts
    .map((text) => new RegExp(`^${name}=(.+)$`, 'mu').exec(text)?.[1])
    .find((value) => value !== undefined)
}

/** '' for a process that has ended meanwhile. */
function proc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').replaceAll('\0', '\n')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return ''
    throw error
  }
}
