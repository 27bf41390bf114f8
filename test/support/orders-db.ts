/**
 * The target `orders-db` as tests configure it: a prepared PostgreSQL behind Database/orders.
 *
 * @module
 */
import type { TargetInput } from '../../client/src/index.ts'
import type { World as Database } from '../targets/world.ts'

/** To be added as it is; migrating is what it serves. */
export const ordersDb = ({
  host,
  port,
  adminPassword,
}: Pick<Database, 'host' | 'port' | 'adminPassword'>): TargetInput => ({
  id: 'orders-db',
  kind: 'postgres',
  config: {
    host,
    port,
    database: 'orders',
    roles: { migrate: 'orders_owner' },
    access: [{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }],
  },
  admin: { user: 'writ_admin', password: adminPassword },
})
