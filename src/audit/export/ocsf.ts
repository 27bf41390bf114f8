/**
 * Entries as OCSF 1.6 events. Pure. OCSF has no class for the decision of a PDP: decisions are API Activity, what comes
 * of them is User Access Management, Authorize Session, Authentication, Account Change or Entity Management, and the
 * whole entry goes along in `unmapped`, so that nothing is lost in translation.
 *
 * @module
 */
import type { Json } from '../../model/canonical.ts'
import type { Recorded } from './record.ts'
import {
  PRUNED,
  actionOf,
  members,
  outcomeOf,
  resourceOf,
  sentence,
  string,
  strings,
  subjectOf,
} from './record.ts'

/** The schema that events claim. */
export const OCSF_VERSION = '1.6.0'

export type OcsfEvent = Readonly<Record<string, Json | undefined>>

/** Names of the classes used, by `class_uid`; the category is the thousands. */
export const classes: Readonly<Record<number, string>> = {
  0: 'Base Event',
  3001: 'Account Change',
  3002: 'Authentication',
  3003: 'Authorize Session',
  3004: 'Entity Management',
  3005: 'User Access Management',
  6002: 'Application Lifecycle',
  6003: 'API Activity',
}
const categories = ['Uncategorized', '', '', 'Identity & Access Management', '', '', 'Application Activity']

/** Names of activities by class; 99 (Other) is named by the entry itself. */
const activities: Readonly<Record<number, Readonly<Record<number, string>>>> = {
  3001: { 1: 'Create', 9: 'Lock', 12: 'Unlock' },
  3002: { 1: 'Logon', 2: 'Logoff' },
  3003: { 1: 'Assign Privileges' },
  3004: { 1: 'Create', 3: 'Update', 4: 'Delete' },
  3005: { 1: 'Assign Privileges', 2: 'Revoke Privileges' },
  6002: { 3: 'Start', 4: 'Stop' },
}

export const severities = { informational: 1, low: 2, medium: 3, high: 4, critical: 5 } as const
const severityNames = ['Unknown', 'Informational', 'Low', 'Medium', 'High', 'Critical']

/** What an entry of a kind becomes. */
export type Rule = Readonly<{
  class: number
  activity: number
  severity?: keyof typeof severities
  /** It did not work, or was refused. */
  failure?: true
  /** Entity Management: what kind of thing was managed. */
  entity?: string
}>

const entity = (type: string, activity: 1 | 3 | 4, more: Partial<Rule> = {}): Rule => ({
  class: 3004,
  activity,
  entity: type,
  ...more,
})

