import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { openLogFolder } from '../../src/audit/folder.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { MINUTE } from '../../src/model/time.ts'
import { engineFlags } from '../support/engine.ts'
import { diskShelf } from '../support/fake-target.ts'
import { unpruned } from '../support/store.ts'
import type { Template } from '../machine/setup.ts'
import { copyData, keyFileOf, makeTemplate } from '../machine/setup.ts'
import type { Ack, Stage } from './flows-story.ts'
import { openStage, tell } from './flows-story.ts'

/** Steps at which a process is really killed, beside every call of the target and every other reply. */
const KILLED = 12

const scratch = mkdtempSync(join(tmpdir(), 'writ-crash-'))
let template: Template
before(async () => {
  template = await makeTemplate()
})
after(() => {
  template.dispose()
  rmSync(scratch, { recursive: true, force: true })
})

/** A stage of its own for every telling. */
function setStage(name: string): Stage {
  const folder = join(scratch, name)
  mkdirSync(join(folder, 'shelf'), { recursive: true })
  copyData(join(template.folder, 'data'), join(folder, 'data'))
  const part = (key: string) => template.callers.get(key) ?? assert.fail(`nobody plays ${key}`)
  const cast = { ada: part('Person/ada'), grace: part('Person/grace'), migrator: part('Agent/migrator') }
  return { folder, keyFile: keyFileOf(template), startedAt: template.startedAt, cast }
}

type Told = Readonly<{
  acks: readonly Ack[]
  steps: readonly string[]
  signal: string | undefined
  errors: string
}>

/** Lets a process tell the story until it ends, or is killed at a step. */
function tellInProcess(stage: Stage, killAt: number): Promise<Told> {
  const file = join(stage.folder, 'stage.json')
  writeFileSync(file, JSON.stringify(stage))
  const child = join(import.meta.dirname, 'flows-child.ts')
  return new Promise((resolve) => {
    execFile(process.execPath, [...engineFlags, child, file, String(killAt)], (error, stdout, stderr) => {
      const lines = stdout.split('\n').filter((line) => line !== '')
      const said = lines.map((line) => JSON.parse(line) as Ack | { steps: string[] })
      resolve({
        acks: said.filter((it): it is Ack => 'saw' in it),
        steps: said.flatMap((it) => ('steps' in it ? it.steps : [])),
        signal: error?.signal ?? undefined,
        errors: stderr,
      })
    })
  })
}

