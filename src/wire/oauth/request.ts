/**
 * Token requests (RFC 6749, 7523, 8693, 8707, 9396) as forms: what is read is bounded, said once and well-formed; what
 * the standards do not name is ignored.
 *
 * @module
 */
import type { Json } from '../../model/canonical.ts'
import type { EntityRef } from '../../model/entity.ts'
import { parseRef } from '../../model/entity.ts'
import { readJson } from '../../model/json.ts'
import { refuse } from '../../model/refusal.ts'
import type { ClientProof, TokenRequest } from '../../model/token.ts'
import { actionName, entityType, id, properties, text } from '../bounds.ts'

export const GRANT_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const GRANT_ASSERTION = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
export const GRANT_CLIENT = 'client_credentials'
export const CLIENT_ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:'
export const ACCESS_TOKEN_TYPE = `${TOKEN_TYPE}access_token`
export const JWT_TYPE = `${TOKEN_TYPE}jwt`

/** Longest token in a form, in characters. */
export const TOKEN_MOST = 16 * 1024
const FIELDS_MOST = 64
const SCOPES_MOST = 16
const DETAILS_MOST = 16
const DETAILS_LONG = 16 * 1024
const VALUE_MOST = 2_048
const APPROVAL_MOST = 8 * 1024

export type Fields = readonly (readonly [string, string])[]

/** What may be there more than once (RFC 8693 §2.1, RFC 8707 §2). */
const repeatable: ReadonlySet<string> = new Set(['resource', 'audience'])
const LENGTHS: Readonly<Record<string, number>> = {
  subject_token: TOKEN_MOST,
  actor_token: TOKEN_MOST,
  assertion: TOKEN_MOST,
  client_assertion: TOKEN_MOST,
  token: TOKEN_MOST,
  authorization_details: DETAILS_LONG,
  approval: APPROVAL_MOST,
  justification: 4 * VALUE_MOST,
}
/** Every parameter that is read. Of others, also of other lengths, nothing is known and nothing is refused. */
const known: ReadonlySet<string> = new Set([
  ...Object.keys(LENGTHS),
  'grant_type',
  'scope',
  'resource',
  'audience',
  'requested_token_type',
  'subject_token_type',
  'actor_token_type',
  'client_id',
  'client_secret',
  'client_assertion_type',
  'token_type_hint',
  'writ_task',
  'writ_grant',
  'writ_delegation',
  'access_request',
])

/** A form whose parameters are each there once; empty ones count as left out (RFC 6749 §3.2). */
export class Form {
  readonly #values = new Map<string, string[]>()

  /** @throws {WritError} `invalid_request`. */
  constructor(fields: Fields) {
    if (fields.length > FIELDS_MOST)
      throw refuse('invalid_request', `a form has at most ${FIELDS_MOST} fields`)
    const seen = new Set<string>()
    for (const [name, value] of fields) {
      if (seen.has(name) && !repeatable.has(name)) {
        throw refuse(
          'invalid_request',
          known.has(name) ? `${name} is there twice` : 'a parameter is there twice',
        )
      }
      seen.add(name)
      if (!known.has(name) || value === '') continue
      if (value.length > (LENGTHS[name] ?? VALUE_MOST)) throw refuse('invalid_request', `${name} is too long`)
      if (!value.isWellFormed()) throw refuse('invalid_request', `${name} is no Unicode text`)
      this.#values.set(name, [...(this.#values.get(name) ?? []), value])
    }
  }

  get(name: string): string | undefined {
    return this.#values.get(name)?.[0]
  }

