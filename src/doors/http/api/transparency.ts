/**
 * The log for outsiders: checkpoints and tiles (C2SP tlog-tiles), keys and proofs. Public, because they are hashes; the
 * entries themselves are for those who may read.
 *
 * @module
 */
import * as z from 'zod'
import { TILE_WIDTH, parseTilePath } from '../../../audit/tiles.ts'
import type { TileRef } from '../../../audit/tiles.ts'
import { WritError } from '../../../model/errors.ts'
import { hex } from '../../../store/hash.ts'
import { index } from '../../../wire/bounds.ts'
import {
  acknowledgement,
  encodeEpochState,
  encodeLogKeys,
  epochState,
  keyRotated,
  keyRotation,
  logConsistency,
  logInclusion,
  logKeys,
} from '../../../wire/v1/index.ts'
import type { Answer, Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, failed } from './shared.ts'

const BYTES = 'application/octet-stream'
const NOTE = 'text/plain; charset=utf-8'

/** Tiles never change; one that is not full is of use until the next checkpoint or two. */
const cached = ({ width }: TileRef, who: 'public' | 'private'): Record<string, string> => ({
  'cache-control': `${who}, ${width === TILE_WIDTH ? 'max-age=31536000, immutable' : 'max-age=3600'}`,
})

/** What the rest of the path is: `<index>[.p/<width>]`, e.g. `x001/234` or `000.p/17`. */
const rest = z.string().max(64).meta({ description: '`<index>[.p/<width>]`, e.g. `x001/234` or `000.p/17`' })
const tileParams = z.strictObject({ level: z.string().regex(/^\d{1,2}$/), '*': rest })
const bundleParams = z.strictObject({ '*': rest })

export function transparencyRoutes({ flows }: Door): Route[] {
  const tag = 'Log'
  const missing = (): WritError => new WritError('ERR_NOT_FOUND', 'the log has no such tile')
  return [
    route({
      method: 'GET',
      path: '/log/checkpoint',
      tag,
      summary: 'The newest signed head of the log, with its cosignatures (C2SP tlog-checkpoint)',
      who: 'public',
      audit: READS,
      responses: { 200: { description: 'A signed note', type: NOTE } },
      handle: async () => ({ status: 200, body: await flows.transparency.newest(), type: NOTE }),
    }),
    route({
      method: 'GET',
      path: '/log/tile/:level/*',
      tag,
      summary: 'Hashes of the tree (C2SP tlog-tiles)',
      who: 'public',
      audit: READS,
      params: tileParams,
      responses: { 200: { description: 'Up to 256 hashes', type: BYTES }, 404: NOT_FOUND },
      handle: async ({ params }): Promise<Answer> => {
        const ref = parseTilePath(`tile/${params.level}/${params['*']}`)
        if (ref === undefined || ref.level === 'entries') throw missing()
        const body = await flows.transparency.tile({ ...ref, level: ref.level })
        if (body === undefined) throw missing()
        return { status: 200, body, type: BYTES, headers: cached(ref, 'public') }
      },
    }),
    route({
      method: 'GET',
      path: '/log/tile/entries/*',
      heavy: true,
      tag,
      summary: 'Entries of the log, each with its length before it (C2SP tlog-tiles)',
      who: 'caller',
      audit: READS,
      params: bundleParams,
      responses: {
        200: { description: 'Up to 256 entries', type: BYTES },
        403: failed('Not allowed'),
        404: failed('Not there yet, or retention has pruned one of them'),
      },
      handle: async ({ caller, params }): Promise<Answer> => {
        await flows.entries(caller, 0, 0) // who may not read the log may not read it here
        const ref = parseTilePath(`tile/entries/${params['*']}`)
        if (ref === undefined) throw missing()
        const body = await flows.transparency.bundle(ref)
        if (body === undefined) throw missing()
        if (body === 'pruned') {
          throw new WritError('ERR_NOT_FOUND', 'retention has pruned some of these entries', {
            hint: 'their hashes are in the tile of level 0; those that are left are under `/v1/log/entries`',
          })
        }
        return { status: 200, body, type: BYTES, headers: cached(ref, 'private') }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/log/keys',
      tag,
      summary: 'Every key that has signed checkpoints, and up to where it is believed',
      who: 'public',
      audit: READS,
      responses: { 200: { description: 'The keys, the oldest first', schema: logKeys } },
      handle: async () => ok(encodeLogKeys(flows.transparency.keys())),
    }),
    route({
      method: 'GET',
      path: '/v1/log/inclusion',
      tag,
      summary: 'Shows that the log holds an entry',
      who: 'public',
      audit: READS,
      query: z.strictObject({ seq: index, size: index }),
      responses: { 200: { description: 'The path from the entry to the root', schema: logInclusion } },
      handle: async ({ query }) => {
        const { leaf, path, root, ...of } = await flows.transparency.inclusion(query.seq, query.size)
        return ok({ ...of, leaf: hex(leaf), path: path.map(hex), root: hex(root) })
      },
    }),
    route({
      method: 'GET',
      path: '/v1/log/consistency',
      tag,
      summary: 'Shows that the log continues what it was at an earlier size',
      who: 'public',
      audit: READS,
      query: z.strictObject({ from: index, to: index }),
      responses: { 200: { description: 'The proof and both roots', schema: logConsistency } },
      handle: async ({ query }) => {
        const { path, roots, ...of } = await flows.transparency.consistency(query.from, query.to)
        return ok({ ...of, path: path.map(hex), from_root: hex(roots[0]), to_root: hex(roots[1]) })
      },
    }),
    route({
      method: 'GET',
      path: '/v1/log/epochs/current',
      tag,
      summary: 'The epoch of the log; after a restore, what to look at before it is acknowledged',
      who: 'caller',
      heavy: true,
      audit: READS,
      responses: { 200: { description: 'The epoch', schema: epochState }, 403: failed('Not allowed') },
      handle: async ({ caller }) => ok(encodeEpochState(await flows.epoch(caller))),
    }),
    route({
      method: 'POST',
      path: '/v1/log/epochs/acknowledge',
      tag,
      summary: 'Say that what came back with a restored copy was looked at; until then nothing widens',
      who: 'caller',
      audit: { event: 'epoch.acknowledged' },
      consumes: 'json',
      body: acknowledgement,
      responses: { 204: { description: 'Acknowledged' }, 403: failed('Not allowed'), 409: CONFLICT },
      handle: async ({ caller, body }) => {
        await flows.acknowledgeRestore(caller, body.epoch)
        return { status: 204 }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/log/keys/rotate',
      tag,
      summary: 'Have a new key sign from now on; give the old one up if somebody else may have it',
      who: 'caller',
      audit: { event: 'signer.rotated' },
      consumes: 'json',
      body: keyRotation,
      responses: { 200: { description: 'The new key', schema: keyRotated }, 403: failed('Not allowed') },
      handle: async ({ caller, body }) => ok(await flows.transparency.rotate(caller, body)),
    }),
  ]
}
