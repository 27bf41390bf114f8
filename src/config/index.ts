/**
 * Configuration: one schema, one loader.
 *
 * @module
 */
export { configurationPage, configurationSchema } from './docs.ts'
export { openKeyFile, readKeyFile } from './key.ts'
export { calendarSummary } from './calendars.ts'
export type { CallbackConfig } from './callbacks.ts'
export { readWebhookSecret } from './callbacks.ts'
export type { ExportConfig } from './exports.ts'
export { exportSummary } from './exports.ts'
export { issuerSummary } from './issuers.ts'
export { kindDefaults } from '../model/issuer.ts'
export type { Loaded, Origin, Sources } from './load.ts'
export { configHome, loadConfig, resolvePath, stateHome } from './load.ts'
export type { Config, Setting } from './schema.ts'
export { configSchema, settings } from './schema.ts'
export type { LoginConfig, LoginProvider } from './login.ts'
export { LOGIN, loginSummary } from './login.ts'
export type { ServerConfig } from './server.ts'
export { signalsSummary } from './signals.ts'
export { defaultKeyFile, serverConfig } from './server.ts'
export { missingSecrets, secretPlaces, secretReader, sourcesSummary, webhooksSummary } from './sources.ts'
export type { TokenConfig } from './tokens.ts'
export { tokenSummary } from './tokens.ts'
