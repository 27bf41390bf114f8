/**
 * What every target keeps, whatever credentials open there. A driver's tests call `targetContract` with a harness.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { inspect } from 'node:util'

import { isWritError } from './model/errors.ts'
import type { CredentialRequest, IssuedSecret, Target } from './targets/port.ts'

/** A session that was opened with a credential and has its authority in use. */
export type OpenUse = Readonly<{
  /** Uses the authority; rejects once it cannot. */
  use(): Promise<void>
  close(): Promise<void>
}>

export type TargetHarness = Readonly<{
  target: Target
  /** A second driver of the same target and installation, as after a restart. */
  again: Target
  request: CredentialRequest
  now(): number
  open(secret: IssuedSecret): Promise<OpenUse>
  /** Parts of the issued value that must never be printed. */
  canaries(secret: IssuedSecret): readonly string[]
  close(): Promise<void>
}>

/** Registers the suite under `name`; `start` is called once. */
export function targetContract(name: string, start: () => Promise<TargetHarness>): void {
  describe(`target contract: ${name}`, () => {
    let harness: TargetHarness
    let serial = 0
    const plan = (target = harness.target) =>
      target.plan(`cred_contract_${process.pid}_${String(serial++)}`, harness.request)
    const issue = async () => {
      const planned = plan()
      return { planned, secret: await harness.target.issue(planned, harness.now() + 60_000) }
    }
    const refusesUse = async (secret: IssuedSecret): Promise<void> => {
      await assert.rejects(async () => {
        const opened = await harness.open(secret)
        try {
          await opened.use()
        } finally {
          await opened.close()
        }
      })
    }
    before(async () => {
      harness = await start()
    })
    after(async () => {
      await harness.close()
    })

    test('a plan is a pure function of the id, as plain JSON', () => {
      const one = harness.target.plan('cred_a', harness.request)
      assert.deepEqual(harness.target.plan('cred_a', harness.request), one)
      assert.deepEqual(harness.again.plan('cred_a', harness.request), one)
      assert.deepEqual(JSON.parse(JSON.stringify(one)), one)
      assert.equal(one.target, harness.target.id)
      const names = ['cred_b', 'cred-b', 'CRED_B', 'cred_b ', 'cred_é', 'x'.repeat(500)].map(
        (id) => harness.target.plan(id, harness.request).name,
      )
      assert.equal(new Set(names).size, names.length)
    })

    test('a role the target does not have is refused when planning', () => {
      for (const role of ['nonsense', 'constructor', '__proto__', '']) {
        assert.throws(
          () => harness.target.plan('cred_a', { role }),
          (error) => isWritError(error, 'ERR_INPUT_INVALID') && error.hint !== undefined,
        )
      }
    })

    test('what is issued works and is listed; revoked, it is cut, refused and listed no more', async () => {
      const { planned, secret } = await issue()
      const opened = await harness.open(secret)
      await opened.use()
      assert.ok((await harness.target.list()).includes(planned.name))
      const report = await harness.target.revoke(planned)
      assert.equal(report.absent, true)
      assert.ok(report.sessionsCut >= 1)
      await assert.rejects(opened.use())
      await opened.close()
      await refusesUse(secret)
      assert.ok(!(await harness.target.list()).includes(planned.name))
      assert.deepEqual(JSON.parse(JSON.stringify(report)), report)
    })

    test('B36 already gone and never issued are success', async () => {
      const { planned } = await issue()
      assert.equal((await harness.target.revoke(planned)).absent, true)
      assert.equal((await harness.target.revoke(planned)).absent, true)
      assert.equal((await harness.target.revoke(plan())).absent, true)
    })

    test('B35 what was issued but never recorded is found and revoked by name alone, after a restart', async () => {
      const { planned, secret } = await issue()
      const opened = await harness.open(secret)
      const names = await harness.again.list()
      assert.ok(names.includes(planned.name))
      assert.equal((await harness.again.revoke({ name: planned.name })).absent, true)
      await assert.rejects(opened.use())
      await opened.close()
      await refusesUse(secret)
    })

    test('revocations of one credential at once all end absent', async () => {
      const { planned, secret } = await issue()
      const opened = await harness.open(secret)
      const reports = await Promise.all(
        [harness.target, harness.again, harness.target, harness.again].map((target) =>
          target.revoke(planned),
        ),
      )
      assert.deepEqual(
        reports.map((report) => report.absent),
        [true, true, true, true],
      )
      await assert.rejects(opened.use())
      await opened.close()
    })

    test('B49 a revocation during the issue waits for it and takes it back', async () => {
      const planned = plan()
      const issuing = harness.target.issue(planned, harness.now() + 60_000)
      const [, report] = await Promise.all([issuing, harness.target.revoke(planned)])
      assert.equal(report.absent, true)
      assert.ok(!(await harness.target.list()).includes(planned.name))
    })

    test('a plan is issued once', async () => {
      const { planned, secret } = await issue()
      await assert.rejects(harness.target.issue(planned, harness.now() + 60_000), (error) =>
        isWritError(error, 'ERR_TARGET_REFUSED'),
      )
      const opened = await harness.open(secret)
      await opened.use()
      await opened.close()
      await harness.target.revoke(planned)
    })

    test('nothing is issued that would already have ended', async () => {
      const planned = plan()
      for (const endsAt of [harness.now(), harness.now() - 1, Number.NaN, Number.POSITIVE_INFINITY]) {
        await assert.rejects(harness.target.issue(planned, endsAt), (error) =>
          isWritError(error, 'ERR_TARGET_REFUSED'),
        )
      }
      assert.ok(!(await harness.target.list()).includes(planned.name))
    })

    test('B43 what is issued does not print', async () => {
      const { planned, secret } = await issue()
      const printed = [
        String(secret),
        JSON.stringify({ secret, planned }),
        inspect({ secret, target: harness.target }, { depth: 20, showHidden: true }),
      ].join('\n')
      for (const canary of harness.canaries(secret)) assert.ok(!printed.includes(canary))
      await harness.target.revoke(planned)
    })

    test('names that are not of this installation are left alone', async () => {
      await assert.rejects(harness.target.revoke({ name: 'postgres' }), (error) =>
        isWritError(error, 'ERR_INPUT_INVALID'),
      )
    })

    test('a target prepared as documented has no findings', async () => {
      assert.deepEqual(await harness.target.check(), [])
    })
  })
}
