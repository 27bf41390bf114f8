/**
 * The thread that takes decisions again with reference Cedar.
 *
 * @module
 */
import { referee } from '../decision/reference.ts'
import { serveThread } from './thread.ts'
import type { Batch, Checked, CheckedPolicy } from './verifying.ts'

let differs = referee()
const policies = new Map<string, CheckedPolicy>()

serveThread(
  (batch: Batch): Checked => {
    if (batch.fresh) {
      differs = referee()
      policies.clear()
    }
    for (const policy of batch.policies) policies.set(policy.key, policy)
    return batch.checks.map(({ entry, entities, key }) => {
      const policy = policies.get(key)
      if (policy === undefined) throw new TypeError('a policy set was not handed over')
      const recorded = JSON.parse(entry) as Readonly<Record<string, unknown>>
      return differs(recorded, entities, policy, policy.schemaText) ?? null
    })
  },
  // a difference is looked at once more by a thread that has seen nothing yet
  (checked) => checked.some((why) => why !== null),
)
