/**
 * Before the work: a task for the job, and a token under it. Whatever is made is remembered at once, so that the step
 * after the job finds it also when this one is cut short.
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { input, mask, output, save, say, step } from './runner.mjs'
import { Refused, Writ, approvalOf, idToken, newHolder, submissionOf } from './writ.mjs'

await step(async () => {
  const [url, resource, scope, reason] = ['url', 'resource', 'scope', 'reason'].map((name) => input(name))
  for (const [name, value] of Object.entries({ url, resource, scope }))
    if (value === '') throw new Error(`the input \`${name}\` is missing`)
  const seconds = Number(input('wait') || '0')
  if (!Number.isInteger(seconds) || seconds < 0) throw new Error('the input `wait` is a number of seconds')
  const audience = input('audience') || url.replace(/\/$/u, '')
  const writ = new Writ(url, async () => {
    const token = await idToken(audience)
    mask(token)
    return token
  })

  let holder
  if (input('dpop') === 'true') {
    const file = join(process.env.RUNNER_TEMP || '.', `writ-${randomUUID()}.jwk`)
    holder = await newHolder()
    save('key', file)
    writeFileSync(file, JSON.stringify(holder.privateJwk), { mode: 0o600, flag: 'wx' })
    output('key-file', file)
  }

  const { subject } = await writ.me()
  let task = input('task')
  if (task === '') {
    const {
      GITHUB_REPOSITORY: repository = 'a repository',
      GITHUB_RUN_ID: run = '?',
      GITHUB_JOB: job = '?',
    } = process.env
    const ttl = input('ttl') || '1h'
    const declared = await writ.declareTask({
      purpose: `${job} of ${repository}, run ${run}`,
      ...(reason === '' ? {} : { reason }),
      scope: {
        actions: scope.split(/\s+/u),
        // a URL stands for whatever the server knows by it
        resources: resource.includes('://')
          ? []
          : [{ type: resource.split('/', 1)[0], id: resource.slice(resource.indexOf('/') + 1) }],
      },
      ttl,
      // nothing beats between the steps of a job: the step after it ends the task, or its deadline does
      heartbeat: ttl,
    })
    task = declared.id
    save('task', task)
  }
  output('task', task)

  const asked = { resource, scope, task, holder }
  const issued = await writ.exchange(asked).catch(async (error) => {
    const offer = error instanceof Refused ? error.body.access_request : undefined
    if (offer === undefined || seconds === 0) throw error
    const { task: request } = await writ.submit(submissionOf(error.body, asked, subject, reason))
    save('request', request.id)
    say('notice', `waiting for approval of access request ${request.id}`)
    const approval = await approvalOf(writ, request.id, seconds)
    save('request', '')
    return writ.exchange({ ...asked, approval })
  })
  mask(issued.access_token)
  save('token', issued.access_token)
  output('token', issued.access_token)
  if (typeof issued.expires_in === 'number')
    output('expires-at', new Date(Date.now() + issued.expires_in * 1_000).toISOString())
  say('notice', `token for ${issued.scope ?? scope} on ${resource}`)
})