  all(name: string): readonly string[] {
    return [...new Set(this.#values.get(name) ?? [])]
  }

  require(name: string): string {
    const value = this.get(name)
    if (value === undefined) throw refuse('invalid_request', `${name} is missing`)
    return value
  }
}

/** How the client proves itself. @throws {WritError} `invalid_client` for secrets that both sides would hold. */
export function parseClient(form: Form): ClientProof {
  if (form.get('client_secret') !== undefined) {
    throw refuse('invalid_client', 'no client has a secret here; send a client_assertion (RFC 7523)')
  }
  const clientId = form.get('client_id')
  const assertion = form.get('client_assertion')
  const type = form.get('client_assertion_type')
  if ((assertion === undefined) !== (type === undefined)) {
    throw refuse('invalid_request', 'client_assertion and client_assertion_type go together')
  }
  if (type !== undefined && type !== CLIENT_ASSERTION) {
    throw refuse('invalid_client', `client_assertion_type is not ${CLIENT_ASSERTION}`)
  }
  return {
    ...(clientId === undefined ? {} : { id: clientId }),
    ...(assertion === undefined ? {} : { assertion }),
  }
}

/** @throws {WritError} with the code that the standards name. */
export function parseTokenRequest(fields: Fields): TokenRequest {
  const form = new Form(fields)
  const client = parseClient(form)
  const grantType = form.require('grant_type')
  const proof = proofOf(form, grantType)
  const scope = scopeOf(form.get('scope'))
  const details = detailsOf(form.get('authorization_details'))
  const audience = audienceOf(form)
  const task = handle(form, 'writ_task')
  const under = handle(form, 'writ_grant')
  const delegation = handle(form, 'writ_delegation')
  const accessRequest = handle(form, 'access_request')
  const justification = form.get('justification')
  if (justification !== undefined && !text.safeParse(justification).success) {
    throw refuse('invalid_request', 'justification is too long or holds control characters')
  }
  const approval = approvalOf(form.get('approval'))
  return {
    ...proof,
    client,
    requested: requestedOf(form.get('requested_token_type')),
    ...(audience === undefined ? {} : { audience }),
    scope,
    details,
    ...(task === undefined ? {} : { task }),
    ...(under === undefined ? {} : { under }),
    ...(delegation === undefined ? {} : { delegation }),
    ...(approval === undefined ? {} : { approval }),
    ...(accessRequest === undefined ? {} : { accessRequest }),
    ...(justification === undefined ? {} : { justification }),
  }
}

function proofOf(
  form: Form,
  grantType: string,
): Pick<TokenRequest, 'grant' | 'subjectToken' | 'actorToken' | 'assertion'> {
  switch (grantType) {
    case GRANT_CLIENT:
      return { grant: 'client' }
    case GRANT_ASSERTION:
      return { grant: 'assertion', assertion: form.require('assertion') }
    case GRANT_EXCHANGE: {
      const subjectToken = form.require('subject_token')
      requireType('subject_token_type', form.require('subject_token_type'))
      const actorToken = form.get('actor_token')
      const actorType = form.get('actor_token_type')
      if (actorToken === undefined && actorType !== undefined) {
        throw refuse('invalid_request', 'actor_token_type is there without actor_token')
      }
      if (actorToken !== undefined) requireType('actor_token_type', form.require('actor_token_type'))
      return { grant: 'exchange', subjectToken, ...(actorToken === undefined ? {} : { actorToken }) }
    }
    default:
      throw refuse(
        'unsupported_grant_type',
        `grant_type is none of ${GRANT_EXCHANGE}, ${GRANT_CLIENT}, ${GRANT_ASSERTION}`,
      )
  }
}

function requireType(name: string, type: string): void {
  if (type === ACCESS_TOKEN_TYPE || type === JWT_TYPE || type === `${TOKEN_TYPE}id_token`) return
  throw refuse('invalid_request', `${name} is none of access_token, jwt and id_token (RFC 8693 section 3)`)
}

function requestedOf(type: string | undefined): 'access_token' | 'jwt' {
  if (type === undefined || type === ACCESS_TOKEN_TYPE) return 'access_token'
  if (type === JWT_TYPE) return 'jwt'
  throw refuse('invalid_request', 'requested_token_type is neither access_token nor jwt')
}

/** Names of actions, each once. RFC 6749 §3.3 says what a name may be made of. */
function scopeOf(value: string | undefined): readonly string[] {
  if (value === undefined) return []
  const names = value.split(' ')
  if (names.length > SCOPES_MOST) throw refuse('invalid_scope', `scope has more than ${SCOPES_MOST} names`)
  for (const name of names) {
    if (!/^[\x21\x23-\x5b\x5d-\x7e]+$/u.test(name) || !actionName.safeParse(name).success) {
      throw refuse('invalid_scope', 'scope is not a list of names of actions with one space between them')
    }
  }
  return [...new Set(names)]
}

const malformed = (why: string) => refuse('invalid_authorization_details', `authorization_details ${why}`)

function detailsOf(value: string | undefined): TokenRequest['details'] {
  if (value === undefined) return []
  const read = readJson(value, 10)
  if (read.problem !== undefined) throw malformed('is not JSON that has one reading')
  if (!Array.isArray(read.value) || read.value.length === 0) throw malformed('is not an array of objects')
  if (read.value.length > DETAILS_MOST) throw malformed(`has more than ${DETAILS_MOST} items`)
  return read.value.map(detailOf)
}

function detailOf(value: unknown): TokenRequest['details'][number] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed('is not an array of objects')
  const { type, action, resource, properties: sent, ...more } = value as Readonly<Record<string, unknown>>
  if (type !== 'writ') throw malformed('has an item of another type than writ')
  // RFC 9396 §5: what is not understood is not granted by leaving it out
  if (Object.keys(more).length > 0)
    throw malformed('has members beside type, action, resource and properties')
  const name = actionName.safeParse(action)
  if (!name.success) throw malformed('has an item whose action is no name')
  const held = sent === undefined ? undefined : properties.safeParse(sent)
  if (held?.success === false) throw malformed('has properties that are too large or no object')
  return {
    action: name.data,
    ...(resource === undefined ? {} : { resource: resourceOf(resource) }),
    ...(held === undefined ? {} : { properties: held.data }),
  }
}

function resourceOf(value: unknown): EntityRef {
  const named = typeof value === 'string' ? parseRef(value) : value
  if (typeof named === 'object' && named !== null) {
    const { type, id: name, ...more } = named as Readonly<Record<string, unknown>>
    const parsed = { type: entityType.safeParse(type), id: id.safeParse(name) }
    if (parsed.type.success && parsed.id.success && Object.keys(more).length === 0) {
      return { type: parsed.type.data, id: parsed.id.data }
    }
  }
  throw malformed('names a resource that is no reference such as Api/payments')
}

/** The one place that shall accept the token: one that several accept could be used by each of them at the others. */
function audienceOf(form: Form): TokenRequest['audience'] {
  const audiences = form.all('audience')
  const resources = form.all('resource')
  if (audiences.length + resources.length > 1) {
    throw refuse('invalid_target', 'a token is for one audience or resource; ask for several tokens')
  }
  const [audience] = audiences
  const [resource] = resources
  if (resource !== undefined) {
    const url = URL.parse(resource)
    // RFC 8707 §2: absolute, without a fragment
    if (url === null || resource.includes('#')) throw refuse('invalid_target', 'resource is no absolute URI')
    return { uri: resource }
  }
  if (audience === undefined) return undefined
  const ref = parseRef(audience)
  if (ref !== undefined && entityType.safeParse(ref.type).success && id.safeParse(ref.id).success)
    return { ref }
  if (URL.parse(audience) !== null) return { uri: audience }
  throw refuse('invalid_target', 'audience is no reference such as Api/payments')
}

function handle(form: Form, name: string): string | undefined {
  const value = form.get(name)
  if (value === undefined || /^[\w-]{1,128}$/u.test(value)) return value
  throw refuse('invalid_request', `${name} is no id`)
}

/** `approval` of an access request's result, unchanged: an object, or its id alone. */
function approvalOf(value: string | undefined): Json | undefined {
  if (value === undefined) return undefined
  if (!value.startsWith('{')) return value
  const read = readJson(value, 8)
  if (read.problem !== undefined)
    throw refuse('invalid_request', 'approval is neither an id nor a JSON object')
  return read.value as Json
}

/** A request to look at a token, or to revoke it (RFC 7662 §2.1, RFC 7009 §2.1). */
export function parseTokenForm(fields: Fields): Readonly<{ token: string; client: ClientProof }> {
  const form = new Form(fields)
  return { client: parseClient(form), token: form.require('token') }
}
