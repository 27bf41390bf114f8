/**
 * What may name something, and what may be shown to a person.
 *
 * @module
 */

// controls, formatting marks, surrogates, separators of lines and paragraphs, what is drawn as nothing: nothing that hides
// or reorders what is seen
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u
const textControls = /[^\P{Cc}\n\t]/u
// marks that turn the reading direction around would let a reason rewrite the page it stands on (B24)
const turning = /[\u202a-\u202e\u2066-\u2069]/

/**
 * Whether `text` may name something: no control, invisible or lone surrogate characters, no space around it, and in
 * Unicode normal form C, so that one name has one spelling (B7). Case is kept and counts.
 */
export function isIdentity(text: string): boolean {
  return !unseen.test(text) && text.trim() === text && text.normalize('NFC') === text
}

/** Whether `text` may be shown to a person: well-formed, and no control characters but newline and tab. */
export function isText(text: string): boolean {
  return text.isWellFormed() && !textControls.test(text) && !turning.test(text)
}

/** Whether `text` may be an entity type, e.g. `Agent` or `Shop::Order`: what Cedar can name. */
export function isTypeName(text: string): boolean {
  return /^[A-Za-z_]\w*(::[A-Za-z_]\w*)*$/.test(text)
}

// letters of other scripts that look like Latin ones, after case is folded; `[from, to]` one to one
const lookalikes = new Map(
  Array.from('аеорсухіјѕһԁԛԝкмтвнгοανρικτυχγıɡ', (letter, at) => [
    letter,
    'aeopcyxijshdqwkmtbhroavpiktuxyig'[at] as string,
  ]),
)

/**
 * What `text` looks like: names of the same look are taken for each other, so two subjects of one type never have them (B7).
 */
export function lookOf(text: string): string {
  const folded = text.normalize('NFKC').toLowerCase().normalize('NFKC')
  return Array.from(folded, (letter) => lookalikes.get(letter) ?? letter).join('')
}
