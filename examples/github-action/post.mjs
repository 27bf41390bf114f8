/**
 * After the job, however it ended: what it asked for is withdrawn, its token ended, its task ended. Each is tried
 * whatever becomes of the others, and what cannot be confirmed fails the step.
 *
 * @module
 */
import { rmSync } from 'node:fs'
import { input, mask, saved, say, step } from './runner.mjs'
import { Refused, Writ, idToken } from './writ.mjs'

/** How the task of a job ends that ended like this. */
const statuses = { success: 'completed', cancelled: 'cancelled' }

await step(async () => {
  const [task, token, request] = ['task', 'token', 'request'].map((name) => saved(name))
  if (saved('key')) rmSync(saved('key'), { force: true })
  if (!task && !token && !request) return
  const status = statuses[input('job-status')] ?? 'failed'
  const url = input('url')
  const writ = new Writ(url, async () => {
    const own = await idToken(input('audience') || url.replace(/\/$/u, ''))
    mask(own)
    return own
  })
  const problems = []
  const confirm = async (what, work) => {
    try {
      await work()
      say('notice', what)
    } catch (error) {
      // ended already, by somebody else or by itself, is as good
      if (error instanceof Refused && (error.status === 404 || error.status === 409)) return
      problems.push(`not confirmed: ${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  if (request)
    await confirm(`access request ${request} withdrawn`, () =>
      writ.cancelRequest(request, `the job is ${status}`),
    )
  if (token) await confirm('token ended', () => writ.revoke(token))
  if (task) await confirm(`task ${task} ${status}`, () => writ.endTask(task, status, `the job is ${status}`))
  if (problems.length > 0) throw new Error(`${problems.join('; ')}. Both end by themselves at their deadline`)
})
