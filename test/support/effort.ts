/**
 * What a piece of work costs, whoever else works on this machine.
 *
 * @module
 */

/** From now on: how long the processor has worked for this process, all its threads together, ms. */
export function effort(): () => number {
  const since = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(since)
    return (user + system) / 1_000
  }
}
