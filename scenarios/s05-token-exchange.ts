import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { JWTPayload } from 'jose'
import * as oauth from 'oauth4webapi'
import { createWrit } from '../client/src/index.ts'
import { discover, insecure, openApi } from './support/downstream.ts'
import type { Api } from './support/downstream.ts'
import { approve, openInstallation } from './support/installation.ts'
import { AUDIENCE, openPlatform, pod } from './support/issuer.ts'
import type { Answered } from './support/oauth.ts'
import { EXCHANGE, JWT, Refusals } from './support/oauth.ts'
import type { Scenario } from './support/story.ts'

const POLICIES = `
@id("reads-of-own-environment")
permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api)
when { principal has environment && resource has environment && principal.environment == resource.environment };

@id("settle")
@ttl("5m")
@binding("attempt")
permit (principal in Group::"settlers", action == Action::"ledger:post", resource is Api)
when {
  principal has environment && resource has environment && principal.environment == resource.environment &&
  context.live has task && context.live.task.purpose == "settle" &&
  context has action_properties.amount && context.action_properties.amount <= 50000 &&
  context.proof.approvals.treasury >= 1
};

@id("archive")
permit (principal in Group::"archivers", action == Action::"archive:read", resource is Api);

@id("ledger-only-for-what-runs-in-the-shop")
@explain
forbid (principal, action in [Action::"ledger:read", Action::"ledger:post"], resource is Api)
unless {
  context.live has workload && context.live.workload has namespace && context.live.workload.namespace == "shop"
};

@id("vendors-stay-out")
@explain
forbid (principal, action, resource is Api)
when { principal has third_party && principal.third_party };

@id("treasury-approves")
permit (principal in Group::"treasury", action == Writ::Action::"approve", resource is Api)
when { context.pool == "treasury" };
`

/** Pods of the cluster by the uid of their service account: who they are to Writ, and what they may. */
const PODS = {
  orders: { in: 'shop', as: 'Service/orders', groups: ['readers', 'settlers', 'archivers'] },
  settler: { in: 'shop', as: 'Agent/settler', groups: ['readers', 'settlers', 'archivers'] },
  reports: { in: 'shop', as: 'Service/reports', groups: ['readers'] },
  helper: { in: 'shop', as: 'Agent/helper', groups: ['readers'] },
  'orders-staging': { in: 'staging', as: 'Service/orders-staging', groups: ['readers', 'settlers'] },
  // the same right and the same environment, but somebody else's namespace
  'orders-copy': { in: 'sandbox', as: 'Service/orders-copy', groups: ['readers', 'settlers'] },
  vendor: { in: 'shop', as: 'Service/vendor', groups: ['readers', 'settlers'] },
} as const
type Pod = keyof typeof PODS
const pods = Object.keys(PODS) as Pod[]

const uids = new Map(pods.map((name) => [name, randomUUID()]))
const claims = (name: Pod, uid = uids.get(name) ?? ''): JWTPayload => pod(PODS[name].in, name, uid)
const production = (name: Pod): boolean => name !== 'orders-staging'

/** Who asks at the token endpoint: by an actor token, or by a key of its own. */
type By = Readonly<{ id: string; actor?: string; auth?: oauth.ClientAuth }>

/** A request as it was sent. */
type Sent = Readonly<{ url: string; method: string; headers: Record<string, string>; body?: string }>

/** As they are registered. */
const workloads = pods.map((name) => {
  const [type = '', id = ''] = PODS[name].as.split('/')
  return {
    type,
    id,
    kind: type === 'Agent' ? ('agent' as const) : ('workload' as const),
    owner: 'Person/ada',
    environment: production(name) ? 'production' : 'staging',
    parents: PODS[name].groups.map((group) => `Group/${group}`),
    ...(name === 'vendor' ? { third_party: true } : {}),
  }
})

