"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.key = exports.Metrics = exports.UnsupportedExtension = exports.ConfigurationError = exports.CacheError = exports.Cache = void 0;
/**
 * Caches for results of queries that the server itself invalidates: the client package of
 * the PostgreSQL extension cache_notify. See Cache.
 */
var cache_js_1 = require("./cache.js");
Object.defineProperty(exports, "Cache", { enumerable: true, get: function () { return cache_js_1.Cache; } });
var errors_js_1 = require("./errors.js");
Object.defineProperty(exports, "CacheError", { enumerable: true, get: function () { return errors_js_1.CacheError; } });
Object.defineProperty(exports, "ConfigurationError", { enumerable: true, get: function () { return errors_js_1.ConfigurationError; } });
Object.defineProperty(exports, "UnsupportedExtension", { enumerable: true, get: function () { return errors_js_1.UnsupportedExtension; } });
var metrics_js_1 = require("./metrics.js");
Object.defineProperty(exports, "Metrics", { enumerable: true, get: function () { return metrics_js_1.Metrics; } });
var names_js_1 = require("./names.js");
Object.defineProperty(exports, "key", { enumerable: true, get: function () { return names_js_1.key; } });
