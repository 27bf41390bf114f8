/**
 * The one style sheet of the pages. Colours keep WCAG AA in both schemes; nothing depends on colour alone.
 *
 * @module
 */

export const STYLE = `:root {
  color-scheme: light dark;
  --paper: light-dark(#f6f7f9, #101418);
  --card: light-dark(#ffffff, #181e24);
  --line: light-dark(#d5dae1, #333d47);
  --ink: light-dark(#17202a, #e8edf2);
  --soft: light-dark(#52606d, #a3b1bf);
  --link: light-dark(#0b57b0, #8ab8ff);
  --go: light-dark(#17663a, #2b8550);
  --go-ink: #ffffff;
  --stop: light-dark(#b3261e, #ff9c94);
  --note: light-dark(#fff6da, #322a12);
  --note-line: light-dark(#dcb84a, #8a7331);
  --good: light-dark(#e4f5ea, #14301f);
  --bad: light-dark(#fdeceb, #3a1a18);
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0;
  background: var(--paper);
  color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; padding: .5rem 1rem; background: var(--card); z-index: 1; }
.top {
  display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem;
  padding: .75rem max(1rem, calc((100% - 44rem) / 2));
  border-bottom: 1px solid var(--line); background: var(--card);
}
.brand { display: inline-flex; align-items: center; gap: .5rem; font-weight: 650; letter-spacing: -.01em; color: inherit; text-decoration: none; min-height: 2.75rem; }
.brand img { display: block; }
.top .who { margin-left: auto; color: var(--soft); font-size: .9rem; display: inline-flex; align-items: center; min-height: 2.75rem; }
.way { margin: 0 0 .75rem; }
.way button { width: 100%; }
.passkey [hidden] { display: none; }
.acts { display: flex; flex-wrap: wrap; gap: .6rem; }
.rows { list-style: none; margin: 0; padding: 0; }
.rows > li { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .5rem 1rem; padding: .7rem 0; border-top: 1px solid var(--line); }
.rows > li:first-child { border-top: 0; }
.rows form { margin: 0; }
.top form { margin: 0; }
main { max-width: 46rem; margin: 0 auto; padding: 1.75rem 1rem 4rem; }
main.narrow { max-width: 27rem; }
h1 { font-weight: 500; font-size: 1.6rem; line-height: 1.25; letter-spacing: -.015em; margin: 0 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
p { margin: .5rem 0; }
a { color: var(--link); text-underline-offset: .15em; }
main > p > a:first-child:not(.button) { display: inline-flex; align-items: center; min-height: 2.75rem; }
.soft { color: var(--soft); }
.small { font-size: .9rem; }
code, pre, .mono { font-family: var(--mono); font-size: .875em; }
code { background: color-mix(in srgb, var(--line) 35%, transparent); padding: .1em .35em; border-radius: .3rem; }
pre { margin: .5rem 0 0; padding: .9rem 1rem; overflow-x: auto; white-space: pre-wrap; background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; }
pre code { background: none; padding: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.1rem 1.25rem; margin: 0 0 1rem; }
.card > :first-child { margin-top: 0; }
.card > :last-child { margin-bottom: 0; }
.cards { list-style: none; margin: 0; padding: 0; }
.cards h2 { margin: 0 0 .35rem; font-size: 1.1rem; font-weight: 450; line-height: 1.4; }
.card .foot { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .6rem 1rem; margin-top: .9rem; }
.thing { font-weight: 700; unicode-bidi: isolate; }
.chip { display: inline-block; padding: .1rem .6rem; border: 1px solid var(--line); border-radius: 1rem; font-size: .85rem; color: var(--soft); max-width: 100%; }
.chip.loud { background: var(--bad); border-color: var(--stop); color: var(--ink); }
.chip.loud strong { color: var(--stop); }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0 0; padding: 0; list-style: none; }
.quote { margin: .8rem 0 0; padding: .6rem .9rem; background: var(--note); border: 1px solid var(--note-line); border-radius: .5rem; }
.quote p { margin: .15rem 0 0; white-space: pre-wrap; unicode-bidi: isolate; }
.quote .label { font-size: .85rem; color: var(--ink); margin: 0; font-weight: 600; }
.banner { padding: .8rem 1rem; border-radius: .6rem; border: 1px solid var(--line); margin: 0 0 1.25rem; }
.banner p { margin: 0; }
.banner.good { background: var(--good); border-color: var(--go); }
.banner.bad { background: var(--bad); border-color: var(--stop); }
dl { display: grid; grid-template-columns: fit-content(50%) 1fr; gap: .45rem 1.25rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; unicode-bidi: isolate; }
dd bdi { white-space: pre-wrap; }
dd ul { margin: 0; padding-left: 1.1rem; }
dd dl { gap: .2rem 1rem; grid-template-columns: fit-content(50%) 1fr; align-items: baseline; }
dd .thing { font-weight: inherit; }
input.code + p { margin-top: 1rem; }
label .soft { font-weight: 400; }
label { display: block; font-weight: 600; margin: 0 0 .3rem; }
input[type=text], textarea, select {
  width: 100%; font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--soft); border-radius: .5rem; padding: .6rem .75rem;
}
textarea { min-height: 4.5rem; resize: vertical; }
input.code { font-family: var(--mono); letter-spacing: .02em; }
button, .button {
  display: inline-flex; align-items: center; justify-content: center; min-height: 2.75rem; padding: .5rem 1.15rem;
  font: inherit; font-weight: 600; border-radius: .55rem; border: 1px solid var(--soft);
  background: var(--card); color: var(--ink); text-decoration: none; cursor: pointer;
}
button.go, .button.go { background: var(--go); border-color: var(--go); color: var(--go-ink); }
button.stop { color: var(--stop); border-color: var(--stop); }
button.quiet { font-weight: 500; font-size: .9rem; border-color: var(--line); }
button:hover, .button:hover { filter: brightness(1.06); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.decide { display: grid; gap: 1rem; grid-template-columns: 1fr 1fr; }
.decide .card { margin: 0; display: flex; flex-direction: column; }
.decide textarea { flex: 1; }
.decide button { width: 100%; margin-top: .8rem; }
details { margin-top: .75rem; }
details summary { cursor: pointer; padding: .65rem 0; color: var(--link); }
.empty { text-align: center; padding: 2.25rem 1.25rem; }
.empty h2 { margin: 0 0 .4rem; }
fieldset { border: 0; margin: 0 0 .8rem; padding: 0; }
fieldset label { font-weight: 500; display: flex; gap: .5rem; align-items: center; min-height: 2.25rem; }
legend { font-weight: 600; padding: 0; }
@media (max-width: 34rem) {
  main { padding-top: 1.25rem; }
  h1 { font-size: 1.35rem; }
  .decide { grid-template-columns: 1fr; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dl dt { margin-top: .55rem; font-size: .9rem; }
  dd dl { grid-template-columns: fit-content(50%) 1fr; gap: .2rem 1rem; }
  dd dl dt { margin-top: 0; }
  dd dl dl { grid-template-columns: 1fr; gap: 0; }
  .card { padding: 1rem; }
  .card .foot .button { width: 100%; }
  .acts > * { flex: 1 1 auto; }
}
@media (prefers-reduced-motion: no-preference) { button, .button { transition: filter .12s; } }
@media (forced-colors: active) { button, .button, .card, .chip { border-color: ButtonBorder; } }
`

/** A seal with a check mark. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#17663a"/><path d="M8 9l4.2 14L16 12.5 19.8 23 24 9" fill="none" stroke="#fff" stroke-width="2.8" stroke-linecap="round" stroke-linejoin="round"/></svg>`
