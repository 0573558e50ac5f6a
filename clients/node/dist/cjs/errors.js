"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.UnsupportedExtension = exports.ConfigurationError = exports.CacheError = void 0;
/** The base of this package's errors. Errors of drivers and loaders pass as they are. */
class CacheError extends Error {
    name = 'CacheError';
}
exports.CacheError = CacheError;
/** Something is set up wrongly; the message says what to do. */
class ConfigurationError extends CacheError {
    name = 'ConfigurationError';
}
exports.ConfigurationError = ConfigurationError;
/** The server's extension is missing, or one that this package does not know. */
class UnsupportedExtension extends ConfigurationError {
    name = 'UnsupportedExtension';
}
exports.UnsupportedExtension = UnsupportedExtension;
