import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'

import { browserMissing, startChromium } from './chromium.ts'

test('a browser opens a page, keeps origins apart and closes', { skip: browserMissing() }, async () => {
  const server = createServer((_, response) => response.end('<title>here</title>')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  try {
    await using browser = await startChromium()
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${address.port}/`)
    assert.equal(await page.title(), 'here')
    const other = `http://localhost:${address.port}/`
    const read = await page.evaluate(
      (url) =>
        fetch(url).then(
          () => 'read',
          () => 'refused',
        ),
      other,
    )
    assert.equal(read, 'refused', 'web security is on')
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
