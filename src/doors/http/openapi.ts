/**
 * OpenAPI 3.1 out of the route table: the schemas are the ones that validate.
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import { ID_MOST } from '../../wire/bounds.ts'
import { problem } from '../../wire/problem.ts'
import type { ResponseSpec, Route } from './route.ts'

type JsonObject = { [member: string]: Json | undefined }

/** The name a schema is known by, if it has one. */
function nameOf(schema: z.ZodType): string | undefined {
  const { id } = schema.meta() ?? {}
  return typeof id === 'string' ? id : undefined
}

/** What a schema stands for in documentation, when it only hands the value on. */
function documented(schema: z.ZodType): z.ZodType {
  const stand = schema.meta()?.['schema']
  return stand instanceof z.ZodType ? stand : schema
}

class Components {
  readonly schemas: Record<string, JsonObject> = {}

  /** A reference if the schema has a name, else the schema itself; named parts become components. */
  of(schema: z.ZodType): JsonObject {
    const {
      $defs,
      $schema: _schema,
      ...body
    } = z.toJSONSchema(documented(schema), {
      io: 'input',
      unrepresentable: 'any',
      target: 'draft-2020-12',
    }) as JsonObject & { $defs?: Record<string, JsonObject> }
    for (const [name, part] of Object.entries($defs ?? {})) this.#keep(name, part)
    const name = nameOf(documented(schema))
    if (name === undefined) return relocated(body) as JsonObject
    // a schema with a name may stand among the definitions already
    if (body['$ref'] === undefined) this.#keep(name, body)
    return { $ref: `#/components/schemas/${name}` }
  }

  #keep(name: string, body: JsonObject): void {
    const { id: _id, $id: _uri, ...rest } = body
    this.schemas[name] = relocated(rest) as JsonObject
  }
}

/** References into `$defs` point to the components; `id`, a note to ourselves, goes. */
function relocated(value: Json | undefined): Json | undefined {
  if (Array.isArray(value)) return value.map((item: Json) => relocated(item) as Json)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([member, inner]) => [
      member,
      member === '$ref' && typeof inner === 'string'
        ? inner.replace('#/$defs/', '#/components/schemas/')
        : relocated(inner),
    ]),
  )
}

function responseOf(components: Components, spec: ResponseSpec): JsonObject {
  const type = spec.type ?? (spec.schema === undefined ? undefined : 'application/json')
  if (type === undefined) return { description: spec.description }
  const schema = spec.schema === undefined ? { type: 'string' } : components.of(spec.schema)
  return { description: spec.description, content: { [type]: { schema } } }
}

function fieldsOf(
  components: Components,
  schema: z.ZodType | undefined,
  place: 'path' | 'query',
): JsonObject[] {
  if (!(schema instanceof z.ZodObject)) return []
  return Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, field]) => ({
    name: name === '*' ? 'path' : name,
    in: place,
    required: place === 'path' || !(field instanceof z.ZodOptional || field instanceof z.ZodExactOptional),
    schema: components.of(field),
  }))
}

function operationOf(components: Components, route: Route): JsonObject {
  const parameters = [
    ...fieldsOf(components, route.params, 'path'),
    ...fieldsOf(components, route.query, 'query'),
    ...(route.idempotent === true
      ? [
          {
            name: 'Idempotency-Key',
            in: 'header',
            required: false,
            description:
              'The same key with the same body gives the same answer; with another body a conflict',
            schema: { type: 'string', maxLength: ID_MOST },
          },
        ]
      : []),
  ]
  const responses = Object.fromEntries(
    Object.entries(route.responses).map(([status, spec]) => [status, responseOf(components, spec)]),
  )
  const problemResponse = { $ref: '#/components/responses/Problem' }
  return {
    summary: route.summary,
    operationId: operationId(route),
    tags: [route.tag],
    security: route.who === 'public' || route.who === 'client' ? [] : [{ bearer: [] }, { session: [] }],
    ...(route.who === 'person' ? { description: 'Only a person in their own session may call this.' } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: !(route.body instanceof z.ZodOptional),
            content: {
              [route.consumes === 'json' || route.consumes === 'raw' || route.consumes === undefined
                ? 'application/json'
                : route.consumes === 'set'
                  ? 'application/secevent+jwt'
                  : 'application/x-www-form-urlencoded']: { schema: components.of(route.body) },
            },
          },
        }),
    responses: { ...responses, default: problemResponse },
  }
}

/** `postV1RequestsIdApprove`: made of method and path, so it changes only with them. */
function operationId({ method, path }: Route): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

/** The document of every route but the pages, which are for people. */
export function openapi(routes: readonly Route[], version: string): JsonObject {
  const components = new Components()
  const paths: Record<string, JsonObject> = {}
  for (const route of routes) {
    if (route.errors === 'page') continue
    // what a `*` stands for has slashes in it
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}').replace('*', '{path}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(components, route) }
  }
  const problemSchema = components.of(problem)
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title: 'Writ',
      version,
      description:
        'Just-in-time authorization. Errors are problem details (RFC 9457); on the AuthZEN evaluation endpoints they are a message string unless `Accept` names JSON. A denial is an answer, not an error.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      schemas: Object.fromEntries(
        Object.entries(components.schemas).toSorted(([a], [b]) => (a < b ? -1 : 1)),
      ),
      responses: {
        Problem: {
          description: 'No answer could be given',
          content: { 'application/problem+json': { schema: problemSchema } },
        },
      },
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'An API key (`writ_key_…`), a session (`writ_sess_…`) or a JWT of a configured issuer',
        },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'writ_session',
          description: "A person's session in a browser; over TLS its name is `__Host-writ_session`",
        },
      },
    },
  }
}
