/** What callers ask for, as a cache keeps it. */
import { readNames, tenantText } from './names.js'

export interface Request {
  /** Tells the result apart in this process. */
  readonly entry: string
  /** What other processes call it. */
  readonly called: unknown
  /** null: any tenant's */
  readonly tenant: string | null
  /** What the result is made from, sorted. */
  readonly names: readonly string[]
}

type Whose = { tenant?: unknown }

/**
 * What tells a result apart. On the path of every hit, so what is not needed to tell it apart,
 * such as the order of reads, is left to requestOf(). Nothing in it holds a NUL but what
 * stands between. TypeError for what cannot be meant.
 */
export function entryName(name: unknown, reads: readonly string[], whose: Whose): string {
  if (!Array.isArray(reads) || reads.length === 0) readNames(reads)
  let entry = typeof name === 'string' && !name.includes('\0') ? `s${name}` : `j${JSON.stringify(told(name))}`
  entry += 'tenant' in whose ? `\0t${tenantText(whose.tenant)}` : '\0w'
  for (const read of reads as readonly unknown[]) {
    if (typeof read !== 'string' || read === '' || read.includes('\0')) readNames(reads)
    entry += `\0${read as string}`
  }
  return entry
}

let functions = 0

/** What begins the entries of a function that no name tells from others. */
export function ownName(): string {
  functions += 1
  return `c${functions}\0`
}

/**
 * What tells apart a result of query(): id stands for the statement and what it reads. On the
 * path of every hit, too.
 */
export function queryName(id: number, forms: string, parameters: readonly unknown[], whose: Whose): string {
  let entry = `q${id}\0${forms}`
  entry += 'tenant' in whose ? `\0t${tenantText(whose.tenant)}` : '\0w'
  for (const value of parameters) {
    if (typeof value === 'string' && !value.includes('\0')) entry += `\0s${value}`
    else if (typeof value === 'number' && Number.isFinite(value)) entry += `\0n${value}`
    else entry += `\0j${JSON.stringify(told(value))}`
  }
  return entry
}

/** The whole request. */
export function requestOf(entry: string, called: unknown, reads: readonly string[], whose: Whose): Request {
  const names = readNames(reads)
  return { entry, called, tenant: 'tenant' in whose ? tenantText(whose.tenant) : null, names }
}

/** A name as it tells results apart: 1 and 1n and '1' are three; undefined is an error. */
function told(name: unknown): unknown {
  switch (typeof name) {
    case 'string':
    case 'boolean':
      return name
    case 'number':
      if (Number.isFinite(name)) return name
      break
    case 'bigint':
      return { bigint: name.toString() }
    case 'object':
      if (name === null) return null
      if (Array.isArray(name)) return name.map(told)
      if (name instanceof Date) return { date: name.toISOString() }
      if (Buffer.isBuffer(name)) return { bytes: name.toString('base64') }
      if (Object.getPrototypeOf(name) === Object.prototype || Object.getPrototypeOf(name) === null) {
        return { object: Object.entries(name).sort().map(([key, value]) => [key, told(value)]) }
      }
  }
  throw new TypeError(
    `a result's name is made of strings, numbers, lists and plain objects, not of ${typeof name}`,
  )
}
