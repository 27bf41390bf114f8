import type { Context } from './context.ts'
export async function demo(_context: Context, _options: { auto?: boolean }): Promise<number> {
  return 1
}
