/**
 * The real PostgreSQL of the tests; the demo starts the same one.
 *
 * @module
 */
export { startPostgres } from '../../src/cli/throwaway-postgres.ts'
export type { PostgresSettings, ThrowawayPostgres } from '../../src/cli/throwaway-postgres.ts'
