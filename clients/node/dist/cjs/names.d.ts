/**
 * Texts for what callers name: tenants, domains and keys. The server makes them
 * canonical; here they only become text, and what cannot be meant is an error.
 */
/** What may name a tenant, or be part of a key. */
export type Name = string | number | bigint;
/** The text of a tenant. TypeError for undefined, null and what else is no name. */
export declare function tenantText(tenant: unknown): string;
/** The name of a key: key('page', 1, 'a/b') is 'page/1/a%2Fb'. */
export declare function key(domain: string, ...parts: Name[]): string;
/** The names of what a result is made from, checked and sorted. */
export declare function readNames(reads: unknown): readonly string[];
