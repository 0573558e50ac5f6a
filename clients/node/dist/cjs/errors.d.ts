/** The base of this package's errors. Errors of drivers and loaders pass as they are. */
export declare class CacheError extends Error {
    name: string;
}
/** Something is set up wrongly; the message says what to do. */
export declare class ConfigurationError extends CacheError {
    name: string;
}
/** The server's extension is missing, or one that this package does not know. */
export declare class UnsupportedExtension extends ConfigurationError {
    name: string;
}
