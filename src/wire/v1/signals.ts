/**
 * Signal streams as operators see them, on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { SignalStream } from '../../model/signal.ts'
import { encodeInstant, given, id, instantOut } from '../bounds.ts'

const signalStream = z
  .object({
    name: z.string(),
    direction: z
      .enum(['in', 'out'])
      .meta({ description: '`in`: a transmitter that is listened to; `out`: a listener that is told' }),
    delivery: z.enum(['push', 'poll']),
    status: z.enum(['enabled', 'paused', 'disabled', 'gone']).exactOptional(),
    heard_at: instantOut.exactOptional().meta({ description: '`in`: when it last said anything' }),
    behind_since: instantOut.exactOptional().meta({ description: '`out`: since when events wait for it' }),
    refused: z
      .int()
      .exactOptional()
      .meta({ description: '`out`: events that it refused and that can be sent again' }),
    problems: z.array(z.string()),
  })
  .meta({ id: 'SignalStream', description: 'A stream of signals, and what is wrong with it' })

export const signalStreams = z.object({ items: z.array(signalStream) }).meta({ id: 'SignalStreams' })

export const redelivery = z.strictObject({ listener: id }).meta({ id: 'Redelivery' })

export const redelivered = z
  .object({ listener: z.string(), again: z.int().meta({ description: 'How many are sent once more' }) })
  .meta({ id: 'Redelivered' })

export const encodeSignalStream = (value: SignalStream): z.infer<typeof signalStream> => ({
  name: value.name,
  direction: value.direction,
  delivery: value.delivery,
  ...given('status', value.status),
  ...(value.heardAt === undefined ? {} : { heard_at: encodeInstant(value.heardAt) }),
  ...(value.behindSince === undefined ? {} : { behind_since: encodeInstant(value.behindSince) }),
  ...given('refused', value.refused),
  problems: [...value.problems],
})
