/**
 * A process that tells the story on the stage of `stage.json`, and kills itself at step `killAt`. Its output is what its
 * client saw, one JSON object per line; without a kill the last line is the list of steps.
 *
 * @module
 */
import { readFileSync, writeSync } from 'node:fs'
import type { Stage } from './flows-story.ts'
import { openStage, tell } from './flows-story.ts'

const [file = '', killAt = '0'] = process.argv.slice(2)
const stage = JSON.parse(readFileSync(file, 'utf8')) as Stage
const steps: string[] = []

function step(name: string): void {
  steps.push(name)
  if (steps.length === Number(killAt)) process.kill(process.pid, 'SIGKILL')
}

const opened = await openStage(stage, 1, step)
await tell(opened, stage.cast, (ack) => {
  step(`reply: ${ack.saw}`)
  writeSync(1, `${JSON.stringify(ack)}\n`)
})
writeSync(1, `${JSON.stringify({ steps })}\n`)
await opened.app.stop()
