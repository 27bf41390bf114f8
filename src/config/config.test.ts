import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, statSync, writeFileSync, chmodSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { isWritError } from '../model/errors.ts'
import { lintIssuers } from '../model/issuer.ts'
import type { Sources } from './index.ts'
import { issuerSummary } from './issuers.ts'
import {
  configurationPage,
  configurationSchema,
  defaultKeyFile,
  loadConfig,
  openKeyFile,
  readKeyFile,
  serverConfig,
  settings,
} from './index.ts'
import { suggest } from './suggest.ts'

const files =
  (content: Record<string, string>) =>
  (path: string): string | undefined =>
    content[path]

const sources = (content: Record<string, string> = {}, more: Partial<Sources> = {}): Sources => ({
  cwd: '/w',
  home: '/home/ada',
  env: {},
  read: files(content),
  ...more,
})

const project = '/w/writ.config.yaml'
const own = '/home/ada/.config/writ/config.yaml'

const problemsOf = (load: () => unknown): string[] => {
  try {
    load()
  } catch (error) {
    if (isWritError(error, 'ERR_CONFIG_INVALID')) return error.message.split('\n')
    throw error
  }
  return assert.fail('loaded')
}

suite('configuration', () => {
  test('flag stands above variable above project file above own file above default', () => {
    const layers: [Partial<Sources>, Record<string, string>][] = [
      [
        { flags: { port: 1 }, env: { WRIT_PORT: '2' } },
        { [project]: 'port: 3', [own]: 'port: 4' },
      ],
      [{ env: { WRIT_PORT: '2' } }, { [project]: 'port: 3', [own]: 'port: 4' }],
      [{}, { [project]: 'port: 3', [own]: 'port: 4' }],
      [{}, { [own]: 'port: 4' }],
      [{}, {}],
    ]
    const origins = layers.map(([more, content]) => {
      const { config, origins } = loadConfig(sources(content, more))
      return [config.port, origins.get('port')?.where]
    })
    assert.deepEqual(origins, [
      [1, '--port'],
      [2, 'WRIT_PORT'],
      [3, './writ.config.yaml:1:7'],
      [4, `${own}:1:7`],
      [9748, 'default'],
    ])
  })

  test('the file that is named takes the place of the project file, and must exist', () => {
    const { config } = loadConfig(
      sources({ '/w/other.yaml': 'port: 5', [project]: 'port: 3' }, { file: 'other.yaml' }),
    )
    assert.equal(config.port, 5)
    assert.match(
      problemsOf(() => loadConfig(sources({}, { env: { WRIT_CONFIG: 'gone.yaml' } })))[0] ?? '',
      /gone\.yaml/u,
    )
  })

  test('unknown names are errors with place and suggestion', () => {
    const text = 'prot: 1\ntls:\n  crt: a\ndefaults:\n  hearbeat: 5s\nnothing_like_it_at_all: 2\n'
    assert.deepEqual(
      problemsOf(() => loadConfig(sources({ [project]: text }))),
      [
        './writ.config.yaml:1:1: unknown setting `prot`, did you mean `port`?',
        './writ.config.yaml:3:3: unknown setting `tls.crt`, did you mean `tls.cert`?',
        './writ.config.yaml:5:3: unknown setting `defaults.hearbeat`, did you mean `defaults.heartbeat`?',
        './writ.config.yaml:6:1: unknown setting `nothing_like_it_at_all`',
      ],
    )
  })

  test('bad values are all named, each with its place', () => {
    const text =
      'port: 70000\ndefaults:\n  grant: soon\nissuers:\n  - name: ci\n    issuer: https://ci.example\n    audiences: [writ]\n    algorithms: [none]\n'
    const problems = problemsOf(() =>
      loadConfig(sources({ [project]: text }, { env: { WRIT_LIMIT_RATE: 'many' } })),
    )
    assert.deepEqual(problems, [
      'WRIT_LIMIT_RATE: `limits.rate` is not a whole number',
      './writ.config.yaml:1:7: `port` is more than 65535',
      './writ.config.yaml:3:10: `defaults.grant` is not a duration such as `90s`, `15m` or `1h`',
      './writ.config.yaml:8:18: `issuers.0.algorithms.0` is not one of ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA, Ed25519',
    ])
  })

  test('broken YAML and a list for a map are refused with a place', () => {
    assert.match(
      problemsOf(() => loadConfig(sources({ [project]: 'port: [1' })))[0] ?? '',
      /^\.\/writ\.config\.yaml:\d+:\d+: /u,
    )
    assert.match(
      problemsOf(() => loadConfig(sources({ [project]: '- 1' })))[0] ?? '',
      /^\.\/writ\.config\.yaml:1:1: /u,
    )
    assert.match(problemsOf(() => loadConfig(sources({ [project]: 'port: 1\nport: 2' })))[0] ?? '', /unique/u)
  })

  test('B43 a project file may not say where tokens are sent', () => {
    for (const text of [
      'url: https://evil.example',
      'profile: production',
      'profiles: {a: {url: "https://evil.example"}}',
    ]) {
      const [problem] = problemsOf(() => loadConfig(sources({ [project]: text })))
      assert.match(problem ?? '', /may not stand in a project's file/u, text)
    }
    const named = sources({ '/w/own.yaml': 'url: https://writ.example' }, { file: 'own.yaml' })
    assert.equal(loadConfig(named).config.url, 'https://writ.example')
  })

  test('B43 a project file may not say where the token is', () => {
    const [problem] = problemsOf(() => loadConfig(sources({ [project]: 'token_file: ~/.ssh/id_ed25519' })))
    assert.equal(
      problem,
      "./writ.config.yaml:1:1: `token_file` may not stand in a project's file; put it in your own config.yaml",
    )
    assert.equal(loadConfig(sources({ [own]: 'token_file: ~/t' })).config.token_file, '~/t')
  })

  test('a profile stands above files and below variables', () => {
    const content = { [own]: 'url: http://a\nprofiles:\n  prod: {url: "https://b", output: json}\n' }
    const { config, origins } = loadConfig(
      sources(content, { env: { WRIT_PROFILE: 'prod', WRIT_OUTPUT: 'yaml' } }),
    )
    assert.deepEqual([config.url, config.output], ['https://b', 'yaml'])
    assert.equal(origins.get('url')?.where, 'profile prod')
    const [problem] = problemsOf(() => loadConfig(sources(content, { flags: { profile: 'prd' } })))
    assert.equal(problem, '--profile: no profile `prd`, did you mean `prod`?')
  })

  test('variables that nothing reads are told', () => {
    assert.deepEqual(loadConfig(sources({}, { env: { WRIT_URLL: 'x', WRIT_TASK: 't' } })).warnings, [
      'nothing reads the variable `WRIT_URLL`, did you mean `WRIT_URL`?',
    ])
  })

  test('defaults are those of the design', () => {
    const server = serverConfig(loadConfig(sources()), sources())
    assert.deepEqual(
      { ...server, keyFile: '' },
      {
        data: '/w/writ-data',
        host: '127.0.0.1',
        port: 9748,
        keyFile: '',
        log: { tiles: true, witnesses: [] },
        policies: '/w/policies',
        verifyDecisions: false,
        defaults: {
          request: 900_000,
          task: 1_800_000,
          heartbeat: 15_000,
          grant: 900_000,
          thirdPartyGrant: 300_000,
        },
        limits: { body: 262_144, depth: 32, rate: 2_000 },
        issuers: [],
        tokens: { life: 300_000, senderConstrained: 'privileged', clients: [], resources: [] },
        login: {
          passkey: 'owned',
          providers: [],
          server: true,
          clientMetadata: false,
          registration: false,
        },
        exports: [],
        calendars: [],
        callbacks: [],
        facts: { tickets: [], incidents: [] },
        webhooks: [],
        believed: 86_400_000,
        mostTold: 100_000,
        signals: { receivers: [] },
      },
    )
    assert.ok(server.keyFile.startsWith('/home/ada/.local/state/writ/'))
    assert.notEqual(server.keyFile, defaultKeyFile('/w/other', sources()))
  })

  test('half a TLS pair is refused; so is a key set with a private key', () => {
    assert.match(
      problemsOf(() => serverConfig(loadConfig(sources({ [project]: 'tls: {cert: a}' })), sources()))[0] ??
        '',
      /`tls.key` is missing/u,
    )
    const issuers = 'issuers: [{name: ci, issuer: "https://ci.example", audiences: [writ], jwks: k.json}]'
    const load = (jwks: string) => () =>
      serverConfig(loadConfig(sources({ [project]: issuers })), sources(), () => jwks)
    assert.match(problemsOf(load('{"keys":[{"kty":"EC","d":"x"}]}'))[0] ?? '', /private/u)
    assert.match(problemsOf(load('{"keys":[]}'))[0] ?? '', /no keys/u)
    const [issuer] = load('{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}')().issuers
    assert.deepEqual(issuer?.rules, [{ when: {}, subject: { type: 'Workload', claims: ['sub'] } }])
  })

  test('an issuer is what its kind says about everything that is left out', () => {
    const text = `issuers:
  - name: github
    kind: github
    issuer: https://token.actions.githubusercontent.com
    audiences: [https://writ.example]
    stale: 2h
    subjects:
      - when: { repository_id: "456", ref: [refs/heads/main, refs/heads/release] }
        subject: Service/orders-ci
    subject: { type: Pipeline, claims: [repository_id, environment] }
  - name: mesh
    kind: spiffe
    issuer: prod.example
    audiences: [https://writ.example]
    bundle: ./bundle.json
    subject: { type: Workload }
  - name: cluster
    kind: kubernetes
    issuer: https://k8s.example
    audiences: [https://writ.example]
    ca: ca.pem
    allow_private: true
    subject: { type: Pod, claims: [pod_uid] }
    token_review: { url: https://k8s.example/tokenreviews, token_file: t, ca: ca.pem }
  - name: people
    issuer: https://id.example
    audiences: [writ]
    typ: none
    jwks_uri: https://id.example/keys
    subject: { type: Person, claims: [sub] }
`
    const pem = '-----BEGIN CERTIFICATE-----'
    const { issuers } = serverConfig(loadConfig(sources({ [project]: text })), sources(), () => pem)
    const [github, mesh, cluster, people] = issuers
    assert.deepEqual(github?.rules, [
      {
        when: { repository_id: ['456'], ref: ['refs/heads/main', 'refs/heads/release'] },
        subject: { type: 'Service', id: 'orders-ci' },
      },
      { when: {}, subject: { type: 'Pipeline', claims: ['repository_id', 'environment'] } },
    ])
    assert.deepEqual(
      [github.keys, github.instigator, github.stale],
      [{ from: 'discovery' }, 'actor_id', 7_200_000],
    )
    assert.deepEqual(mesh?.keys, { from: 'bundle', file: '/w/bundle.json' })
    assert.deepEqual(mesh.rules[0]?.subject, { type: 'Workload', claims: ['path'] })
    assert.deepEqual(cluster?.tokenReview, {
      url: 'https://k8s.example/tokenreviews',
      tokenFile: '/w/t',
      ca: pem,
    })
    assert.equal(cluster.allowPrivate, true)
    assert.deepEqual([people?.types, people?.keys], [[null], { from: 'uri', uri: 'https://id.example/keys' }])
    const shown = JSON.stringify(issuers.map(issuerSummary))
    assert.ok(!shown.includes('BEGIN') && !shown.includes('/w/t'))
  })

  test('the issuers of the page are as they should be, and none is too wide', () => {
    const page = readFileSync(new URL('../../docs/issuers.md', import.meta.url), 'utf8')
    const text = /```yaml\n([\s\S]*?)```/u.exec(page)?.[1] ?? ''
    const { issuers } = serverConfig(
      loadConfig(sources({ [project]: text })),
      sources(),
      () => '-----BEGIN CERTIFICATE-----',
    )
    assert.deepEqual(
      issuers.map(({ kind }) => kind),
      ['github', 'gitlab', 'kubernetes', 'spiffe', 'oidc'],
    )
    assert.deepEqual(lintIssuers(issuers), [])
  })

  test('B5 an issuer that must not be trusted as it is written is refused', () => {
    const load = (more: string) => () =>
      serverConfig(
        loadConfig(
          sources({
            [project]: `issuers:\n  - {name: ci, issuer: "https://ci.example", audiences: [w], ${more}}`,
          }),
        ),
        sources(),
        () => 'x',
      )
    for (const [more, why] of [
      [
        'kind: github, subjects: [{when: {repository: a/b}, subject: Service/x}]',
        /binds no `repository_id`/u,
      ],
      [
        'kind: github, subjects: [{when: {repository_id: 456}, subject: Service/x}]',
        /`issuers.0.subjects.0.when.repository_id` /u,
      ],
      ['subjects: [{when: {sub: x}, subject: Service}]', /`issuers.0.subjects.0.subject` /u],
      ['subjects: [{when: {sub: x}, subject: "Service/o*"}]', /cannot be an id/u],
      ['jwks_uri: "https://ci.example/k", jwks: k.json', /twice/u],
      ['ca: ca.pem', /no certificate/u],
      ['stale: soon', /not a duration/u],
      ['subject_type: Workload', /:\d+:\d+: unknown setting `issuers\.0\.subject_type`/u],
      ['audience: w', /unknown setting `issuers\.0\.audience`, did you mean `audiences`\?/u],
    ] as const) {
      assert.match(problemsOf(load(more)).join('\n'), why, more)
    }
  })

  test('every setting has a sentence, its default validates, and page and schema name it', () => {
    const page = configurationPage()
    const schema = configurationSchema()
    const variables = settings.flatMap((s) => (s.env === undefined ? [] : [s.env]))
    assert.equal(new Set(variables).size, variables.length)
    for (const setting of settings) {
      assert.match(setting.sentence, /^[A-Z].*\.$/u, setting.name)
      assert.ok(setting.schema.safeParse(undefined).success, setting.name)
      assert.ok(page.includes(`\`${setting.name}\``), setting.name)
      assert.ok(schema.includes(JSON.stringify(setting.sentence)), setting.name)
    }
  })
})

suite('key file', () => {
  test('is made once, mode 0600, and read again', () => {
    const folder = mkdtempSync(join(tmpdir(), 'writ-key-'))
    try {
      const path = join(folder, 'state', 'a.key')
      const first = openKeyFile(path)
      const again = openKeyFile(path)
      assert.deepEqual([first.made, again.made], [true, false])
      assert.deepEqual(first.key.expose(), again.key.expose())
      assert.equal(statSync(path).mode & 0o777, 0o600)
      assert.deepEqual(readdirSync(join(folder, 'state')), ['a.key'])
      chmodSync(path, 0o644)
      assert.match(problemsOf(() => readKeyFile(path))[0] ?? '', /others may read/u)
      chmodSync(path, 0o600)
      writeFileSync(path, readFileSync(path, 'utf8').slice(0, 20))
      assert.match(problemsOf(() => readKeyFile(path))[0] ?? '', /is not a key file/u)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

suite('suggestions', () => {
  test('slips are recognised, other words are not', () => {
    assert.equal(suggest('prot', ['port', 'host']), 'port')
    assert.equal(suggest('databse', ['database']), 'database')
    assert.equal(suggest('x', ['port', 'host']), undefined)
  })
})
