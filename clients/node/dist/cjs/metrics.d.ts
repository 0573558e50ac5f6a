/** What the cache did: hits, misses, joins, stores, drops, resets, refusals by reason. */
export declare class Metrics {
    private readonly counts;
    /** Counts an event. */
    count(event: string, reason?: string, n?: number): void;
    /** All counters: 'hits', 'misses', 'refusals{unknown_domain}' and so on. */
    snapshot(): Record<string, number>;
    /** The counters in the text format of Prometheus. */
    prometheus(): string;
}
