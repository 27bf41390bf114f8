/**
 * The pages about passkeys: one's own, a new one, and the confirmation of one act.
 *
 * @module
 */
import type { Admitted } from '../../provider/port.ts'
import type { EntityRef } from '../../../model/entity.ts'
import type { Account, Passkey } from '../../../model/identity.ts'
import type { AccessRequest } from '../../../model/request.ts'
import type { Html } from './html.ts'
import { markup } from './html.ts'
import type { Offer } from './passkey-form.ts'
import { passkeyForm } from './passkey-form.ts'
import { asked, chips, clockTime, frame, prose, provenance, quotes, sentence } from './views.ts'

const hidden = (name: string, value: string): Html =>
  markup`<input type="hidden" name="${name}" value="${value}" />`

const problemBanner = (problem: string | undefined): Html | undefined =>
  problem === undefined
    ? undefined
    : markup`<div class="banner bad" role="alert"><p>${prose(problem)}</p></div>`

export type Mine = Readonly<{
  person: EntityRef
  passkeys: readonly Passkey[]
  /** What a change needs; nothing where none is needed or possible. */
  offer?: Offer
  /** Why there can be no passkeys at this address. */
  nowhere?: string
  accounts: readonly Account[]
  programs: readonly Admitted[]
  providers: readonly Readonly<{ name: string; label: string }>[]
  problem?: string
}>

export function passkeysPage(page: Mine): string {
  const { person, passkeys, offer, nowhere, accounts, programs, problem } = page
  const providers = page.providers.filter(({ name }) => !accounts.some(({ issuer }) => issuer === name))
  const change = (action: string, button: string, fields?: Html): Html =>
    offer === undefined
      ? markup`<form method="post" action="${action}">${fields}<button>${button}</button></form>`
      : passkeyForm({ action, offer, fields, button, plain: true })
  return frame(
    { title: 'How you sign in', person, script: offer !== undefined },
    markup`<p class="small"><a href="/inbox">← Inbox</a></p>
      <h1>How you sign in</h1>
      ${problemBanner(problem)}
      <h2>Passkeys</h2>
      <div class="card">
        <p>
          A passkey proves that it is you, at this moment and for one thing: to sign in, and to approve what is
          sensitive. Its secret never leaves your device.
        </p>
        ${
          passkeys.length === 0
            ? markup`<p class="soft">You have none.</p>`
            : markup`<ul class="rows">
                ${passkeys.map(
                  (passkey) =>
                    markup`<li>
                      <span
                        ><bdi class="thing">${passkey.name}</bdi>
                        <span class="soft small"
                          >since ${clockTime(passkey.createdAt)}${passkey.usedAt === undefined ? ', not used yet' : markup`, used ${clockTime(passkey.usedAt)}`}${passkey.synced ? ', on several devices' : undefined}</span
                        ></span
                      >
                      ${nowhere === undefined ? change('/passkeys/remove', 'Remove', hidden('id', passkey.id)) : undefined}
                    </li>`,
                )}
              </ul>`
        }
        ${
          nowhere === undefined
            ? change('/passkeys/new', passkeys.length === 0 ? 'Add a passkey' : 'Add another passkey')
            : markup`<p class="soft">${prose(nowhere)}</p>`
        }
        ${passkeys.length === 0 ? undefined : markup`<p class="soft small">Adding or removing one asks for one of them.</p>`}
      </div>
      ${
        accounts.length === 0 && providers.length === 0
          ? undefined
          : markup`<h2>Accounts</h2>
              <div class="card">
                <ul class="rows">
                  ${accounts.map(
                    (account) =>
                      markup`<li>
                        <span
                          ><bdi class="thing">${account.account}</bdi>
                          <span class="soft small">at ${account.issuer}, since ${clockTime(account.linkedAt)}</span></span
                        >
                        <form method="post" action="/accounts/unlink">
                          ${hidden('issuer', account.issuer)}${hidden('account', account.account)}<button class="quiet">Unlink</button>
                        </form>
                      </li>`,
                  )}
                  ${providers.map(
                    ({ name, label }) =>
                      markup`<li>
                        <span>${label}</span> ${change('/accounts/link', `Link your account`, hidden('provider', name))}
                      </li>`,
                  )}
                </ul>
                <p class="soft small">
                  A linked account signs you in, and what it sets going counts as yours: you cannot approve it.
                </p>
              </div>`
      }
      ${
        programs.length === 0
          ? undefined
          : markup`<h2>Programs</h2>
              <div class="card">
                <ul class="rows">
                  ${programs.map(programRow)}
                </ul>
                <p class="soft small">
                  You have let these in. They act for you until then, also when you have signed out here; none of them can
                  approve.
                </p>
              </div>`
      }`,
  )
}

