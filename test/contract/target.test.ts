import { startWorld } from '../targets/world.ts'
import type { TargetHarness } from '../../src/testing.ts'
import { targetContract } from '../../src/testing.ts'

for (const shape of ['ephemeral', 'lift'] as const) {
  targetContract(`postgres, ${shape}`, async (): Promise<TargetHarness> => {
    const world = await startWorld()
    const over = shape === 'lift' ? { shape, account: 'svc_migrator' } : { shape }
    await world.sql(
      'create table public.contract (id int); alter table public.contract owner to orders_owner',
    )
    return {
      target: world.target(over),
      again: world.target(over),
      request: { role: 'migrate', label: 'grant_1' },
      now: () => Date.now(),
      canaries: (secret) => {
        const { password } = secret.expose()
        return [world.adminPassword, ...(password === undefined ? [] : [password])]
      },
      open: async (secret) => {
        const client = await world.as(secret)
        if (shape === 'lift') {
          await client.query('set role orders_owner').catch(async (error: unknown) => {
            await client.end()
            throw error
          })
        }
        return {
          use: async () => {
            await client.query('insert into public.contract values (1)')
          },
          close: () => client.end().catch(() => {}), // cut already
        }
      },
      close: async () => {
        await world[Symbol.asyncDispose]()
      },
    }
  })
}
