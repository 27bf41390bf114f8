/**
 * Why a token proves nobody: values, not errors, with a stable code and one sentence that is safe for whoever sent it.
 *
 * @module
 */

const sentences = {
  size: 'the token is longer than 16 KiB',
  form: 'the token is not three canonical base64url parts of JSON',
  text: 'the token holds a member twice, or text that no name may hold',
  encrypted: 'the token is encrypted; signed ones are accepted',
  header: 'the token asks for an extension (`crit`) that is not supported',
  algorithm: 'the token is signed with an algorithm that its issuer is not trusted with',
  type: 'the token is of another type (`typ`) than its issuer is trusted with',
  event: 'the token tells of an event and proves nobody',
  issuer: 'the issuer of the token is not configured',
  audience: 'the token is not for this audience alone',
  expired: 'the token has ended',
  early: 'the token is not valid yet',
  claims: 'the token lacks a claim that is needed, or holds one that cannot be right',
  key: 'the key that signed the token is not among those of its issuer',
  keys: 'the keys of the issuer cannot be had at the moment',
  signature: 'the signature of the token is wrong',
  subject: 'no trust rule knows the subject of the token',
  instigator: 'the token does not say whose account set it going',
  act: 'the actors of the token cannot be verified',
  confirmation: 'the token is bound to something that cannot be checked',
  review: 'the cluster does not confirm the token',
} as const

export type RefusalCode = keyof typeof sentences

export type Refusal = Readonly<{
  code: RefusalCode
  sentence: string
  /** For the operator. */
  detail?: string
  /** Configured name of the issuer, once it is known; what it says is verified for no code before `signature`. */
  issuer?: string
}>

export const refusalCodes = Object.keys(sentences) as readonly RefusalCode[]

/** Thrown and caught within this folder alone. */
export class Refused extends Error {
  readonly refusal: Refusal
  constructor(code: RefusalCode, detail?: string) {
    super(code)
    this.refusal = { code, sentence: sentences[code], ...(detail === undefined ? {} : { detail }) }
  }
}
