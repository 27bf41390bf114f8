/**
 * Which addresses are somebody's own network: loopback, link-local, private, internal and everything else that is not
 * the public Internet (IANA special-purpose registries). What others name as an endpoint must not reach them.
 *
 * @module
 */
import { BlockList, isIP } from 'node:net'

const special = new BlockList()
for (const [prefix, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  special.addSubnet(prefix, bits, 'ipv4')

/** Of IPv6 only global unicast is public, without what is documentation, or carries an IPv4 address of its own. */
const global6 = new BlockList()
global6.addSubnet('2000::', 3, 'ipv6')
const special6 = new BlockList()
for (const [prefix, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  special6.addSubnet(prefix, bits, 'ipv6')

/** True for an address of the public Internet; false for every other one, and for what is no address. */
export function isPublicAddress(address: string): boolean {
  const bare = address.replace(/^\[|\]$/gu, '').replace(/%.*$/u, '')
  const family = isIP(bare)
  if (family === 4) return !special.check(bare, 'ipv4')
  return family === 6 && global6.check(bare, 'ipv6') && !special6.check(bare, 'ipv6')
}

/** The address that a URL's host is, without brackets; `undefined` for a name. */
export function literalAddress(url: URL): string | undefined {
  const bare = url.hostname.replace(/^\[|\]$/gu, '')
  return isIP(bare) === 0 ? undefined : bare
}
