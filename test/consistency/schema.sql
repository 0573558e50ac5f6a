-- What the checker's writers change and its readers cache.
CREATE TABLE item (cell int PRIMARY KEY, tenant_id text, n bigint NOT NULL);
CREATE TABLE price (cell int PRIMARY KEY, tenant_id text, n bigint NOT NULL);
CREATE TABLE setting (cell int PRIMARY KEY, n bigint NOT NULL);

CREATE ROLE reader LOGIN IN ROLE pg_monitor;
CREATE ROLE writer LOGIN;
GRANT SELECT ON item, price, setting TO reader, writer;
GRANT UPDATE ON item, price, setting TO reader, writer;
