/**
 * Caches for results of queries that the server itself invalidates: the client package of
 * the PostgreSQL extension cache_notify. See Cache.
 */
export { Cache } from './cache.js'
export type { CacheOptions, GetOptions, HowToGet, QueryOptions } from './cache.js'
export { jsonCodec, NotShareable } from './codec.js'
export type { Codec } from './codec.js'
export { CacheError, ConfigurationError, UnsupportedExtension } from './errors.js'
export { explain, Explanation } from './explain.js'
export { dependsOn, surrogateKeys, uncacheable } from './http.js'
export type { SurrogateOptions } from './http.js'
export type { Log } from './listener.js'
export { Metrics } from './metrics.js'
export { key } from './names.js'
export type { Name } from './names.js'
export { RedisTier } from './tier.js'
export type { TierOptions } from './tier.js'
