/**
 * What a listener hears, read so that nothing can end it.
 *
 * A payload is what anybody may send with NOTIFY. So whatever is not exactly what the
 * extension sends, of any shape and size, is a reset: the cache drops everything, which
 * costs hits and is never wrong.
 */
/** The change that a payload tells of. null stands for a reset. */
export function parsePayload(payload) {
    let told;
    try {
        told = JSON.parse(payload);
    }
    catch {
        return null;
    }
    if (typeof told !== 'object' || told === null || Array.isArray(told))
        return null;
    const { tenant_id: tenant, domain, version, keys } = told;
    if ('reset' in told || !isVersion(version) || typeof domain !== 'string')
        return null;
    if (tenant !== null && typeof tenant !== 'string')
        return null;
    // 9e15 and 1.0 are integers to JavaScript, and nothing that the extension writes.
    if (!new RegExp(`"version":\\s*${version}\\s*[,}]`).test(payload))
        return null;
    // What could not be decoded names nobody.
    if (payload.includes('\uFFFD'))
        return null;
    const named = Array.isArray(keys) && keys.every((key) => typeof key === 'string');
    return { tenant, domain, version, keys: named ? keys : null };
}
/** Versions are below 2^53 always, so that numbers hold them exactly. */
export function isVersion(version) {
    return typeof version === 'number' && Number.isSafeInteger(version) && version >= 0;
}
