/**
 * AuthZEN's subject, action and resource: what an evaluation and a submission have in common.
 *
 * @module
 */
import * as z from 'zod'
import type { Action, Properties, Resource, Subject } from '../../model/entity.ts'
import { actionName, entityType, id, properties } from '../bounds.ts'

const part = { type: entityType, id, properties: properties.exactOptional() }

export const subject = z.object(part).meta({ id: 'Subject', description: 'Who acts' })
export const action = z
  .object({ name: actionName, properties: properties.exactOptional() })
  .meta({ id: 'Action', description: 'What is tried' })
export const resource = z.object(part).meta({ id: 'Resource', description: 'What it is tried on' })

/** An attempt as a door hands it on. */
export type DecodedEvaluation = Readonly<{
  subject: Subject
  action: Action
  resource: Resource
  context?: Properties
}>
