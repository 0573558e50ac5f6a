/**
 * Tags of what a response was made from: HTTP caches drop it when one of them is purged. The
 * same as the Python package makes, whose relay purges them: see
 * clients/python/src/cache_notify/_tags.py.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { fold, isInternal } from './heard.js'
import type { Part } from './heard.js'

/** Bytes of tags that a response may have: servers and proxies limit headers. */
const MOST = 4_000
const LENGTH = 12

/** What a response reads. */
export type Read = Pick<Part, 'tenant' | 'domain' | 'key'>

const known = new LRUCache<string, string>({ max: 50_000 })

function tag(...parts: (string | null)[]): string {
  const text = parts.map((part) => `${part ?? ''}\0`).join('')
  let found = known.get(text)
  if (found === undefined) {
    found = createHash('sha256').update(text).digest('base64url').slice(0, LENGTH)
    known.set(text, found)
  }
  return found
}

function kinds(name: string, kind: string, { tenant, domain, key: spelt }: Read): string[] {
  const key = fold(spelt)
  if (key === null) return [tag(name, kind, tenant, domain, null)]
  return [
    tag(name, `${kind}/*`, tenant, domain, null),
    tag(name, `${kind}/key`, tenant, domain, key),
  ]
}

function tagsOfEach(name: string, reads: readonly Read[]): string[] {
  const tags = new Set([tag(name, 'all', null, '', null)])
  for (const read of reads) {
    const shared = { ...read, tenant: null }
    let found: string[]
    if (isInternal(read)) {
      found = [tag(name, 'definition', null, read.domain, null), tag(name, 'definitions', null, '', null)]
    } else if (read.tenant === null) {
      found = kinds(name, 'whole', read)
    } else {
      found = [...kinds(name, 'tenant', read), ...kinds(name, 'shared', shared)]
    }
    for (const each of found) tags.add(each)
  }
  return [...tags]
}

/** Of a response. If they are too many, those of keys become those of their domains. */
export function tagsOf(name: string, reads: readonly Read[]): string[] {
  const fits = (tags: string[]): boolean => tags.length * (LENGTH + 1) <= MOST
  let tags = tagsOfEach(name, reads)
  if (!fits(tags)) tags = tagsOfEach(name, reads.map((read) => ({ ...read, key: null })))
  if (!fits(tags)) tags = tagsOfEach(name, reads.map(({ domain }) => ({ tenant: null, domain, key: null })))
  return tags
}
