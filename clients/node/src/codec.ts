/**
 * Results as text, for the shared tier: JSON, where an object with the member "$" stands for
 * what JSON does not know (doc/protocol.md lists them). A result comes back as it was, or it is
 * not shared.
 */

/** This value cannot be told to another process exactly. */
export class NotShareable extends Error {}

/** Makes texts of results, and results of texts. */
export interface Codec {
  /** By which others know that they cannot read it. No spaces. */
  readonly name: string
  dumps(value: unknown): string
  loads(text: string): unknown
}

/**
 * Strings, numbers, booleans, null, arrays, plain objects, bigint, Date and Buffer. Python's
 * tuples are arrays here. Types that JavaScript lacks, such as a decimal, are not read.
 */
export const jsonCodec: Codec = {
  name: 'json',
  dumps: (value) => JSON.stringify(plain(value)),
  loads: (text) => typed(JSON.parse(text)),
}

const tagged = (tag: string, value: unknown): object => ({ $: tag, v: value })

const isPlainObject = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function plain(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      return plainNumber(value)
    case 'bigint':
      return tagged('int', value.toString())
    case 'object':
      if (value !== null) return plainObject(value)
      return null
  }
  throw new NotShareable(`a value of type ${typeof value}`)
}

function plainNumber(value: number): unknown {
  if (Object.is(value, -0)) return tagged('float', '-0.0')
  if (Number.isFinite(value)) return value
  return tagged('float', Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf')
}

function plainObject(value: object): unknown {
  if (Array.isArray(value)) {
    // Array.from, unlike map(), does not pass over what a sparse array lacks.
    if (Object.getPrototypeOf(value) === Array.prototype) return Array.from(value, plain)
  } else if (value instanceof Date) {
    if (!Number.isNaN(value.getTime())) return tagged('datetime', value.toISOString().replace('Z', '+00:00'))
  } else if (Buffer.isBuffer(value)) {
    return tagged('bytes', value.toString('base64'))
  } else if (isPlainObject(value)) {
    const members = Object.entries(value).map(([key, member]) => [key, plain(member)] as const)
    if ('$' in value || '__proto__' in Object.getOwnPropertyDescriptors(value)) return tagged('dict', members)
    return Object.fromEntries(members)
  }
  throw new NotShareable(`an object of class ${value.constructor?.name ?? 'unknown'}`)
}

type Reader = (value: unknown) => unknown

function unknown(what: string): never {
  throw new NotShareable(`what stands for a ${what} cannot be read`)
}

function readText(value: unknown, what: string): string {
  return typeof value === 'string' ? value : unknown(what)
}

const FLOATS = new Map([['nan', NaN], ['inf', Infinity], ['-inf', -Infinity], ['-0.0', -0]])

const READERS: Record<string, Reader> = {
  int: (value) => BigInt(readText(value, 'int')),
  float: (value) => FLOATS.get(readText(value, 'float')) ?? unknown('float'),
  bytes: (value) => Buffer.from(readText(value, 'bytes'), 'base64'),
  tuple: (value) => (Array.isArray(value) ? value.map(typed) : unknown('tuple')),
  datetime: (value) => {
    // Of a moment, to the millisecond. Others are no Date.
    const text = readText(value, 'datetime')
    if (!/T\d\d:\d\d:\d\d(\.\d{3}(000)?)?[+-]\d\d:\d\d$/.test(text)) unknown('datetime')
    const moment = new Date(text)
    return Number.isNaN(moment.getTime()) ? unknown('datetime') : moment
  },
  dict: (value) => {
    const members = Array.isArray(value) ? (value as unknown[]) : unknown('dict')
    return Object.fromEntries(
      members.map((member) => {
        if (!Array.isArray(member) || member.length !== 2) unknown('dict')
        return [readText(member[0], 'key'), typed(member[1])] as const
      }),
    )
  },
}

function typed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(typed)
  if (typeof value !== 'object' || value === null) return value
  if ('$' in value) {
    const tag = value.$
    const read = typeof tag === 'string' && Object.hasOwn(READERS, tag) ? READERS[tag] : undefined
    if (read === undefined || 'zone' in value) unknown(String(tag))
    return read((value as { v?: unknown }).v)
  }
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, typed(member)]))
}

/**
 * The text of a result's name that every process, in whatever language, makes of it;
 * undefined if there is none.
 */
export function nameText(called: unknown, tenant: string | null, reads: readonly string[]): string | undefined {
  const inOrder = [...reads].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  try {
    const text = JSON.stringify(plain([sorted(called), tenant, inOrder]))
    // Others write a surrogate without its other half in another way, or cannot.
    return /\\u[dD][89a-fA-F]/.test(text) ? undefined : text
  } catch {
    return undefined
  }
}

/** Objects with their members in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null || !isPlainObject(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  )
}