/** By kind; a name that ends in a dot is for every other kind that begins with it. */
export const rules: Readonly<Record<string, Rule>> = {
  decision: { class: 6003, activity: 99 },
  'decision.': { class: 6003, activity: 99 },
  'action.unmatched': { class: 6003, activity: 99, severity: 'high' },
  'action.refused': { class: 6003, activity: 99, severity: 'low', failure: true },
  'action.': { class: 6003, activity: 99 },

  'grant.activated': { class: 3005, activity: 1 },
  'grant.ended': { class: 3005, activity: 2 },
  'grant.': entity('grant', 3),
  'credential.planned': entity('credential', 1),
  'credential.live': { class: 3003, activity: 1 },
  'credential.absent': entity('credential', 4),
  'credential.abandoned': entity('credential', 4, { severity: 'low' }),
  'credential.unresolved': entity('credential', 3, { severity: 'high', failure: true }),
  'credential.orphan': entity('credential', 3, { severity: 'high' }),
  'credential.orphan-absent': entity('credential', 4),
  'credential.': entity('credential', 3),

  'request.submitted': entity('access request', 1),
  'request.denied': entity('access request', 3, { severity: 'low', failure: true }),
  'request.': entity('access request', 3),
  'approval.denied': entity('access request', 3, { severity: 'low', failure: true }),
  'approval.': entity('access request', 3),
  'task.declared': entity('task', 1),
  'task.': entity('task', 3),

  'person.invited': { class: 3001, activity: 1 },
  'person.enrolled': { class: 3002, activity: 1 },
  'person.': { class: 3001, activity: 99 },
  'invite.': entity('invitation', 3),
  'session.began': { class: 3002, activity: 1 },
  'session.refused': { class: 3002, activity: 1, severity: 'low', failure: true },
  'session.ended': { class: 3002, activity: 2 },
  'session.': { class: 3002, activity: 99 },
  'account.linked': { class: 3001, activity: 99, severity: 'medium' },
  'account.': { class: 3001, activity: 99 },

  'delegation.made': entity('delegation', 1),
  'delegation.revoked': entity('delegation', 4),
  'delegation.': entity('delegation', 3),

  'lock.set': entity('lock', 1, { severity: 'medium' }),
  'lock.ended': entity('lock', 4, { severity: 'medium' }),
  'lock.': entity('lock', 3),
  'signal.silent': entity('signal', 3, { severity: 'high' }),
  'signal.gap': entity('signal', 3, { severity: 'medium' }),
  'signal.flooded': entity('signal', 3, { severity: 'medium' }),
  'signal.refused': entity('signal', 3, { severity: 'low', failure: true }),
  'signal.undelivered': entity('signal', 3, { severity: 'medium', failure: true }),
  'signal.': entity('signal', 3),
  'subject.locked': { class: 3001, activity: 9, severity: 'medium' },
  'subject.unlocked': { class: 3001, activity: 12, severity: 'medium' },
  'subject.': { class: 3001, activity: 99 },

  'passkey.registered': entity('passkey', 1, { severity: 'medium' }),
  'passkey.removed': entity('passkey', 4, { severity: 'medium' }),
  'passkey.refused': entity('passkey', 3, { severity: 'medium', failure: true }),
  'passkey.': entity('passkey', 3),
  'reauth.': entity('proof of a person', 1),
  'program.admitted': { class: 3003, activity: 1 },
  'program.ended': entity('program', 4),
  'program.': entity('program', 3),

  'inventory.deleted': entity('inventory', 4),
  'inventory.': entity('inventory', 3),
  'key.created': entity('API key', 1),
  'key.revoked': entity('API key', 4),
  'key.refused': { class: 3002, activity: 1, severity: 'low', failure: true },
  'key.': entity('API key', 3),
  'policy.published': entity('policy', 1, { severity: 'medium' }),
  'policy.proposed': entity('policy', 1),
  'policy.': entity('policy', 3),
  'engine.differs': entity('policy engine', 3, { severity: 'critical', failure: true }),
  'engine.unverified': entity('policy engine', 3, { severity: 'medium' }),
  'engine.': entity('policy engine', 3),
  'target.added': entity('target', 1),
  'target.': entity('target', 3),
  'signer.made': entity('signing key', 1),
  'signer.compromised': entity('signing key', 3, { severity: 'critical' }),
  'signer.': entity('signing key', 3),

  'token.issued': { class: 3003, activity: 1 },
  'token.refused': entity('token', 1, { severity: 'low', failure: true }),
  'token.revoked': entity('token', 4),
  'token.': entity('token', 3),
  'client.registered': entity('client', 1, { severity: 'medium' }),
  'client.removed': entity('client', 4, { severity: 'medium' }),
  'client.': entity('client', 3),

  'fact.': entity('fact', 3),
  'webhook.refused': { class: 3002, activity: 1, severity: 'low', failure: true },

  'installation.made': entity('installation', 1),
  'installation.': entity('installation', 3),
  'config.changed': entity('configuration', 3, { severity: 'medium' }),
  'config.': entity('configuration', 3),
  'server.started': { class: 6002, activity: 3 },
  'server.stopped': { class: 6002, activity: 4 },
  'server.': { class: 6002, activity: 99 },
  'epoch.': entity('log', 3, { severity: 'high' }),
  'log.': entity('log', 3),
  'witness.': entity('witness', 3),
  'breakglass.': entity('break-glass', 3, { severity: 'high' }),

  [PRUNED]: { class: 0, activity: 99 },
}

/** What happens to kinds that nobody thought of: exported all the same, as what OCSF calls uncategorised. */
export const fallback: Rule = { class: 0, activity: 99 }

/** The rule for a kind: its own, else that of its family. */
export function ruleOf(kind: string): Rule {
  const family = kind.slice(0, kind.indexOf('.') + 1)
  for (const name of [kind, family]) if (Object.hasOwn(rules, name)) return rules[name] as Rule
  return fallback
}

/** An entry as an event; `version` is that of Writ. `metadata.uid` is the same whenever an entry is exported again. */
export function toOcsf(of: Recorded, version: string): OcsfEvent {
  const rule = ruleOf(of.kind)
  const { class: uid, activity } = rule
  const entry = of.entry ?? {}
  const outcome = outcomeOf(of)
  const failure = rule.failure === true || outcome === 'deny' || outcome === 'challenge'
  const severity = severities[rule.severity ?? (outcome === 'deny' ? 'low' : 'informational')]
  const category = Math.floor(uid / 1_000)
  const detail = string(entry['reason']) ?? string(entry['why']) ?? string(entry['problem'])
  return {
    class_uid: uid,
    class_name: classes[uid],
    category_uid: category,
    category_name: categories[category],
    activity_id: activity,
    activity_name: activities[uid]?.[activity] ?? actionOf(of) ?? of.kind,
    type_uid: uid * 100 + activity,
    type_name: `${classes[uid]}: ${activities[uid]?.[activity] ?? 'Other'}`,
    time: of.at,
    severity_id: severity,
    severity: severityNames[severity],
    status_id: failure ? 2 : 1,
    status: failure ? 'Failure' : 'Success',
    ...(outcome === undefined ? {} : { status_code: outcome }),
    ...(detail === undefined ? {} : { status_detail: detail }),
    message: sentence(of),
    metadata: metadata(of, version),
    ...by(of),
    ...about(of, rule),
    unmapped: {
      origin: of.origin,
      seq: of.seq,
      leaf: of.leaf,
      ...(of.entry === undefined ? { pruned: true } : { entry: of.entry as Json }),
    },
  }
}

