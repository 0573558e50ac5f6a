/** Connections to Redis or Valkey: of the shared tier, and of those who listen to a relay. */
import type { RedisClientType } from 'redis'
import { ConfigurationError } from './errors.js'

export type Client = RedisClientType

/**
 * A client that tries nothing twice: whoever uses it must know that a connection was lost.
 * server: redis:// or rediss://, or a socket, as its path or unix://. connectTimeout: in ms.
 */
export async function makeClient(server: string, connectTimeout: number): Promise<Client> {
  let redis: typeof import('redis')
  try {
    redis = await import('redis')
  } catch {
    throw new ConfigurationError('the package redis is missing: npm install redis')
  }
  const path = /^(?:unix:\/\/)?(\/.*)/.exec(server)?.[1]
  return redis.createClient({
    ...(path === undefined ? { url: server } : {}),
    socket: {
      connectTimeout,
      reconnectStrategy: false as const,
      ...(path === undefined ? {} : { path, tls: false as const }),
    },
    disableOfflineQueue: true,
  }) as Client
}
