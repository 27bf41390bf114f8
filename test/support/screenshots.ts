/**
 * Pictures of pages for whoever wants to look: `WRIT_SCREENSHOTS` names a folder.
 *
 * @module
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'

const sizes = [
  ['light', 1_200],
  ['dark', 1_200],
  ['light', 360],
  ['dark', 360],
] as const

export async function shoot(page: Page, name: string): Promise<void> {
  const folder = process.env['WRIT_SCREENSHOTS']
  if (folder === undefined) return
  mkdirSync(folder, { recursive: true })
  for (const [colorScheme, width] of sizes) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 760 })
    await page.screenshot({ path: join(folder, `${name}-${colorScheme}-${width}.png`), fullPage: true })
  }
}