export const scenario: Scenario = {
  id: 'S05',
  name: 'token-exchange',
  right:
    'an agent exchanges a workload’s token for one of a downstream API, once policy has confirmed who both are and where they run',
  wrong:
    'a wider audience, scope or amount than subject ∩ actor ∩ grant; another environment, key or account; a replay; after the grant or the task',

  async run(story) {
    const [cluster, elsewhere] = [await story.part(openPlatform()), await story.part(openPlatform())]
    const ledger = await story.part(openApi('ledger', { read: 'ledger:read', write: 'ledger:post' }))
    const payroll = await story.part(openApi('payroll', { read: 'payroll:read' }))
    const archive = await story.part(openApi('archive', { read: 'archive:read' }))
    const apis = { ledger, payroll, archive }
    const writ = await story.part(
      openInstallation({
        people: { grace: ['treasury'] },
        policies: [{ name: 'ledger.cedar', text: POLICIES }],
        files: Object.fromEntries(Object.entries(apis).map(([id, api]) => [`${id}.json`, api.keys])),
        config: {
          issuers: [
            {
              name: 'cluster',
              kind: 'kubernetes',
              issuer: cluster.url,
              audiences: [AUDIENCE],
              allow_private: true,
              subjects: pods.map((name) => ({
                when: {
                  namespace: PODS[name].in,
                  service_account: name,
                  service_account_uid: uids.get(name),
                },
                subject: PODS[name].as,
              })),
            },
          ],
          tokens: {
            clients: Object.keys(apis).map((id) => ({
              id,
              subject: `Service/${id}`,
              jwks: `./${id}.json`,
              serves: [`Api/${id}`],
            })),
            resources: Object.entries(apis).map(([id, { url }]) => ({ uri: url, resource: `Api/${id}` })),
          },
        },
        entities: [
          ...workloads,
          ...Object.keys(apis).flatMap((id) => [
            {
              type: 'Service',
              id,
              kind: 'workload' as const,
              owner: 'Person/ada',
              environment: 'production',
              parents: ['Group/archivers'],
            },
            {
              type: 'Api',
              id,
              kind: 'resource' as const,
              sensitivity: 'high' as const,
              environment: 'production',
            },
          ]),
        ],
      }),
    )
    for (const api of Object.values(apis)) await api.trust(writ.url)
    const as = await discover(writ.url)
    const refusals = new Refusals(writ.ada)
    const grace = writ.person('grace')

    /** A client that holds one key, and proves with the token of its pod who it is. */
    const holder = async () => {
      const handle = oauth.DPoP({}, await oauth.generateKeyPair('ES256'))
      let sent: Sent | undefined
      const recording = {
        ...insecure,
        [oauth.customFetch]: (url: string, init: oauth.CustomFetchOptions<string, unknown>) => {
          const { method, headers, body } = init
          const text =
            body instanceof URLSearchParams || typeof body === 'string' ? body.toString() : undefined
          sent = { url, method, headers, ...(text === undefined ? {} : { body: text }) }
          return fetch(url, sent)
        },
      }
      return {
        /** Exchanges the token of a subject; what is answered, a refusal too. */
        async exchange(
          subject: string,
          { id, actor, auth = oauth.None() }: By,
          asked: Readonly<Record<string, string>>,
          { bound = true } = {},
        ): Promise<Answered> {
          const client = { client_id: id }
          const parameters = new URLSearchParams({
            subject_token: subject,
            subject_token_type: JWT,
            ...(actor === undefined ? {} : { actor_token: actor, actor_token_type: JWT }),
            ...asked,
          })
          const options = { ...recording, ...(bound ? { DPoP: handle } : {}) }
          const ask = () =>
            oauth
              .genericTokenEndpointRequest(as, client, auth, EXCHANGE, parameters, options)
              .then((response) => oauth.processGenericTokenEndpointResponse(as, client, response))
          try {
            return await ask().catch((error: unknown) => {
              if (oauth.isDPoPNonceError(error)) return ask()
              throw error
            })
          } catch (error) {
            if (error instanceof oauth.ResponseBodyError) return error.cause
            throw error
          }
        },
        /** Calls an API with a token; what it answers. */
        async call(api: Pick<Api, 'url'>, token: string, amount?: number): Promise<string> {
          const response = await oauth.protectedResourceRequest(
            token,
            amount === undefined ? 'GET' : 'POST',
            new URL(api.url),
            new Headers(),
            amount === undefined ? null : JSON.stringify({ amount }),
            { ...recording, DPoP: handle },
          )
          const body = (await response.json()) as Readonly<{ done?: string; why?: string }>
          return body.done ?? body.why ?? ''
        },
        /** The form of the token request that was sent last. */
        form(): URLSearchParams {
          return new URLSearchParams(sent?.body)
        },
        /** Sends once more what was sent last, byte for byte. */
        async again(): Promise<Answered> {
          assert.ok(sent)
          return (await (await fetch(sent.url, sent)).json()) as Answered
        },
      }
    }
    const settler = await holder()
    const thief = await holder()
    const token = (name: Pod, uid?: string): Promise<string> => cluster.token(claims(name, uid))
    const tokenIn = (answered: Answered): string => {
      const text = answered['access_token']
      assert.ok(typeof text === 'string', `no token: ${JSON.stringify(answered)}`)
      return text
    }
    const read = { resource: ledger.url, scope: 'ledger:read' }
    const post = (amount: number) => ({
      resource: ledger.url,
      authorization_details: JSON.stringify([
        { type: 'writ', action: 'ledger:post', resource: 'Api/ledger', properties: { amount } },
      ]),
    })
    const by = async (name: Pod): Promise<By> => ({ id: PODS[name].as, actor: await token(name) })
    const exchange = async (
      subject: Pod,
      actor: Pod | undefined,
      asked: Readonly<Record<string, string>>,
    ): Promise<Answered> =>
      settler.exchange(
        await token(subject),
        actor === undefined ? { id: PODS[subject].as } : await by(actor),
        asked,
      )
    /** The APIs refuse a token that Writ does not stand by any more. */
    const over = async (api: Api, text: string, holding = settler): Promise<void> =>
      assert.equal(await holding.call(api, text), 'the token counts no more')

    // reading needs no evidence: it is decided by who they are and where they run
    const issued = tokenIn(await exchange('orders', 'settler', read))
    await story.right(
      'the agent reads for the workload: the API takes its token, and knows both',
      async () => {
        assert.equal(await settler.call(ledger, issued), 'ledger:read')
        assert.deepEqual(ledger.done, [
          { action: 'ledger:read', sub: 'Service/orders', act: { sub: 'Agent/settler' } },
        ])
      },
    )
    await story.wrong('a wider audience: another API, several, none, one that does not exist', async () => {
      for (const [asked, why] of [
        [{ resource: payroll.url, scope: 'payroll:read' }, /policy_denied/u],
        [{ ...read, audience: 'Api/payroll' }, /one audience|several|one token/u],
        [{ scope: 'ledger:read' }, /whom the token is for/u],
        [{ ...read, resource: 'https://nowhere.example/' }, /policy_denied/u],
      ] as const) {
        await refusals.check(await exchange('orders', 'settler', asked), 'invalid_target', why)
      }
      assert.match(await settler.call(payroll, issued), /"aud"/u)
      // nor does it open Writ itself, with the right key
      const me = { url: `${writ.url}/v1/me` }
      await assert.rejects(settler.call(me, issued), oauth.WWWAuthenticateChallengeError)
    })
    await story.wrong('a wider scope: more than they may, or than the token is for', async () => {
      for (const scope of ['ledger:read ledger:burn', 'ledger:burn', 'ledger:post'])
        await refusals.check(
          await exchange('orders', 'settler', { ...read, scope }),
          'invalid_target',
          /policy_denied/u,
        )
      assert.equal(await settler.call(ledger, issued, 100), 'the token is not for ledger:post of 100')
    })
    await story.wrong(
      'another environment, another namespace, a vendor: as subject, actor or alone',
      async () => {
        for (const [subject, actor] of [
          ['orders-staging', 'settler'],
          ['orders', 'orders-staging'],
          ['orders-staging', undefined],
          ['orders', 'orders-copy'],
          ['orders-copy', undefined],
          ['vendor', 'settler'],
          ['orders', 'vendor'],
        ] as const) {
          await refusals.check(await exchange(subject, actor, read), 'invalid_target', /policy_denied/u)
        }
      },
    )
    await story.wrong('a subject or an actor that nobody vouches for', async () => {
      const at = Math.floor(Date.now() / 1_000)
      const orders = claims('orders')
      for (const [text, why] of [
        [await token('orders', randomUUID()), /no trust rule knows/u],
        [await elsewhere.token(orders), /issuer of the token is not configured/u],
        [await elsewhere.token({ ...orders, iss: cluster.url }), /key that signed/u],
        [await cluster.forged(orders), /signature/u],
        [await cluster.token({ ...orders, aud: ['https://vault.example'] }), /audience alone/u],
        [await cluster.token({ ...orders, aud: [AUDIENCE, ledger.url] }), /audience alone/u],
        [await cluster.token({ ...orders, iat: at - 900, nbf: at - 900, exp: at - 300 }), /ended/u],
        [issued, /for somebody else/u],
      ] as const) {
        await refusals.check(await settler.exchange(text, await by('settler'), read), 'invalid_request', why)
        const actor = { id: PODS.settler.as, actor: text }
        await refusals.check(
          await settler.exchange(await token('orders'), actor, read),
          'invalid_request',
          why,
        )
      }
    })
    await story.wrong('without a key, with another, and what was sent once more', async () => {
      await refusals.check(
        await settler.exchange(await token('orders'), await by('settler'), read, { bound: false }),
        'invalid_dpop_proof',
        /bound to a key/u,
      )
      await exchange('orders', 'settler', read)
      await refusals.check(await settler.again(), 'invalid_dpop_proof', /used before/u)
      assert.equal(await settler.call(ledger, issued), 'ledger:read')
      assert.deepEqual(await settler.again(), { why: 'the proof of possession was used before' })
      assert.match(await thief.call(ledger, issued), /confirmation|jkt|thumbprint/iu)
      const bearer = await fetch(ledger.url, { headers: { authorization: `Bearer ${issued}` } })
      assert.match(await bearer.text(), /DPoP/u)
    })
    await story.wrong(
      'when what policy rests on is no longer so, though the token has not ended',
      async () => {
        const move = (environment: string) =>
          writ.ada.inventory.put([{ ...workloads.find(({ id }) => id === 'orders')!, environment }])
        await move('staging')
        await over(ledger, issued)
        await refusals.check(await exchange('orders', 'settler', read), 'invalid_target', /policy_denied/u)
        await move('production')
        const held = tokenIn(await exchange('orders', 'settler', read))
        assert.equal(await settler.call(ledger, held), 'ledger:read')
        await createWrit({ url: writ.url, token: () => token('settler') }).tokens.revoke(held)
        await over(ledger, held)
      },
    )

    // posting needs somebody of the treasury, for one amount in one task
    const agent = createWrit({ url: writ.url, token: () => token('settler') })
    const declare = async (): Promise<string> =>
      (
        await agent.tasks.declare({
          purpose: 'settle',
          reason: 'invoice 88',
          scope: {
            actions: ['ledger:post', 'archive:read'],
            resources: [
              { type: 'Api', id: 'ledger' },
              { type: 'Api', id: 'archive' },
            ],
          },
        })
      ).id
    const agreed = async (asked: Readonly<Record<string, string>>): Promise<string> => {
      const pending = await exchange('orders', 'settler', { ...asked, access_request: 'submit' })
      assert.equal(pending['error'], 'authorization_pending', JSON.stringify(pending))
      const id = String(pending['access_request_id'])
      await approve(grace, await grace.requests.get(id))
      return id
    }
    const task = await declare()
    const posting = { ...post(100), writ_task: task }
    await story.wrong('more than reading, before anybody has agreed', async () => {
      await refusals.check(
        await exchange('orders', 'settler', posting),
        'interaction_required',
        /evidence_required/u,
      )
      for (const [subject, actor] of [
        ['orders', 'helper'],
        ['reports', 'settler'],
        ['orders', undefined],
      ] as const) {
        await refusals.check(
          await exchange(subject, actor, posting),
          'invalid_authorization_details',
          /policy_denied|task/u,
        )
      }
      await refusals.check(
        await exchange('orders', 'settler', { ...posting, ...post(50_001) }),
        'invalid_authorization_details',
        /policy_denied/u,
      )
      await refusals.check(
        await exchange('orders', 'settler', post(100)),
        'invalid_authorization_details',
        /policy_denied/u,
      )
    })
    const approval = { access_request: await agreed(posting) }
    await story.wrong(
      'what was agreed, for another amount, audience, scope, subject, actor, or no key',
      async () => {
        const carried = { ...posting, ...approval }
        for (const amount of [101, 99, 50_000])
          await refusals.check(
            await exchange('orders', 'settler', { ...carried, ...post(amount) }),
            'interaction_required',
            /./u,
          )
        await refusals.check(
          await exchange('orders', undefined, carried),
          'invalid_request',
          /none of yours/u,
        )
        await refusals.check(await exchange('orders', 'helper', carried), 'invalid_request', /none of yours/u)
        await refusals.check(
          await exchange('reports', 'settler', carried),
          'invalid_authorization_details',
          /out_of_scope/u,
        )
        await refusals.check(
          await exchange('orders', 'settler', { ...carried, scope: 'ledger:burn' }),
          'invalid_target',
          /./u,
        )
        await refusals.check(
          await settler.exchange(await token('orders'), await by('settler'), carried, { bound: false }),
          'invalid_dpop_proof',
          /bound to a key/u,
        )
      },
    )
    const paid = tokenIn(await exchange('orders', 'settler', { ...posting, ...approval }))
    await story.right('agreed to by a person, this amount is posted', async () => {
      assert.equal(await settler.call(ledger, paid, 100), 'ledger:post')
    })
    await story.wrong('with that token: another amount, reading, another API, another key', async () => {
      assert.equal(await settler.call(ledger, paid, 101), 'the token is not for ledger:post of 101')
      assert.equal(await settler.call(ledger, paid), 'the token is not for ledger:read of this')
      assert.match(await settler.call(archive, paid), /"aud"/u)
      assert.match(await thief.call(ledger, paid, 100), /confirmation|jkt|thumbprint/iu)
    })
    const server = await holder()
    const asLedger = { id: 'ledger', auth: ledger.auth }
    const lookUp = { resource: archive.url, scope: 'archive:read' }
    const further = tokenIn(await server.exchange(paid, asLedger, lookUp))
    await story.right(
      'the API takes it on to the next one, within the task, and everybody is named',
      async () => {
        assert.equal(await server.call(archive, further), 'archive:read')
        assert.deepEqual(archive.done, [
          {
            action: 'archive:read',
            sub: 'Service/orders',
            act: { sub: 'Service/ledger', act: { sub: 'Agent/settler' } },
          },
        ])
      },
    )
    await story.wrong(
      'it takes it further than the task, others take it, or its own word comes twice',
      async () => {
        await refusals.check(
          await server.exchange(paid, asLedger, { resource: payroll.url, scope: 'payroll:read' }),
          'invalid_scope',
          /not for payroll:read/u,
        )
        await refusals.check(
          await server.exchange(paid, asLedger, read),
          'invalid_scope',
          /not for ledger:read/u,
        )
        await refusals.check(
          await server.exchange(paid, { id: 'payroll', auth: payroll.auth }, lookUp),
          'invalid_request',
          /for somebody else/u,
        )
        await refusals.check(
          await thief.exchange(paid, await by('helper'), lookUp),
          'invalid_request',
          /for somebody else/u,
        )
        await server.exchange(paid, asLedger, lookUp)
        await refusals.check(await server.again(), 'invalid_dpop_proof', /used before/u)
        const overheard: oauth.ClientAuth = (_as, _client, body) => {
          for (const name of ['client_assertion_type', 'client_assertion'])
            body.set(name, server.form().get(name) ?? '')
        }
        await refusals.check(
          await thief.exchange(paid, { id: 'ledger', auth: overheard }, lookUp),
          'invalid_client',
          /used before/u,
        )
      },
    )
    await story.wrong(
      'after the grant was taken back: this token, what came of it, and the approval',
      async () => {
        const { items } = await writ.ada.grants.list({ task, live: true })
        assert.equal(items.length, 1)
        await writ.ada.grants.revoke(items[0]?.id ?? '', 'the invoice is disputed')
        await over(ledger, paid)
        await over(archive, further, server)
        await refusals.check(
          await exchange('orders', 'settler', { ...posting, ...approval }),
          'interaction_required',
          /./u,
        )
        await refusals.check(
          await server.exchange(paid, asLedger, lookUp),
          'invalid_request',
          /worth nothing/u,
        )
      },
    )
    await story.wrong('after the task: its token, its approval, and the task itself', async () => {
      const next = await declare()
      const asked = { ...posting, writ_task: next }
      await refusals.check(
        await exchange('orders', 'settler', { ...asked, ...approval }),
        'interaction_required',
        /./u,
      )
      const again = { access_request: await agreed(asked) }
      const held = tokenIn(await exchange('orders', 'settler', { ...asked, ...again }))
      assert.equal(await settler.call(ledger, held, 100), 'ledger:post')
      await agent.tasks.end(next, 'completed')
      await over(ledger, held)
      for (const ended of [{ ...asked, ...again }, asked])
        await refusals.check(
          await exchange('orders', 'settler', ended),
          'invalid_authorization_details',
          /task/u,
        )
      await agent.tasks.end(task, 'failed')
    })
    await story.wrong('anything at all, once the workload is locked', async () => {
      const held = tokenIn(await exchange('orders', 'settler', read))
      assert.equal(await settler.call(ledger, held), 'ledger:read')
      await writ.ada.locks.lock({
        what: 'subject',
        about: 'Service/orders',
        reason: 'its image was changed',
      })
      await over(ledger, held)
      await refusals.check(await exchange('orders', 'settler', read), 'invalid_target', /./u)
    })
    await story.right('the APIs did what was permitted, and nothing else', () => {
      const did = ledger.done.map(({ action, amount }) =>
        amount === undefined ? action : `${action} ${amount}`,
      )
      const reads = did.filter((one) => one === 'ledger:read').length
      assert.deepEqual(
        [did.filter((one) => one !== 'ledger:read'), reads],
        [['ledger:post 100', 'ledger:post 100'], 4],
      )
      assert.deepEqual([archive.done.length, payroll.done.length], [1, 0])
    })
    const atApis = Object.values(apis).reduce((sum, api) => sum + api.refused.length, 0)
    story.figure(
      `${refusals.count} exchanges refused, each on the record; ${atApis} calls refused by the APIs`,
    )
  },
}
