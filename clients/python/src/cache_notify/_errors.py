"""The errors of this package. Errors of the database driver and of loaders pass
through as they are."""


class CacheError(Exception):
    """The base of this package's errors."""


class ConfigurationError(CacheError):
    """Something is set up wrongly; the message says what to do."""


class UnsupportedExtension(ConfigurationError):
    """The server's extension is missing, or one that this package does not know."""
