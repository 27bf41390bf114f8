/**
 * The sign-in server for programs as others see it. What answers there is loaded with the first program that asks: its library
 * takes as long to load as half of a start, and most servers need it late or never.
 *
 * @module
 */
import type { Programs, ProgramsOptions } from './port.ts'
import { METADATA, MOUNT, PATHS, isOfPrograms } from './port.ts'

export function createPrograms(options: ProgramsOptions): Programs {
  let loading: Promise<Programs> | undefined
  const loaded = (): Promise<Programs> =>
    (loading ??= import('./provider.ts').then(({ createProvider }) => createProvider(options)))

  return {
    handle(request, response, origin) {
      const { url = '', method } = request
      const [path = ''] = url.split('?')
      const below = path.startsWith(MOUNT) ? path.slice(MOUNT.length) : ''
      const isOurs = path === METADATA || PATHS.test(below)
      // RFC 6749 §3.1 wants GET; what is posted there is a form on somebody else's page
      const isPosted = method !== 'GET' && below.startsWith('/auth')
      if (!isOurs || isPosted || !isOfPrograms(origin, options.publicUrl)) return false
      loaded().then(
        (programs) => programs.handle(request, response, origin),
        (error: unknown) => {
          options.log('programs cannot sign people in', error instanceof Error ? error.message : typeof error)
          response.writeHead(503).end()
        },
      )
      return true
    },
    waiting: async (request, response, origin) => (await loaded()).waiting(request, response, origin),
    answer: async (request, response, origin, person) =>
      (await loaded()).answer(request, response, origin, person),
    // who has issued nothing knows no token
    caller: async (token) => (loading === undefined ? undefined : (await loading).caller(token)),
    admitted: async (person) => (loading === undefined ? [] : (await loading).admitted(person)),
    end: async (person, id) => (loading === undefined ? undefined : (await loading).end(person, id)),
  }
}
