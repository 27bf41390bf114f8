/**
 * The order of ids: that of their code points, which is that of their UTF-8 bytes, in every engine.
 *
 * @module
 */

export function compareIds(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return fixed(x) - fixed(y)
  }
  return a.length - b.length
}

/** UTF-16 sorts surrogates before U+E000–U+FFFF, code points after them. */
function fixed(unit: number): number {
  if (unit < 0xd800) return unit
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000
}

/** `ids` (sorted) with `changes` applied: true for an id that is listed now, false for one that is not. */
export function mergeIds(ids: readonly string[], changes: ReadonlyMap<string, boolean>): string[] {
  const added = [...changes].filter(([, listed]) => listed).map(([id]) => id)
  added.sort(compareIds)
  const merged: string[] = []
  let next = 0
  for (const id of ids) {
    while (next < added.length && compareIds(added[next] as string, id) < 0)
      merged.push(added[next++] as string)
    if (added[next] === id) next += 1
    if (changes.get(id) !== false) merged.push(id)
  }
  while (next < added.length) merged.push(added[next++] as string)
  return merged
}
