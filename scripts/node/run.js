/*
 * Runs Node.js 24 with the arguments given: the one pinned in node_modules, else this one if it is new enough.
 *
 * Every npm script starts here, whatever Node the machine has and whichever npm installed the packages
 * (npm 10 takes `.bin/node` away again when it skips the package of the other platform), so this file is
 * CommonJS in syntax that any Node reads.
 */
'use strict'
var path = require('path')
var childProcess = require('child_process')

var LEAST = 24

/** The pinned binary for this machine, if it has one; it is linked against glibc. */
function pinnedNode() {
  if (process.platform !== 'linux') return undefined
  if (process.report) {
    process.report.excludeNetwork = true
    if (!process.report.getReport().header.glibcVersionRuntime) return undefined
  }
  try {
    return require.resolve('node-linux-' + process.arch + '/bin/node')
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return undefined
    throw error
  }
}

var node = pinnedNode()
if (!node) {
  if (Number(process.versions.node.split('.')[0]) < LEAST) {
    console.error(
      'writ: needs Node.js ' +
        LEAST +
        ' or newer; this is ' +
        process.version +
        ' and none is pinned for ' +
        process.platform +
        '-' +
        process.arch +
        ' (try `npm ci` first)',
    )
    process.exit(1)
  }
  node = process.execPath
}

// what the script starts in turn (`npm`, `tsc`) finds the same Node first
process.env.PATH = path.dirname(node) + path.delimiter + process.env.PATH

var child = childProcess.spawn(node, process.argv.slice(2), { stdio: 'inherit' })
child.on('error', function (error) {
  console.error('writ: cannot start `' + node + '`: ' + error.message)
  process.exit(1)
})
;['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'].forEach(function (signal) {
  process.on(signal, function () {
    // a terminal has already told the child
    if (!(process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT'))) child.kill(signal)
  })
})
child.on('exit', function (code, signal) {
  if (!signal) process.exit(code)
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
})
