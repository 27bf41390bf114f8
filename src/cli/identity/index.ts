/**
 * Who this command is, found in what surrounds it, so that nobody has to keep a secret.
 *
 * A token that was given outright (`WRIT_TOKEN`, then `token_file`) and a session of `writ login` come before all of
 * this. Then the first of these that is there:
 *
 * 1. `key`: a private key (`WRIT_CLIENT_KEY`, with `WRIT_CLIENT_ID`); it is named on purpose, so that it comes even
 *    before a session;
 * 2. `github`: a job of GitHub Actions with `permissions: id-token: write`;
 * 3. `gitlab`: a job of GitLab with `id_tokens` `WRIT_ID_TOKEN`;
 * 4. `kubernetes`: a projected token at `/var/run/secrets/writ/token`;
 * 5. `spiffe`: a JWT-SVID in the file `WRIT_SPIFFE_JWT_FILE`, else from the Workload API at `SPIFFE_ENDPOINT_SOCKET`.
 *
 * `WRIT_IDENTITY` forces one of them, or `none`. Every token is for the server's URL (or `WRIT_AUDIENCE`) alone; one
 * that is for somebody else is not sent.
 *
 * @module
 */
import { usage } from '../exit.ts'
import { claimsOf, endOf } from './claims.ts'
import { github, githubHint } from './github.ts'
import { gitlab } from './gitlab.ts'
import { key } from './key.ts'
import { kubernetes } from './kubernetes.ts'
import type { Around, Detector, Held, IdentityKind, Source } from './source.ts'
import { identityKinds, noIdentity, variable } from './source.ts'
import { spiffe } from './spiffe.ts'

export type { Around, ClientKey, Held, IdentityKind, Source } from './source.ts'
export { claimsOf, endOf, workloadOf } from './claims.ts'

const detectors: Readonly<Record<IdentityKind, Detector>> = { key, github, gitlab, kubernetes, spiffe }

/** What `WRIT_IDENTITY` forces. */
export function forcedIdentity(env: Around['env']): IdentityKind | 'none' | undefined {
  const wanted = variable({ env }, 'WRIT_IDENTITY')
  if (wanted === undefined) return undefined
  const found = [...identityKinds, 'none' as const].find((kind) => kind === wanted)
  if (found === undefined)
    throw usage(`WRIT_IDENTITY is \`${wanted}\``, `write one of ${identityKinds.join(', ')} or none`)
  return found
}

/**
 * The source of this command's identity, if there is one.
 *
 * @throws {CliError} 4 if `WRIT_IDENTITY` forces one that is not there.
 */
export function findSource(around: Around): Source | undefined {
  const forced = forcedIdentity(around.env)
  if (forced === 'none') return undefined
  if (forced === undefined) {
    for (const kind of identityKinds) {
      const found = detectors[kind](around)
      if (found !== undefined) return found
    }
    return undefined
  }
  const found = detectors[forced](around)
  if (found !== undefined) return found
  throw noIdentity(`WRIT_IDENTITY is \`${forced}\`, but there is none here`, missing[forced](around))
}

/** Every source that is there, whichever is used. One that cannot be looked at is none. */
export function presentSources(around: Around): readonly Source[] {
  return identityKinds.flatMap((kind) => {
    try {
      const found = detectors[kind](around)
      return found === undefined ? [] : [found]
    } catch {
      return [] // e.g. a file that may not be read: the one that is used says so itself
    }
  })
}

/** How each would be there. */
const missing: Readonly<Record<IdentityKind, (around: Around) => string>> = {
  key: () => 'name a private key in WRIT_CLIENT_KEY, and whose it is in WRIT_CLIENT_ID',
  github: (around) => githubHint(around) ?? 'this is no job of GitHub Actions',
  gitlab: (around) => `put \`id_tokens: { WRIT_ID_TOKEN: { aud: ${around.audience} } }\` into the job`,
  kubernetes: () =>
    'mount a projected token at /var/run/secrets/writ/token, or name its file in WRIT_TOKEN_FILE',
  spiffe: () => 'set SPIFFE_ENDPOINT_SOCKET, or name the file of spiffe-helper in WRIT_SPIFFE_JWT_FILE',
}

/** What would have to change for an identity to be found, where that can be told. */
export const identityHint = (env: Around['env']): string | undefined => githubHint({ env })

/** Before its end a token is renewed by so much, ms. */
const EARLY = 30_000

/** A source with what it gave last, in memory alone. */
export class Identity {
  readonly source: Source
  readonly #now: () => number
  #held: Held | undefined
  #asking: Promise<Held> | undefined

  constructor(source: Source, now: () => number) {
    this.source = source
    this.#now = now
  }

  /** A token that still counts; with one that the server `refused`, another if there is another. */
  async token(refused?: string): Promise<string> {
    return (await this.held(refused)).token
  }

  /** The same, with the key that it may be bound to. */
  async held(refused?: string): Promise<Held> {
    const held = this.#held
    if (held !== undefined && held.token !== refused && this.#counts(held, EARLY)) return held
    try {
      return await this.#ask()
    } catch (error) {
      // whoever makes the tokens is away: the last one does until its end
      if (held !== undefined && held.token !== refused && this.#counts(held, 0)) return held
      throw error
    }
  }

  #counts({ endsAt }: Held, early: number): boolean {
    return endsAt !== undefined && this.#now() < endsAt - early
  }

  /** Many requests at once ask once. */
  #ask(): Promise<Held> {
    this.#asking ??= this.#fetch().finally(() => (this.#asking = undefined))
    return this.#asking
  }

  async #fetch(): Promise<Held> {
    const given = await this.source.token()
    const endsAt = given.endsAt ?? endOf(claimsOf(given.token))
    const held = { ...given, ...(endsAt === undefined ? {} : { endsAt }) }
    this.#held = this.source.keep ? held : undefined
    return held
  }
}
