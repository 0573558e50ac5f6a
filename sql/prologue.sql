-- Complain if the script is read by psql rather than by CREATE EXTENSION.
\echo Use "CREATE EXTENSION cache_notify" to load this file. \quit

