/**
 * For tests of applications: does a loader read more than reads says, and a cache that needs no
 * server.
 */
export { checkReads, MissingReads } from './check.js'
export type { CheckOptions } from './check.js'
export { FakeCache } from './fake.js'
export type { FakeOptions } from './fake.js'
