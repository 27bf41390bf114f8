/**
 * The thread that judges policies, with a weakness: a text that says `break by …` ends it that way.
 *
 * @module
 */
import { serveThread } from '../../src/flows/thread.ts'
import type { JudgeInput } from '../../src/policy/judge.ts'
import { judge } from '../../src/policy/judge.ts'

const ends: Readonly<Record<string, () => void>> = {
  overflow: function again() {
    again()
    again()
  },
  memory() {
    const all: unknown[] = []
    for (;;) all.push(Array.from({ length: 10_000 }, () => all.length))
  },
  exit: () => process.exit(3),
  never() {
    for (;;);
  },
}

serveThread((input: JudgeInput) => {
  const how = /break by (\w+)/u.exec(input.texts.join('\n'))?.[1]
  if (how !== undefined) ends[how]?.()
  return judge(input)
})
