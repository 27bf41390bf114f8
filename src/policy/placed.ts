/**
 * The policies of a loaded set with their trees and places, for tools that read them.
 *
 * @module
 */
import type { Cut } from './engine/parse.ts'
import { cut, Gap, parsePolicy } from './engine/parse.ts'
import type { Expr, Policy } from './engine/tree.ts'
import type { Span } from './problems.ts'
import { SourceFile } from './problems.ts'
import type { PolicyInfo, PolicySet } from './types.ts'

/** One policy, where it stands and what it says. Spans are offsets in its file. */
export type PlacedTree = Readonly<{ info: PolicyInfo; file: SourceFile; part: Cut; tree: Policy }>

/** In the order of the set, without those that only the reference can read. */
export function placedTrees(set: PolicySet): PlacedTree[] {
  const byFile = new Map<string, PolicyInfo[]>()
  for (const info of set.policies) byFile.set(info.file, [...(byFile.get(info.file) ?? []), info])
  return set.source.policies.flatMap(({ name, text }) => {
    const file = new SourceFile(name, text)
    const infos = byFile.get(name) ?? []
    return cut(text).flatMap((part, index): PlacedTree[] => {
      const info = infos[index]
      const tree = treeOf(part)
      return info === undefined || tree === undefined ? [] : [{ info, file, part, tree }]
    })
  })
}

function treeOf(part: Cut): Policy | undefined {
  try {
    return parsePolicy(part)
  } catch (error) {
    if (error instanceof Gap) return undefined
    throw error
  }
}

/** What must hold by itself: operands of `&&` in a `when`, of `||` in an `unless`. */
export function conjuncts({ conditions }: Policy): { kind: 'when' | 'unless'; body: Expr }[] {
  return conditions.flatMap(({ kind, body }) => {
    const items = body.op === (kind === 'when' ? 'and' : 'or') && 'items' in body ? body.items : [body]
    return items.map((item) => ({ kind, body: item }))
  })
}

/** What the head says about `name`, up to its comma. */
export function headSpan(
  { part: { tokens } }: PlacedTree,
  name: 'principal' | 'action' | 'resource',
): Span | undefined {
  let depth = 0
  for (const [at, token] of tokens.entries()) {
    if (token.kind !== 'string' && '([{'.includes(token.text)) depth++
    if (token.kind !== 'string' && ')]}'.includes(token.text)) depth--
    const before = tokens[at - 1]?.text
    if (depth !== 1 || token.kind !== 'word' || token.text !== name || (before !== '(' && before !== ','))
      continue
    let [end, inner] = [token.end, 0]
    for (const next of tokens.slice(at + 1)) {
      if (next.kind === 'mark' && inner === 0 && (next.text === ',' || next.text === ')')) break
      if (next.kind === 'mark' && next.text === '[') inner++
      if (next.kind === 'mark' && next.text === ']') inner--
      end = next.end
    }
    return { start: token.start, end }
  }
  return undefined
}
