/**
 * Texts for what callers name: tenants, domains and keys. The server makes them
 * canonical; here they only become text, and what cannot be meant is an error.
 */

/** What may name a tenant, or be part of a key. */
export type Name = string | number | bigint

function text(value: unknown, what: string): string {
  switch (typeof value) {
    case 'string':
      if (value.includes('\0')) throw new TypeError(`${what} has no NUL in PostgreSQL`)
      return value
    case 'bigint':
      return value.toString()
    case 'number':
      if (Number.isFinite(value)) return String(value)
  }
  throw new TypeError(
    `${what} must be a string, a number or a bigint, not ${value === null ? 'null' : typeof value}`,
  )
}

/** The text of a tenant. TypeError for undefined, null and what else is no name. */
export function tenantText(tenant: unknown): string {
  return text(tenant, 'tenant')
}

/** The name of a key: key('page', 1, 'a/b') is 'page/1/a%2Fb'. */
export function key(domain: string, ...parts: Name[]): string {
  if (parts.length === 0) throw new TypeError('a key needs at least one part')
  const escape = (part: string): string => part.replace(/%/g, '%25').replace(/\//g, '%2F')
  return [text(domain, 'a domain'), ...parts.map((part) => text(part, 'a key'))].map(escape).join('/')
}

/** The domain of a name: of '50%25/1' it is '50%'. */
export function domainOf(name: string): string {
  const escaped = name.split('/', 1)[0] ?? name
  return escaped.replace(/%(2f|25)/gi, (_, code: string) => (code === '25' ? '%' : '/'))
}

/** The names of what a result is made from, checked and sorted. */
export function readNames(reads: unknown): readonly string[] {
  if (!Array.isArray(reads) || reads.length === 0) {
    throw new TypeError("reads must be a list of names: reads: ['price', 'product/42']")
  }
  for (const name of reads) {
    if (typeof name !== 'string' || name === '' || name.includes('\0')) {
      throw new TypeError(`reads must be names such as 'price' or 'price/42', not ${String(name)}`)
    }
  }
  return [...new Set(reads as string[])].sort()
}
