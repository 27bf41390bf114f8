/**
 * The text with one character changed, never the same text: `changed('abc')` is `aAc`, and `changed('aAc')` is
 * `aBc`. In the middle, where every bit of base64url counts.
 */
export const changed = (text: string): string => {
  const at = text.length >> 1
  return text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
}