/** Of an unknown program its own word is quoted, and where it was sent stands beside it. */
function programRow({ id, client, since, until, usedAt }: Admitted): Html {
  const name = client.known
    ? markup`<bdi class="thing">The command line</bdi>`
    : markup`<bdi class="thing">“${client.name}”</bdi> <span class="soft small">at <bdi>${client.at.replace(/:$/, '')}</bdi>,</span>`
  return markup`<li>
    <span
      >${name}
      <span class="soft small"
        >since ${clockTime(since)}, ${until === undefined ? 'has not fetched its token yet' : markup`until ${clockTime(until)}, ${usedAt === undefined ? 'not used yet' : markup`used ${clockTime(usedAt)}`}`}</span
      ></span
    >
    <form method="post" action="/programs/end">${hidden('id', id)}<button class="quiet">End</button></form>
  </li>`
}

export function newPasskeyPage(person: EntityRef, offer: Offer): string {
  return frame(
    { title: 'A new passkey', person, narrow: true, script: true },
    markup`<p class="small"><a href="/passkeys">← How you sign in</a></p>
      <h1>A new passkey</h1>
      <div class="card">
        ${passkeyForm({
          action: '/passkeys',
          offer,
          create: true,
          button: 'Make the passkey',
          fields: markup`<label for="name">Name <span class="soft">(so that you know it again)</span></label>
            <p>
              <input type="text" id="name" name="name" maxlength="60" autocomplete="off" placeholder="my phone" />
            </p>`,
        })}
      </div>
      <p class="soft small">Your browser asks where to keep it. This page is good for five minutes.</p>`,
  )
}

export type Confirmation = Readonly<{
  person: EntityRef
  request: AccessRequest
  offer: Offer
  /** `approve`, or the evidence that it is really the person who asks. */
  act: 'approve' | 'prove'
  /** What was chosen on the page before. */
  input: Readonly<{ statement: string; pool?: string | undefined; comment?: string | undefined }>
}>

export function confirmPage({ person, request, offer, act, input }: Confirmation): string {
  const at = `/requests/${encodeURIComponent(request.id)}`
  const { statement, pool, comment } = input
  return frame(
    { title: 'Confirm with your passkey', person, narrow: true, script: true },
    markup`<p class="small"><a href="${at}">← Back, without ${act === 'approve' ? 'approving' : 'confirming'}</a></p>
      <h1>${act === 'approve' ? 'Approve with your passkey' : 'Confirm that it is you'}</h1>
      <div class="card">
        <p>${sentence(request)}</p>
        ${chips(request)} ${quotes(request)}
        <h2>What exactly is asked</h2>
        ${asked(request)} ${provenance(request)}
        ${pool === undefined ? undefined : markup`<p class="soft small">You approve as <bdi>${pool}</bdi>.</p>`}
        ${comment === undefined ? undefined : markup`<p class="soft small">Your comment: <bdi>${comment}</bdi></p>`}
        ${passkeyForm({
          action: `${at}/${act}`,
          offer,
          button: act === 'approve' ? '✓ Use passkey and approve' : 'Use passkey',
          fields: markup`${hidden('statement', statement)}${pool === undefined ? undefined : hidden('pool', pool)}${comment === undefined ? undefined : hidden('comment', comment)}`,
        })}
      </div>
      <p class="soft small">
        What your passkey signs is good for exactly this, once, within five minutes. Being signed in is not enough.
      </p>`,
  )
}

/** Why a passkey did not count, and the way back. */
export function notProvedPage(
  person: EntityRef,
  back: string,
  detail: string,
  hint: string | undefined,
): string {
  return frame(
    { title: 'Not proved', person, narrow: true },
    markup`<h1>Nothing was done</h1>
      <div class="banner bad" role="alert"><p>${prose(detail)}</p></div>
      ${hint === undefined ? undefined : markup`<p>${prose(hint)}</p>`}
      <p><a class="button go" href="${back}">Look again</a></p>`,
  )
}