/** Starts Writ again on what was left, and holds it to everything that a client saw. */
async function recover(stage: Stage, acks: readonly Ack[]): Promise<void> {
  const heads = acks.flatMap((ack) => (ack.saw === 'head' ? [{ size: ack.size, root: ack.root }] : []))
  const data = join(stage.folder, 'data')
  const verify = async (): Promise<void> => {
    const source = openLogFolder(data)
    const { firstBad } = await verifyLog(source, heads)
    source.close()
    assert.equal(firstBad, undefined, 'C11 the log continues every head that was seen')
  }
  await verify()
  const { app, clock, system, complaints } = await openStage(
    { ...stage, startedAt: stage.startedAt + 3 * MINUTE },
    2,
  )
  const { flows, store } = app
  const { ada, migrator } = stage.cast

  const all = async () => ({
    tasks: (await store.list('task')).items.map(({ value }) => value),
    requests: (await store.list('request')).items.map(({ value }) => value),
    grants: (await store.list('grant')).items.map(({ value }) => value),
    credentials: (await store.list('credential')).items.map(({ value }) => value),
  })
  const entries = unpruned(await store.log.entries(0, 1_000)).map(
    ({ bytes }) => JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>,
  )
  const found = await all()
  const has = (kind: string, member: string, id: string): boolean =>
    entries.some((entry) => entry['kind'] === kind && entry[member] === id)

  // C1: what was acknowledged is there
  for (const ack of acks) {
    if (ack.saw === 'head') continue
    const { id, saw } = ack
    const message = `${saw} ${id} was acknowledged`
    const task = found.tasks.find((it) => it.id === id)
    const grant = found.grants.find((it) => it.id === id)
    const credential = found.credentials.find((it) => it.id === id)
    if (saw === 'task') assert.ok(task !== undefined, message)
    if (saw === 'request')
      assert.ok(
        found.requests.some((it) => it.id === id),
        message,
      )
    if (saw === 'request') {
      // whoever did not hear the answer asks again, and gets that one
      assert.equal((await flows.submit(migrator, ack.submission)).id, id, message)
      const made = entries.filter((it) => it['kind'] === 'request.submitted' && it['request'] === id)
      assert.equal(made.length, 1, message)
    }
    if (saw === 'approval')
      assert.ok(
        found.requests.some((it) => it.approval === id && it.status === 'approved'),
        message,
      )
    if (saw === 'grant') assert.ok(grant !== undefined && has('grant.activated', 'grant', id), message)
    if (saw === 'permit') assert.ok(has('decision', 'id', id), message)
    if (saw === 'credential')
      assert.ok(credential !== undefined && has('credential.live', 'credential', id), message)
    if (saw === 'ended') assert.equal(task?.state, 'completed', message)
    if (saw === 'revoked') assert.ok(grant !== undefined && grant.state !== 'active', `B47 ${message}`)
    if (saw === 'absent') assert.equal(credential?.state, 'absent', message)
    if (saw === 'locked') {
      assert.ok(has('subject.locked', 'subject', id), `B47 ${message}`)
      assert.ok(
        found.grants.every((it) => it.state !== 'active'),
        `B47 ${message}`,
      )
    }
  }
  // nothing is there by half: every record has its entries, and counts what they say
  const permits = entries.filter((entry) => entry['kind'] === 'decision' && entry['outcome'] === 'permit')
  for (const task of found.tasks) {
    assert.ok(has('task.declared', 'task', task.id))
    assert.equal(has('task.ended', 'task', task.id), task.state !== 'declared' && task.state !== 'open')
    const under = permits.filter((entry) => (entry['attempt'] as { task?: string }).task === task.id)
    assert.equal(task.calls, under.length, 'C5 calls are counted with their permits')
  }
  for (const grant of found.grants) {
    assert.ok(has('grant.activated', 'grant', grant.id) && has('decision', 'id', grant.decision), 'C1')
    assert.equal(has('grant.ended', 'grant', grant.id), grant.state !== 'active')
    const carried = permits.filter((entry) => entry['grant'] === grant.id && entry['id'] !== grant.decision)
    assert.equal(grant.used, carried.length, 'C9 uses are spent with their permits')
  }
  for (const request of found.requests) {
    const into = found.grants.filter((grant) => grant.evidence.request === request.id)
    assert.deepEqual(
      into.map(({ id }) => id),
      request.grant === undefined ? [] : [request.grant],
      'C9',
    )
  }
  for (const credential of found.credentials)
    assert.ok(has('credential.planned', 'credential', credential.id), 'C8')
  const names = new Set(found.credentials.map(({ id }) => `fake_${id}`))
  for (const name of system.shelf.names())
    assert.ok(names.has(name), `B35 ${name} is at the target without a row`)

  // B35: what nobody can have received is taken back, what somebody has stays as long as its grant
  await flows.sweeper.sweep()
  await flows.settled()
  const swept = await all()
  for (const { id, state, grant } of swept.credentials) {
    const isLive = swept.grants.some((it) => it.id === grant && it.state === 'active')
    assert.ok(state === 'absent' || (state === 'live' && isLive), `B35 ${id} is ${state}`)
    assert.equal(system.shelf.names().includes(`fake_${id}`), state === 'live', `B35 ${id} is ${state}`)
  }

  // B47: what was taken back stays taken back; B20: what was approved is good for one grant
  for (const grant of swept.grants.filter(({ state }) => state !== 'active')) {
    const attempt = grant.analysed as unknown as Parameters<typeof flows.evaluate>[1] & { task: string }
    const context = { task: attempt.task, grant: grant.id }
    const { outcome } = await flows.evaluate(migrator, { ...attempt, context })
    assert.notEqual(outcome, 'permit', `B47 ${grant.id} is ${grant.state}`)
    assert.equal((await flows.issueCredential(migrator, grant.id)).secret, undefined, 'B47')
  }
  for (const request of swept.requests) {
    if (request.status !== 'approved' || request.grant !== undefined) continue
    const { attempt, approval = '', task = '' } = request
    const activate = () => flows.activate(migrator, { ...attempt, context: { task, approval } })
    const isOpen = swept.tasks.some((it) => it.id === task && it.state === 'declared')
    const [once, twice] = [await activate(), await activate()]
    assert.equal(once.decision.outcome === 'permit', isOpen, `B20 ${once.decision.reason}`)
    assert.equal(twice.grant?.id, once.grant?.id, 'B20')
  }

  // the end: nothing is left, and the record of all of it holds
  await flows.locks.lock(ada, { what: 'subject', about: 'Agent/migrator', reason: 'the end' })
  for (let i = 0; i < 2; i += 1) {
    clock.advance(2 * MINUTE)
    await flows.sweeper.sweep()
    await flows.settled()
  }
  assert.deepEqual(system.shelf.names(), [], 'C8')
  assert.deepEqual(complaints, [])
  heads.push(await store.log.head())
  await app.stop()
  await verify()
}

