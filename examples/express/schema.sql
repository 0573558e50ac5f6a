CREATE EXTENSION IF NOT EXISTS cache_notify;

CREATE TABLE product (
	id int PRIMARY KEY,
	tenant_id text NOT NULL,
	name text NOT NULL,
	price numeric(10, 2) NOT NULL
);
INSERT INTO product VALUES
	(1, 'acme', 'Anvil', 40), (2, 'acme', 'Rocket', 250), (3, 'globex', 'Dome', 9000);

-- From here on each statement that changes a product moves the version of its tenant.
SELECT cache_notify.setup_table_invalidation('product', keys => '{id}', fields => '{keys}');
