#!/usr/bin/env node
// The `writ` command. Syntax that any Node reads, so that an old one gets a sentence and not a stack trace.
var fs = require('fs')
var path = require('path')
var url = require('url')

var LEAST = 24

if (Number(process.versions.node.split('.')[0]) < LEAST) {
  console.error('writ: needs Node.js ' + LEAST + ' or newer; this is ' + process.version)
  process.exitCode = 1
} else {
  // a checkout runs its source, the package what was built from it
  var root = path.join(__dirname, '..')
  var source = path.join(root, 'src/cli/main.ts')
  var main = fs.existsSync(source) ? source : path.join(root, 'dist/src/cli/main.js')
  void import(url.pathToFileURL(main).href)
}
