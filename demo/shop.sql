-- The shop of the demo: contracts and items belong to a tenant, prices to all.
CREATE TABLE tv_contract (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	tenant_id text NOT NULL,
	title text NOT NULL
);
CREATE TABLE tb_item (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	tenant_id text NOT NULL,
	contract_id bigint NOT NULL REFERENCES tv_contract,
	quantity integer NOT NULL
);
CREATE TABLE tb_price (
	article text PRIMARY KEY,
	amount numeric NOT NULL
);

INSERT INTO tv_contract (tenant_id, title)
SELECT CASE WHEN i <= 10000 THEN 'acme' ELSE 'globex' END, 'contract ' || i
FROM generate_series(1, 10100) AS i;

INSERT INTO tb_item (tenant_id, contract_id, quantity)
SELECT tenant_id, id, 1 FROM tv_contract WHERE id % 100 = 0;

INSERT INTO tb_price
SELECT 'article ' || i, i FROM generate_series(1, 100) AS i;

-- Watched from here on. An item is part of what is shown of its contract.
CREATE EXTENSION cache_notify;
SELECT cache_notify.setup_table_invalidation('tv_contract');
SELECT cache_notify.setup_table_invalidation('tb_item');
SELECT cache_notify.setup_table_invalidation('tb_price');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'contract');
