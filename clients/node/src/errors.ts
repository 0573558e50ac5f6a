/** The base of this package's errors. Errors of drivers and loaders pass as they are. */
export class CacheError extends Error {
  override name = 'CacheError'
}

/** Something is set up wrongly; the message says what to do. */
export class ConfigurationError extends CacheError {
  override name = 'ConfigurationError'
}

/** The server's extension is missing, or one that this package does not know. */
export class UnsupportedExtension extends ConfigurationError {
  override name = 'UnsupportedExtension'
}
