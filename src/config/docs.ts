/**
 * The reference page and JSON schema of the configuration, from the schema alone.
 *
 * @module
 */
import { z } from 'zod'
import type { Setting } from './schema.ts'
import { configSchema, settings } from './schema.ts'

/** docs/reference/configuration.md */
export function configurationPage(): string {
  const rows = (reader: Setting['reader']): string =>
    settings
      .filter((setting) => setting.reader === reader)
      .map((s) => {
        const unit = s.unit === undefined ? s.type : `${s.type} (${s.unit})`
        const cells = [
          `\`${s.name}\``,
          unit,
          s.default === undefined ? '' : `\`${s.default}\``,
          s.env === undefined ? '' : `\`${s.env}\``,
          s.sentence,
        ]
        return `| ${cells.join(' | ')} |`
      })
      .join('\n')
  const head = '| name | type | default | variable | |\n|---|---|---|---|---|'
  return `# Configuration

<!-- generated from src/config/schema.ts by \`npm run docs\`; edits here are lost -->

A value comes from the first of these that has it: a flag, a \`WRIT_…\` variable, \`./writ.config.yaml\` (or the file
that \`--config\` or \`WRIT_CONFIG\` names), \`$XDG_CONFIG_HOME/writ/config.yaml\`, the default. \`writ config explain\`
shows every value with its origin. Names that do not exist are errors. Durations are whole numbers with a unit: \`ms\`,
\`s\`, \`m\`, \`h\`, \`d\`. Relative paths start at the folder in which \`writ\` runs.

A dot stands for nesting:

\`\`\`yaml
port: 9748
tls:
  cert: ./cert.pem
  key: ./key.pem
\`\`\`

## Server

${head}
${rows('server')}

## Commands

${head}
${rows('client')}

The token itself is in no file of configuration: it comes from the variable \`WRIT_TOKEN\`, from the file that
\`token_file\` names, or from \`writ login\`. \`token_file\` and \`profiles\` may not stand in a project's
\`./writ.config.yaml\`, because that file may be somebody else's.
`
}

/** docs/reference/configuration.schema.json: for editors. */
export function configurationSchema(): string {
  const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })
  return `${JSON.stringify({ title: 'Writ configuration', ...schema }, undefined, 2)}\n`
}
