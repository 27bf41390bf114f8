/**
 * Whether a program of this machine can be used.
 *
 * @module
 */
import { accessSync, constants } from 'node:fs'

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
