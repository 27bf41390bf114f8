/**
 * The thread that reads calendars: texts of others, whose rules may mean more work than anybody waits for.
 *
 * @module
 */
import { expandCalendar } from '../context/calendars.ts'
import { serveThread } from './thread.ts'

serveThread(expandCalendar)
