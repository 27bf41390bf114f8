import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  appendLeaves,
  decodeFrontier,
  emptyFrontier,
  encodeFrontier,
  frontierRoot,
} from '../store/frontier.ts'
import { hex, leafHash } from '../store/hash.ts'
import { consistencyProof, inclusionProof, isContinued, isIncluded, TreeBuilder, treeRoot } from './tree.ts'

// the vectors of the Certificate Transparency reference implementation
const inputs = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((text) => leafHash(Buffer.from(text, 'hex')))
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const leavesOf = (count: number) =>
  Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)))

test('roots are those of RFC 6962', () => {
  for (const [size, root] of roots.entries()) {
    const leaves = inputs.slice(0, size)
    assert.equal(hex(treeRoot(leaves)), root)
    const tree = new TreeBuilder()
    for (const leaf of leaves) tree.add(leaf)
    assert.equal(tree.root(), root)
  }
})

test('the writer, which keeps only the right edge, names the same roots however it appends', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(70), { maxLength: 8 }), (batches) => {
      const total = batches.reduce((sum, it) => sum + it, 0)
      const leaves = leavesOf(total)
      let frontier = emptyFrontier
      for (const count of batches) {
        frontier = appendLeaves(frontier, leaves.slice(frontier.size, frontier.size + count))
        frontier = decodeFrontier(frontier.size, encodeFrontier(frontier)) ?? assert.fail()
        assert.equal(hex(frontierRoot(frontier)), hex(treeRoot(leaves.slice(0, frontier.size))))
      }
      assert.equal(frontier.size, total)
    }),
    { numRuns: 30 },
  )
  assert.equal(decodeFrontier(3, new Uint8Array(32)), undefined)
})

test('law 11: a continued log proves it, an altered one cannot', () => {
  for (let second = 1; second <= 20; second++) {
    const leaves = leavesOf(second)
    const root = treeRoot(leaves)
    for (let first = 1; first <= second; first++) {
      const old = treeRoot(leaves.slice(0, first))
      const proof = consistencyProof(leaves, first)
      assert.ok(isContinued(first, old, second, root, proof))
      assert.ok(!isContinued(first, leafHash(old), second, root, proof))
      const altered = leaves.with(first - 1, leafHash(Buffer.from('altered')))
      assert.ok(!isContinued(first, old, second, treeRoot(altered), consistencyProof(altered, first)))
    }
  }
})

test('an entry that is in the log proves it, another cannot', () => {
  for (let size = 1; size <= 20; size++) {
    const leaves = leavesOf(size)
    const root = treeRoot(leaves)
    for (const [index, leaf] of leaves.entries()) {
      const proof = inclusionProof(leaves, index)
      assert.ok(isIncluded(leaf, index, size, proof, root))
      assert.ok(!isIncluded(leafHash(leaf), index, size, proof, root))
      assert.ok(!isIncluded(leaf, (index + 1) % (size + 1), size, proof, root))
      assert.ok(!isIncluded(leaf, index, size, [...proof, leaf], root))
    }
  }
})
