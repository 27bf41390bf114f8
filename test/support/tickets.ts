/**
 * What vendors send, shaped as their references describe it.
 *
 * @module
 */

export const jiraIssue = (status = 'Implementing', category = 'indeterminate', more: object = {}) => ({
  expand: 'renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations',
  id: '10002',
  self: 'https://acme.atlassian.net/rest/api/2/issue/10002',
  key: 'OPS-7',
  fields: {
    issuetype: { id: '10003', name: 'Change', subtask: false, hierarchyLevel: 0 },
    status: {
      id: '3',
      name: status,
      statusCategory: { id: 4, key: category, colorName: 'yellow', name: 'In Progress' },
    },
    priority: { id: '2', name: 'High' },
    assignee: { accountId: '5b10a2844c20165700ede21g', emailAddress: 'ada@example.com', active: true },
    updated: '2026-11-22T12:59:30.000+0100',
    labels: ['resource:Database/orders', 'urgent', 'resource:Database/shop'],
    components: [{ id: '1', name: 'orders' }],
    customfield_10010: '2026-11-22T14:00:00.000+0100',
    customfield_10011: '2026-11-22T16:00:00.000+0100',
    ...more,
  },
})

export const jiraHook = (event: string, issue: object, at: number) => ({
  timestamp: at,
  webhookEvent: event,
  issue_event_type_name: 'issue_generic',
  user: { accountId: '5b10a2844c20165700ede21g', displayName: 'Ada' },
  issue,
  changelog: { id: '10124', items: [{ field: 'status', fromString: 'Implementing', toString: 'Done' }] },
})

export const change = (state = '-1', approval = 'approved', more: object = {}) => ({
  number: 'CHG0030001',
  state,
  approval,
  type: 'normal',
  priority: '3',
  'assigned_to.user_name': 'ada.lovelace',
  start_date: '2026-11-22 13:00:00',
  end_date: '2026-11-22 15:00:00',
  'cmdb_ci.name': 'Database/orders',
  sys_updated_on: '2026-11-22 11:59:30',
  ...more,
})

export const githubIssue = (
  state = 'open',
  labels: readonly string[] = ['approved', 'resource:Database/orders'],
) => ({
  url: 'https://api.github.com/repos/acme/shop/issues/12',
  repository_url: 'https://api.github.com/repos/acme/shop',
  html_url: 'https://github.com/acme/shop/issues/12',
  id: 1,
  node_id: 'MDU6SXNzdWUx',
  number: 12,
  state,
  state_reason: state === 'open' ? null : 'completed',
  title: 'Move orders',
  user: { login: 'octocat', id: 1, type: 'User' },
  labels: labels.map((name, id) => ({ id, name, color: 'f29513', default: false })),
  assignee: { login: 'ada', id: 2, type: 'User' },
  assignees: [{ login: 'ada', id: 2 }],
  milestone: null,
  locked: false,
  type: { id: 5, name: 'Change' },
  created_at: '2026-11-20T13:33:48Z',
  updated_at: '2026-11-22T11:59:30Z',
  closed_at: state === 'open' ? null : '2026-11-22T11:59:30Z',
})

export const githubHook = (action: string, issue: object) => ({
  action,
  issue,
  repository: { id: 35129377, name: 'shop', full_name: 'acme/shop', private: true, owner: { login: 'acme' } },
  sender: { login: 'octocat', id: 1 },
})

const service = {
  id: 'PIJ90N7',
  type: 'service_reference',
  summary: 'orders',
  self: 'https://api.pagerduty.com/services/PIJ90N7',
}

export const pagerdutyIncident = (status = 'triggered', more: object = {}) => ({
  incident: {
    id: 'PT4KHLK',
    type: 'incident',
    summary: '[#1234] The server is on fire.',
    incident_number: 1234,
    created_at: '2026-11-22T11:30:42Z',
    updated_at: '2026-11-22T11:40:23Z',
    status,
    title: 'The server is on fire.',
    incident_key: 'baf7cf21b1da41b4b0221008339ff357',
    service,
    urgency: 'high',
    priority: { id: 'P53ZZH5', type: 'priority_reference', summary: 'P2' },
    assignments: [],
    ...more,
  },
})

export const pagerdutyHook = (event: string, status: string, at: string, more: object = {}) => ({
  event: {
    id: '01CEO2Y0Q0H7K6H0Q4HBV3B7QX',
    event_type: event,
    resource_type: 'incident',
    occurred_at: at,
    agent: { id: 'PLH1HKV', type: 'user_reference' },
    client: null,
    data: {
      id: 'PT4KHLK',
      type: 'incident',
      number: 1234,
      status,
      title: 'The server is on fire.',
      service,
      urgency: 'high',
      priority: { id: 'P53ZZH5', summary: 'P2' },
      ...more,
    },
  },
})

export const OPSGENIE_ID = '70413a06-38d6-4c85-92b8-5ebc900d42e2'

export const opsgenieIncident = (status = 'open') => ({
  data: {
    id: OPSGENIE_ID,
    tinyId: '42',
    message: 'Our servers are in danger',
    status,
    tags: ['OverwriteQuietHours'],
    createdAt: '2026-11-22T11:05:44.102Z',
    updatedAt: '2026-11-22T11:05:45.102Z',
    priority: 'P1',
    ownerTeam: 'eb243592-faa2-4ba2-a551q-1afdf565c889',
    responders: [],
    extraProperties: {},
    impactedServices: ['b2b09f4a-3a4e-4f77-9ff9-1b4e8a9b1234'],
  },
  took: 0.012,
  requestId: '84a0d7f8-3d8f-4b53-a9b2-1d2f3a4b5c6d',
})

export const opsgenieHook = (action: string, at: number, more: object = {}) => ({
  action,
  alert: {
    alertId: OPSGENIE_ID,
    message: 'CPU is high',
    tags: ['service:orders', 'prod'],
    tinyId: '23',
    entity: 'server1',
    alias: 'cpu-server1',
    createdAt: at - 60_000,
    updatedAt: at * 1e6,
    username: 'fili@example.com',
    priority: 'P2',
    ...more,
  },
  source: { name: 'web', type: 'web' },
  integrationId: '37c8f316-17c6-49d7-899b-9c7e540c048d',
  integrationName: 'writ',
  integrationType: 'Webhook',
})
