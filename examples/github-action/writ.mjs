/**
 * The little of Writ that an action needs: a token of the job, tasks, token exchange, access requests. No dependencies.
 *
 * @module
 */

const LIMIT = 15_000
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TYPE = 'urn:ietf:params:oauth:token-type'

const pause = (millis) => new Promise((done) => setTimeout(done, millis))

/** Why the server said no, or that it did not answer. Never what was sent. */
export class Refused extends Error {
  constructor(message, status, body) {
    super(message)
    this.status = status
    this.body = body
  }
}

async function send(url, options = {}) {
  let response
  try {
    // a redirect would carry the token to wherever it points
    response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(LIMIT), ...options })
  } catch {
    throw new Refused(`${new URL(url).origin} does not answer`, 0, {})
  }
  const text = await response.text()
  let body = {}
  try {
    body = text === '' ? {} : JSON.parse(text)
  } catch {
    // the status has to do
  }
  return { status: response.status, headers: response.headers, body }
}

/** A token about this job, for `audience` alone. */
export async function idToken(audience, env = process.env) {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret } = env
  if (!url || !secret)
    throw new Error(
      'this job may have no token: give it `permissions: id-token: write` (a fork never has it)',
    )
  const at = new URL(url)
  at.searchParams.set('audience', audience)
  for (let tries = 1; ; tries++) {
    const { status, body } = await send(at, { headers: { authorization: `Bearer ${secret}` } }).catch(
      (error) => error,
    )
    if (status === 200 && typeof body.value === 'string') return body.value
    const passing = status === 0 || status === 429 || status >= 500
    if (!passing || tries === 3) throw new Error(`GitHub gave no token of this job (status ${status})`)
    await pause(tries * 500)
  }
}

/** A server, spoken to as the job. */
export class Writ {
  #url
  #token

  /** `token` is asked before each request: what GitHub gives lives for minutes only. */
  constructor(url, token) {
    this.#url = new URL(url)
    this.#token = token
  }

