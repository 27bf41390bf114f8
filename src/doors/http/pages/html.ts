/**
 * Markup with escaping that cannot be forgotten: what is put into a template is text unless it is markup already.
 *
 * @module
 */

/** Markup that was made by `markup`; nothing else counts as such. */
export class Html {
  readonly #text: string

  constructor(parts: readonly string[], values: readonly unknown[]) {
    this.#text = parts.reduce((text, part, i) => text + render(values[i - 1]) + part)
  }

  toString(): string {
    return this.#text
  }
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
}

/** Safe as text and inside quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"'`]/g, (character) => entities[character] as string)
}

function render(value: unknown): string {
  if (value instanceof Html) return value.toString()
  if (Array.isArray(value)) return value.map(render).join('')
  switch (typeof value) {
    case 'string':
      return escapeHtml(value)
    case 'number':
      return String(value)
    case 'undefined':
      return ''
    default:
      throw new TypeError('only text, numbers and markup can be shown')
  }
}

/** `markup\`<p>${text}</p>\``: attributes must be quoted; `undefined` shows nothing. */
export function markup(parts: TemplateStringsArray, ...values: readonly unknown[]): Html {
  return new Html(parts, values)
}
