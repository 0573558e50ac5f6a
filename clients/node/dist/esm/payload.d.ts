/**
 * What a listener hears, read so that nothing can end it.
 *
 * A payload is what anybody may send with NOTIFY. So whatever is not exactly what the
 * extension sends, of any shape and size, is a reset: the cache drops everything, which
 * costs hits and is never wrong.
 */
/**
 * One (tenant, domain) has reached a version. tenant null: the shared part, which
 * concerns every tenant. keys null: any key may have changed.
 */
export interface Change {
    readonly tenant: string | null;
    readonly domain: string;
    readonly version: number;
    readonly keys: readonly string[] | null;
}
/** The change that a payload tells of. null stands for a reset. */
export declare function parsePayload(payload: string): Change | null;
/** Versions are below 2^53 always, so that numbers hold them exactly. */
export declare function isVersion(version: unknown): version is number;