test('laws 1, 2, 8, 9: whatever of the story is on the disk at any step, all that was acknowledged holds', async () => {
  const stage = setStage('images')
  const acks: Ack[] = []
  const images: { stage: Stage; acks: readonly Ack[]; step: string }[] = []
  const seen = new Set<string>()
  let steps = 0
  /** What a process that is killed now leaves: the same as what is in its files. */
  const keep = (step: string): void => {
    steps += 1
    const key = fingerprint(stage.folder, acks.length)
    if (seen.has(key)) return
    seen.add(key)
    const folder = join(scratch, `image-${images.length}`)
    copyData(join(stage.folder, 'data'), join(folder, 'data'))
    mkdirSync(join(folder, 'shelf'))
    for (const name of diskShelf(join(stage.folder, 'shelf')).names())
      diskShelf(join(folder, 'shelf')).add(name)
    images.push({ stage: { ...stage, folder }, acks: [...acks], step: `${step} (step ${steps})` })
  }
  const opened = await openStage(stage, 1, keep)
  await tell(opened, stage.cast, (ack) => {
    keep(`reply: ${ack.saw}`)
    acks.push(ack)
  })
  keep('the end')
  await opened.app.stop()
  assert.ok(steps > 400, `${steps} steps`)
  assert.ok(images.length > 60, `${images.length} different images`)
  for (const image of images) {
    await recover(image.stage, image.acks).catch((error: unknown) => {
      throw new Error(`killed at ${image.step}`, { cause: error })
    })
    rmSync(image.stage.folder, { recursive: true })
  }
})

test('laws 1, 2, 8, 9: killed with -9 at calls of the target, replies and writes, all that was acknowledged holds', async () => {
  const whole = await tellInProcess(setStage('whole'), 0)
  assert.equal(whole.errors, '')
  const { steps } = whole
  const isOutside = (name: string): boolean => name.startsWith('issue') || name.startsWith('revoke')
  const every = Math.floor(steps.length / KILLED)
  const chosen = steps.flatMap((name, i) => (isOutside(name) || i % every === every - 1 ? [i + 1] : []))
  const killAndLook = async (killAt: number): Promise<void> => {
    const stage = setStage(`kill-${killAt}`)
    const { acks, signal, errors } = await tellInProcess(stage, killAt)
    const where = `step ${killAt}, ${steps[killAt - 1]}`
    assert.equal(signal, 'SIGKILL', `${where}: ${errors}`)
    await recover(stage, acks).catch((error: unknown) => {
      throw new Error(`killed at ${where}`, { cause: error })
    })
  }
  // two at a time: the machine has more to do
  const worker = async (): Promise<void> => {
    for (let killAt = chosen.shift(); killAt !== undefined; killAt = chosen.shift()) await killAndLook(killAt)
  }
  await Promise.all([worker(), worker()])
})

/** Two equal ones have the same files, target and client. */
function fingerprint(folder: string, acks: number): string {
  const hash = createHash('sha256')
  const log = join(folder, 'data/writ.db-wal')
  if (existsSync(log)) hash.update(readFileSync(log))
  const { size, mtimeMs } = statSync(join(folder, 'data/writ.db'))
  hash.update(JSON.stringify([size, mtimeMs, diskShelf(join(folder, 'shelf')).names(), acks]))
  return hash.digest('hex')
}
