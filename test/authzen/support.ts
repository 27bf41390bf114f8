/**
 * What the AuthZEN suite works with: the example installation, started by its own command line as its README says, and
 * an enforcement point at its door.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { cpSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Cli } from '../support/cli.ts'

export const EXAMPLE = resolve(import.meta.dirname, '../../examples/authzen')

// oxlint-disable-next-line typescript/no-explicit-any -- an answer as it came, which each test looks into
export type Body = any
export type Answer = Readonly<{ status: number; headers: Headers; text: string; body: Body }>

export type Point = Readonly<{
  url: string
  key: string
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>
  send(method: string, path: string, init?: RequestInit): Promise<Answer>
  [Symbol.dispose](): void
}>

/** `writ dev` in a copy of the example folder, and a key for its enforcement point. */
export async function startExample(): Promise<Point> {
  const cli = new Cli()
  try {
    cpSync(EXAMPLE, cli.home, { recursive: true })
    const dev = cli.start(['dev', '--port', '0'])
    const [, url = ''] = await dev.says(/Console {2}(http:\/\/127\.0\.0\.1:\d+)\/\?code=/, 'stdout')
    const trusted = ['user.role', 'record.status', 'todo.ownerID'].flatMap((one) => ['--asserts', one])
    const made = await cli.run(
      [
        'keys',
        'create',
        'pep',
        '--subject',
        'Workload/pep',
        '--speaks-for',
        'user',
        ...trusted,
        '--out',
        'pep.key',
      ],
      { env: { WRIT_URL: url } },
    )
    assert.equal(made.code, 0, made.stderr)
    return pointAt(url, readFileSync(join(cli.home, 'pep.key'), 'utf8').trim(), () => cli[Symbol.dispose]())
  } catch (error) {
    cli[Symbol.dispose]()
    throw error
  }
}

/** An enforcement point with `key` at `url`. */
export function pointAt(url: string, key: string, dispose: () => void = () => undefined): Point {
  const send: Point['send'] = async (method, path, init = {}) => {
    const response = await fetch(`${url}${path}`, { method, redirect: 'manual', ...init })
    const text = await response.text()
    const isJson = (response.headers.get('content-type') ?? '').includes('json')
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson ? (JSON.parse(text) as unknown) : undefined,
    }
  }
  return {
    url,
    key,
    send,
    post: (path, body, headers = {}) =>
      send('POST', path, {
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    [Symbol.dispose]: dispose,
  }
}
