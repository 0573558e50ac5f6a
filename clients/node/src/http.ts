/**
 * For HTTP caches in front of an application: each response says what it was made from, and
 * cache-notify relay --purge (of the Python package) drops it when that changes.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Name } from './names.js'
import { domainOf, tenantText } from './names.js'
import { load, took } from './nesting.js'
import type { Loading } from './nesting.js'
import { NAME } from './redis-listener.js'
import { tagsOf } from './tags.js'
import type { Read } from './tags.js'

export interface SurrogateOptions {
  /** The name of the relay (redis://...?name=). */
  name?: string
  /** What the tags are told in. */
  headers?: readonly string[]
  /** What else responses depend on, such as the application's version: part of the ETag. */
  release?: string
  /** Whether the same reads always make the same bytes, so that the ETag may be a strong one. */
  strong?: boolean
  /**
   * In ms: after the first read in which a response must be ready to get tags. The relay's
   * --purge-again must be longer than this and the nodes' lease together.
   */
  within?: number
}

type Next = (error?: unknown) => void

/** Headers that a 304 does not have: they describe a body. */
const OF_BODY = ['content-length', 'content-type', 'content-encoding', 'content-language', 'transfer-encoding']

/**
 * For shared caches that are purged. Fastly reads no no-store (fastly.com/documentation/guides/
 * concepts/edge-state/cache/cache-freshness), and without these the times of Cache-Control.
 */
const NOT_KEPT = 'no-store, max-age=0, stale-while-revalidate=0, stale-if-error=0'

/** What tells one user from another. */
const OF_USER = ['authorization', 'cookie']

/** What a response read so far. Not a loader, but given what loaders are given. */
class Reading implements Loading {
  readonly parts = []
  spoilt = false
  readonly tokens = new Set<string>()
  private readonly all = new Map<string, Read>()
  private unknown = false
  private since: number | undefined

  took(parts: readonly Read[], token: string | null): void {
    this.since ??= performance.now()
    if (token === null) {
      this.unknown = true
      return
    }
    this.tokens.add(token)
    for (const { tenant, domain, key } of parts) {
      this.all.set(JSON.stringify([tenant, domain, key]), { tenant, domain, key })
    }
  }

  get reads(): Read[] {
    return [...this.all.values()]
  }

  /** Whether all of it is known, and was current so many ms ago. */
  isKnown(ms: number): boolean {
    if (this.tokens.size === 0 || this.unknown || this.spoilt) return false
    return performance.now() <= (this.since ?? 0) + ms
  }
}

/** This response depends on something that nobody tells of. */
export function uncacheable(): void {
  took([], null)
}

/**
 * This response depends on a domain, or on a key of it, read in another way: token is that of
 * the name and tenant, asked for before reading. The server's spelling of both.
 */
export function dependsOn(name: string, token: string, tenant?: Name): void {
  const slash = name.indexOf('/')
  const read = {
    tenant: tenant === undefined ? null : tenantText(tenant),
    domain: domainOf(name),
    key: slash < 0 ? null : name.slice(slash + 1),
  }
  took([{ ...read, version: 0, sharedVersion: 0 }], token)
}

/**
 * Middleware for Express, Connect and whatever has (request, response, next) of node:http.
 *
 * A response gets tags (Surrogate-Key, Cache-Tag) and an ETag if everything that it read
 * through caches of this package can be cached, is current, and was read not long ago; and a
 * request that has it already (If-None-Match) is answered with 304. Express makes an ETag of
 * the body by itself, which stays: app.set('etag', false). What a response reads in another
 * way is to be named with dependsOn(), or to be ruled out with uncacheable().
 */
export function surrogateKeys(options: SurrogateOptions = {}) {
  const within = options.within ?? 2_000
  return (request: IncomingMessage, response: ServerResponse, next: Next): void => {
    const reading = new Reading()
    const write = response.write.bind(response) as (...args: unknown[]) => boolean
    const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse
    let decided = false
    /** Before the head is sent. Whether the client has it already. */
    const decide = (whole: boolean): boolean => {
      if (decided || response.headersSent) return false
      decided = true
      const known = whole && response.statusCode === 200 && reading.isKnown(within)
      if (!known || !mayBeShared(request, response)) {
        // Whatever else the headers say, shared caches that we purge do not keep it.
        response.setHeader('Surrogate-Control', NOT_KEPT)
        response.setHeader('CDN-Cache-Control', 'no-store')
        if (!mayBeShared(request, response)) addPrivate(response)
        return false
      }
      const tags = tagsOf(options.name ?? NAME, reading.reads)
      for (const header of options.headers ?? ['Surrogate-Key', 'Cache-Tag']) {
        response.setHeader(header, tags.join(header.toLowerCase() === 'cache-tag' ? ',' : ' '))
      }
      if (!response.hasHeader('ETag')) response.setHeader('ETag', etagOf(request, response, reading, options))
      return matches(request, response)
    }
    // One that comes in several pieces may read more after its head.
    response.write = ((...args: unknown[]) => {
      decide(false)
      return write(...args)
    }) as typeof response.write
    response.end = ((...args: unknown[]) => {
      if (!decide(true)) return end(...args)
      response.statusCode = 304
      for (const header of OF_BODY) response.removeHeader(header)
      return end(...args.filter((arg) => typeof arg === 'function'))
    }) as typeof response.end
    void load(reading, () => next())
  }
}

function listed(value: number | string | readonly string[] | undefined): Set<string> {
  const text = Array.isArray(value) ? value.join(',') : String(value ?? '')
  return new Set(text.split(',').map((word) => word.trim().toLowerCase()).filter((word) => word !== ''))
}

/** To what Cache-Control says already, in one line: some caches read no other. */
function addPrivate(response: ServerResponse): void {
  const control = listed(response.getHeader('Cache-Control'))
  if (!control.has('private')) response.setHeader('Cache-Control', [...control, 'private'].join(', '))
}

/** Whether one user's response may be another's, as far as headers tell. */
function mayBeShared(request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false
  const vary = listed(response.getHeader('Vary'))
  const control = new Set([...listed(response.getHeader('Cache-Control'))].map((word) => word.split('=')[0]))
  if (response.hasHeader('Set-Cookie') || vary.has('*')) return false
  if (control.has('private') || control.has('no-store')) return false
  return OF_USER.every((header) => !(header in request.headers) || vary.has(header) || control.has('public'))
}

/** Of what was read, and of what in the request the response may depend on. */
function etagOf(
  request: IncomingMessage,
  response: ServerResponse,
  reading: Reading,
  options: SurrogateOptions,
): string {
  const varies = [...new Set([...listed(response.getHeader('Vary')), ...OF_USER])].sort()
  const asked = varies.map((header) => `${header}:${String(request.headers[header] ?? '')}`)
  const madeFrom = [options.release ?? '', ...[...reading.tokens].sort(), ...asked].join('\0')
  const text = createHash('sha256').update(madeFrom).digest('base64url').slice(0, 22)
  return options.strong === true ? `"${text}"` : `W/"${text}"`
}

/** Whether the client has it already: If-None-Match, compared weakly. */
function matches(request: IncomingMessage, response: ServerResponse): boolean {
  const plain = (etag: string): string => etag.trim().replace(/^W\//, '')
  const wanted = (request.headers['if-none-match'] ?? '').split(',').map(plain)
  return wanted.includes('*') || wanted.includes(plain(String(response.getHeader('ETag'))))
}