function metadata({ origin, seq, at, kind, entry = {}, installation }: Recorded, version: string): Json {
  const task = string(entry['task']) ?? string(members(entry['attempt'])['task'])
  return {
    version: OCSF_VERSION,
    product: { name: 'Writ', vendor_name: 'Writ', version, uid: installation },
    uid: `${origin}#${seq}`,
    sequence: seq,
    event_code: kind,
    log_name: origin,
    log_provider: 'writ',
    logged_time: at,
    tenant_uid: installation,
    ...(task === undefined ? {} : { correlation_uid: task }),
  }
}

/** Who acted, as far as the entry says: the acting party of an attempt, a session, a key, or Writ itself. */
function by(of: Recorded): { actor: Json } {
  const entry = of.entry ?? {}
  const given = entry['caller'] ?? entry['by'] ?? entry['invited_by']
  const caller = string(given) ?? strings(given)[0]
  const session = caller?.startsWith('session:') === true ? { session: { uid: caller } } : {}
  const acting = of.kind.startsWith('decision') ? subjectOf(of) : undefined
  const key = caller?.startsWith('key:') === true ? { credential_uid: caller.slice('key:'.length) } : {}
  if (acting !== undefined) return { actor: { ...session, user: { ...user(acting), ...key } } }
  if (caller === undefined || caller === 'writ') return { actor: { app_name: 'writ' } }
  if ('session' in session) return { actor: session }
  return { actor: { user: { ...user(caller), ...key } } }
}

/** The members that the class wants. */
function about(of: Recorded, rule: Rule): OcsfEvent {
  const entry = of.entry ?? {}
  const subject = subjectOf(of)
  const whom = { user: user(subject ?? 'unknown') }
  const writ: Json = { name: 'writ', uid: of.installation }
  switch (rule.class) {
    case 6003: {
      const resource = resourceOf(of)
      return {
        api: {
          operation: actionOf(of) ?? of.kind,
          service: writ,
          request: { uid: string(entry['id']) ?? of.refs[0] ?? `${of.origin}#${of.seq}` },
          ...(entry['outcome'] === undefined
            ? {}
            : {
                response: { code: entry['outcome'] === 'permit' ? 200 : 403, message: outcomeOf(of) ?? '' },
              }),
        },
        ...(resource === undefined ? {} : { resources: [named(resource)] }),
        src_endpoint: { svc_name: string(entry['caller']) ?? string(entry['by']) ?? 'unknown' },
      }
    }
    case 3005: {
      const resource = resourceOf(of)
      return {
        ...whom,
        privileges: [actionOf(of) ?? string(entry['grant']) ?? of.refs[0] ?? 'unknown'],
        ...(resource === undefined ? {} : { resources: [named(resource)] }),
      }
    }
    case 3003:
      return {
        ...whom,
        privileges: [...privilegesOf(of)],
        session: { uid: string(entry['credential']) ?? of.refs[0] ?? 'unknown' },
      }
    case 3002: {
      const session = string(entry['session'])
      return {
        ...whom,
        service: writ,
        ...(session === undefined ? {} : { session: { uid: session } }),
      }
    }
    case 3001:
      return whom
    case 3004: {
      const uid = of.refs[0] ?? of.origin
      return { entity: { type: rule.entity, uid, name: string(entry['name']) ?? uid } }
    }
    case 6002:
      return { app: { name: 'Writ', vendor_name: 'Writ', uid: of.installation } }
    default:
      return {}
  }
}

/** What a credential or a token is good for; one that is for nothing by itself says who asks. */
function privilegesOf({ kind, entry = {} }: Recorded): readonly string[] {
  const target = string(entry['target'])
  if (target !== undefined) return [target]
  if (kind === 'program.admitted') return [SIGN_IN]
  const details = Array.isArray(entry['details']) ? entry['details'] : []
  const actions = details.flatMap((detail: Json) => string(members(detail)['action']) ?? [])
  const named = [...new Set([...strings(entry['scope']), ...actions])]
  if (named.length > 0) return named
  return [kind === 'token.issued' ? SIGN_IN : 'unknown']
}

/** The privilege of a token that only says who asks. */
const SIGN_IN = 'sign-in'

/** OCSF calls every principal a user. */
function user(ref: string): Record<string, Json> {
  const cut = ref.indexOf('/')
  const type = cut === -1 ? undefined : ref.slice(0, cut)
  return {
    uid: ref,
    name: cut === -1 ? ref : ref.slice(cut + 1),
    ...(type === undefined ? {} : { type, type_id: type === 'Person' ? 1 : 99 }),
  }
}

function named(ref: string): Json {
  const cut = ref.indexOf('/')
  return { uid: ref, name: ref.slice(cut + 1), ...(cut === -1 ? {} : { type: ref.slice(0, cut) }) }
}