  get #base() {
    return this.#url.href.replace(/\/$/u, '')
  }

  async #call(method, path, body) {
    const { status, body: answer } = await send(`${this.#base}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${await this.#token()}`,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(method === 'POST' ? { 'idempotency-key': crypto.randomUUID() } : {}),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    if (status >= 200 && status < 300) return answer
    throw new Refused(
      answer.detail ?? answer.title ?? `the server answered with status ${status}`,
      status,
      answer,
    )
  }

  me() {
    return this.#call('GET', '/v1/me')
  }

  declareTask(task) {
    return this.#call('POST', '/v1/tasks', task)
  }

  endTask(id, status, reason) {
    return this.#call('POST', `/v1/tasks/${encodeURIComponent(id)}/end`, { status, reason })
  }

  submit(request) {
    return this.#call('POST', '/access/v1/requests', request)
  }

  request(id) {
    return this.#call('GET', `/access/v1/requests/${encodeURIComponent(id)}`)
  }

  cancelRequest(id, reason) {
    return this.#call('POST', `/access/v1/requests/${encodeURIComponent(id)}/cancel`, { reason })
  }

  /** Where tokens are exchanged and ended (RFC 8414); at this server alone. */
  async metadata() {
    const path = this.#url.pathname.replace(/\/$/u, '')
    const { status, body } = await send(new URL(`/.well-known/oauth-authorization-server${path}`, this.#url))
    if (status !== 200) throw new Refused('this server issues no tokens', status, body)
    if (body.issuer?.replace(/\/$/u, '') !== this.#base)
      throw new Error(`the server calls itself ${body.issuer}: give that as \`url\``)
    for (const name of ['token_endpoint', 'revocation_endpoint'])
      if (body[name] !== undefined && new URL(body[name]).origin !== this.#url.origin)
        throw new Error(`the ${name} is not at the server`)
    return body
  }

  /**
   * A token for `resource` (RFC 8693), bound to the key of `holder` if there is one. What is refused throws `Refused`,
   * with the answer in `body`.
   */
  async exchange({ resource, scope, task, approval, holder }) {
    const { token_endpoint: endpoint } = await this.metadata()
    const isUri = /^[a-z][a-z0-9+.-]*:\/\//iu.test(resource)
    const form = new URLSearchParams({
      grant_type: EXCHANGE,
      [isUri ? 'resource' : 'audience']: resource,
      scope,
      requested_token_type: `${TYPE}:access_token`,
      subject_token: await this.#token(),
      subject_token_type: `${TYPE}:jwt`,
      ...(task ? { writ_task: task } : {}),
      ...(approval === undefined ? {} : { approval: JSON.stringify(approval) }),
    })
    let nonce
    for (let tries = 1; ; tries++) {
      const headers = holder === undefined ? {} : { dpop: await holder.proof('POST', endpoint, nonce) }
      const {
        status,
        headers: answered,
        body,
      } = await send(endpoint, { method: 'POST', headers, body: form })
      if (status === 200 && typeof body.access_token === 'string') {
        if (holder !== undefined && body.token_type?.toLowerCase() !== 'dpop')
          throw new Error('the token is not bound to the key, though that was asked for')
        return body
      }
      nonce = answered?.get('dpop-nonce') ?? undefined
      // the server names a value that each proof must hold (RFC 9449)
      if (body.error === 'use_dpop_nonce' && nonce !== undefined && tries === 1) continue
      const hint = body.error === 'invalid_dpop_proof' && holder === undefined ? '; set `dpop: true`' : ''
      throw new Refused(
        `no token: ${body.error_description ?? body.error ?? `status ${status}`}${hint}`,
        status,
        body,
      )
    }
  }

  /** Ends a token (RFC 7009). */
  async revoke(token) {
    const { revocation_endpoint: endpoint } = await this.metadata()
    if (endpoint === undefined) throw new Error('this server takes no token back before its end')
    const { status } = await send(endpoint, {
      method: 'POST',
      headers: { authorization: `Bearer ${await this.#token()}` },
      body: new URLSearchParams({ token, token_type_hint: 'access_token' }),
    })
    if (status !== 200) throw new Refused(`the token may still count: status ${status}`, status, {})
  }
}

const encoded = (value) => Buffer.from(value).toString('base64url')

/** A key of this job's own, and the proofs that it holds it (DPoP, RFC 9449). */
export async function newHolder() {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey('jwk', pair.privateKey)
  return {
    privateJwk: { kty, crv, x, y, d },
    async proof(method, url, nonce) {
      const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } }
      const claims = {
        jti: crypto.randomUUID(),
        htm: method,
        htu: url,
        iat: Math.floor(Date.now() / 1_000),
        ...(nonce === undefined ? {} : { nonce }),
      }
      const signed = `${encoded(JSON.stringify(header))}.${encoded(JSON.stringify(claims))}`
      const how = { name: 'ECDSA', hash: 'SHA-256' }
      const signature = await crypto.subtle.sign(how, pair.privateKey, new TextEncoder().encode(signed))
      return `${signed}.${encoded(new Uint8Array(signature))}`
    },
  }
}

const ref = (text) => ({ type: text.slice(0, text.indexOf('/')), id: text.slice(text.indexOf('/') + 1) })

/** What is submitted for a token that needs evidence: what was asked for, and what binds it to the answer. */
export function submissionOf(answer, asked, self, reason) {
  const { access_request: offer } = answer
  const attempt = answer.attempt ?? {
    subject: ref(self),
    action: { name: asked.scope },
    resource: ref(asked.resource),
    context: asked.task ? { task: asked.task } : {},
  }
  return {
    ...attempt,
    context: { ...attempt.context, ...(reason === '' ? {} : { justification: reason }) },
    denial: {
      expires_at: offer.expires_at,
      ...(answer.evaluation_id === undefined ? {} : { evaluation_id: answer.evaluation_id }),
      ...(answer.evaluated_at === undefined ? {} : { evaluated_at: answer.evaluated_at }),
      ...(offer.binding_token === undefined ? {} : { binding_token: offer.binding_token }),
      ...(offer.template === undefined ? {} : { template: offer.template }),
    },
    client: { name: 'writ-action' },
  }
}

/** The approval of a request, once it is there; throws when there will be none, or not within `seconds`. */
export async function approvalOf(writ, id, seconds) {
  const until = Date.now() + seconds * 1_000
  for (let polls = 0; ; polls++) {
    // an outage of the moment is waited out, as the approval is
    const seen = await writ.request(id).catch((error) => {
      if (error instanceof Refused && (error.status === 0 || error.status >= 500 || error.status === 429))
        return undefined
      throw error
    })
    const status = seen?.task?.status ?? 'pending'
    if (status === 'approved' && seen.result?.mode === 'reevaluate') return seen.result.approval
    if (status !== 'pending') throw new Error(`access request ${id} is ${status}`)
    if (Date.now() >= until) throw new Error(`access request ${id} was not approved within ${seconds} s`)
    await pause(Math.min(1_000 * 1.5 ** Math.min(polls, 8), 15_000, Math.max(0, until - Date.now())))
  }
}
