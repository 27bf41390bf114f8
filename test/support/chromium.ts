/**
 * A headless browser for the tests that need one.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'

import { chromium } from 'playwright-core'
import type { Browser } from 'playwright-core'

import { cachedFolder, scratch } from '../../src/cli/cached-folder.ts'
import { isExecutable } from './executable.ts'

const SYSTEM_NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']

/** How long anything of a browser may take: a machine may be busy. */
const PATIENCE_MS = 240_000

type Program = { path: string; env: Record<string, string>; fonts?: string }

/**
 * Starts a Chromium: the one npm brings where it runs, else one installed on this machine.
 *
 * Closes with `await using browser = await startChromium()`. Its home, temporary folder and profile are
 * its own and are removed. Web security and site isolation stay on.
 *
 * @throws {AggregateError} if no browser starts, with one cause for each that was tried.
 */
export async function startChromium(): Promise<Browser> {
  const failures: unknown[] = []
  for (const find of [bundled, installed]) {
    try {
      const program = await find()
      if (program !== undefined) return await launch(program)
    } catch (error) {
      failures.push(error)
    }
  }
  throw new AggregateError(failures, 'no browser starts here: install the package `chromium`')
}

/** Why tests of pages are skipped: npm brings a Chromium for Linux on x64 alone, elsewhere an installed one serves. */
export function browserMissing(): string | false {
  if (process.platform === 'linux' && process.arch === 'x64') return false
  return installed() === undefined ? 'no browser here: install the package `chromium`' : false
}

async function launch({ path, env, fonts }: Program): Promise<Browser> {
  const home = mkdtempSync(join(scratch(), 'writ-chromium-'))
  const remove = () => rmSync(home, { recursive: true, force: true, maxRetries: 5 })
  mkdirSync(join(home, 'tmp'))
  if (fonts !== undefined) {
    // the configuration it brings names folders of the machine it was made for; without fonts a page has no text
    const folders = [fonts, '/usr/share/fonts', '/usr/local/share/fonts'].map((dir) => `<dir>${dir}</dir>`)
    const config = `<fontconfig>${folders.join('')}<cachedir>${home}/tmp/fonts</cachedir></fontconfig>`
    writeFileSync(join(home, 'fonts.conf'), config)
  }
  const start = (chromiumSandbox: boolean) =>
    chromium.launch({
      timeout: PATIENCE_MS,
      executablePath: path,
      chromiumSandbox,
      // this is a container's /dev/shm, often 64 MB
      args: ['--disable-dev-shm-usage', '--disable-gpu'],
      env: {
        PATH: process.env['PATH'] ?? '',
        LANG: 'C.UTF-8',
        HOME: home,
        TMPDIR: join(home, 'tmp'),
        ...(fonts === undefined ? {} : { FONTCONFIG_FILE: join(home, 'fonts.conf') }),
        ...env,
      },
    })
  try {
    // root has no sandbox, nor has a container that forbids user namespaces
    const isRoot = process.getuid?.() === 0
    const browser = await (isRoot ? start(false) : start(true).catch(() => start(false)))
    browser.once('disconnected', remove)
    return patient(browser)
  } catch (error) {
    remove()
    throw error
  }
}

/** The same browser, whose pages wait longer than half a minute. */
function patient(browser: Browser): Browser {
  const newContext = browser.newContext.bind(browser)
  browser.newContext = async (options) => {
    const context = await newContext(options)
    context.setDefaultTimeout(PATIENCE_MS)
    return context
  }
  const newPage = browser.newPage.bind(browser)
  browser.newPage = async (options) => {
    const page = await newPage(options)
    page.setDefaultTimeout(PATIENCE_MS)
    return page
  }
  return browser
}

/** The Chromium of `@sparticuz/chromium`, unpacked once with the libraries it brings. */
async function bundled(): Promise<Program | undefined> {
  // the package holds this one build; elsewhere only an installed browser serves
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const main = createRequire(import.meta.url).resolve('@sparticuz/chromium')
  const manifest = JSON.parse(readFileSync(join(dirname(main), '../package.json'), 'utf8')) as {
    version: string
  }
  const folder = await cachedFolder(`writ-chromium-${manifest.version}`, async (target) => {
    // it unpacks into the temporary folder of its process and takes whatever `chromium` it finds there
    const script = `
      import { inflate } from ${JSON.stringify(import.meta.resolve('@sparticuz/chromium'))}
      await Promise.all(process.argv.slice(1).map(inflate))`
    const packed = ['chromium.br', 'fonts.tar.br', 'swiftshader.tar.br', 'al2023.tar.br']
    const bin = join(dirname(main), '../bin')
    await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '-e', script, ...packed.map((file) => join(bin, file))],
      { env: { ...process.env, TMPDIR: target } },
    )
  })
  return {
    path: join(folder, 'chromium'),
    env: { LD_LIBRARY_PATH: join(folder, 'al2023/lib') },
    fonts: join(folder, 'fonts'),
  }
}

function installed(): Program | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  const path = folders
    .flatMap((folder) => SYSTEM_NAMES.map((name) => join(folder, name)))
    .concat('/Applications/Google Chrome.app/Contents/MacOS/Google Chrome')
    .find(isExecutable)
  return path === undefined ? undefined : { path, env: {} }
}
