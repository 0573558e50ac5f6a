/**
 * Results that are made from other results.
 *
 * A loader may ask for other results, and what it gets becomes part of its own. Its result is
 * kept under versions that were asked for before it ran. So everything that it gets must be as
 * new as these: a result in memory need not be, when a change is committed and its payload on
 * the way. Nothing would ever drop the outer result, as the payload says what its versions say
 * already.
 *
 * So, while a loader runs, what memory or somebody else's flight gives is used only if its
 * versions prove that it is as new; if not, the server is asked. What is older nevertheless,
 * such as a result that is served stale, or one of an old snapshot, spoils the outer results:
 * they are used, and not kept.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Part } from './heard.js'

/** A loader that runs, and the versions that its result is to be kept under. */
export interface Loading {
  readonly parts: readonly Part[]
  spoilt: boolean
  /** A result was given, which is current by this token; null if that is not known. */
  took?(parts: readonly Part[], token: string | null): void
}

/** The loaders that run in this context, the innermost last; of every cache. */
const loadings = new AsyncLocalStorage<readonly Loading[]>()

/** Runs a loader. */
export function load<T>(loading: Loading, run: () => Promise<T> | T): Promise<T> | T {
  return loadings.run([...(loadings.getStore() ?? []), loading], run)
}

/**
 * Whether a result with these versions is certainly as new as those of every loader in whose
 * result it will be.
 */
export function asNew(parts: readonly Part[]): boolean {
  const within = loadings.getStore()
  if (within === undefined) return true
  return within.every((loading) =>
    loading.parts.every((least) =>
      parts.every((part) => part.domain !== least.domain || reaches(part, least)),
    ),
  )
}

/** A result is given to the loaders of this context: see Loading. */
export function took(parts: readonly Part[], token: string | null): void {
  for (const loading of loadings.getStore() ?? []) loading.took?.(parts, token)
}

/** What this context gives to its loaders may be older than their versions. */
export function spoil(): void {
  for (const loading of loadings.getStore() ?? []) loading.spoilt = true
}

function reaches(part: Part, least: Part): boolean {
  if (part.sharedVersion < least.sharedVersion) return false
  if (part.tenant === least.tenant) return part.version >= least.version
  // Versions of a tenant and of the whole domain cannot be compared. What another tenant's
  // part lacks is not of this tenant.
  return part.tenant !== null && least.tenant !== null
}
