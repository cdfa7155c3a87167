"""
Versions of lists, removed favorites, popularity.

Only additions, so that the release before keeps working. What it writes meanwhile is not counted;
the next reconciliation corrects that.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

# New tables are filled first: that locks nothing that other transactions need. Existing tables are
# altered last, as their locks block other transactions until all of this is committed.
_UP = """
CREATE TABLE favorite_lists (
    customer_id uuid NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    size integer DEFAULT 0 NOT NULL,
    forgotten_to bigint DEFAULT 0 NOT NULL,
    catalog_seen bigint DEFAULT 0 NOT NULL,
    CONSTRAINT pk_favorite_lists PRIMARY KEY (customer_id),
    CONSTRAINT fk_favorite_lists_customer_id_customers
        FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE,
    CONSTRAINT ck_favorite_lists_size CHECK (size >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
INSERT INTO favorite_lists (customer_id, version, size)
SELECT id, 1, (SELECT count(*) FROM favorites WHERE customer_id = id)
FROM customers
WHERE EXISTS (SELECT FROM favorites WHERE customer_id = id)
FOR KEY SHARE OF customers;

CREATE TABLE favorite_tombstones (
    customer_id uuid NOT NULL,
    product_id integer NOT NULL,
    changed_in bigint NOT NULL,
    removed_at timestamptz NOT NULL,
    favorited_at timestamptz,
    snapshot_title text,
    snapshot_price numeric(12, 2),
    snapshot_image text,
    snapshot_rate numeric,
    snapshot_rating_count bigint,
    rejected_at timestamptz,
    CONSTRAINT pk_favorite_tombstones PRIMARY KEY (customer_id, product_id),
    CONSTRAINT fk_favorite_tombstones_customer_id_customers
        FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
);
CREATE INDEX ix_favorite_tombstones_customer_id_changed_in_product_id
    ON favorite_tombstones (customer_id, changed_in, product_id);
CREATE INDEX ix_favorite_tombstones_removed_at ON favorite_tombstones (removed_at);
CREATE INDEX ix_favorite_tombstones_restorable ON favorite_tombstones (removed_at)
    WHERE favorited_at IS NOT NULL;

CREATE TABLE product_popularity (
    product_id integer NOT NULL,
    favorites bigint NOT NULL,
    CONSTRAINT pk_product_popularity PRIMARY KEY (product_id),
    CONSTRAINT ck_product_popularity_favorites CHECK (favorites >= 0)
);
INSERT INTO product_popularity (product_id, favorites)
SELECT product_id, count(*) FROM favorites GROUP BY product_id;
CREATE INDEX ix_product_popularity_favorites_product_id
    ON product_popularity (favorites, product_id);

ALTER TABLE catalog_state ADD COLUMN content_version bigint DEFAULT 0 NOT NULL;
ALTER TABLE products_cache ADD COLUMN state_version bigint DEFAULT 0 NOT NULL;
CREATE INDEX ix_products_cache_state_version ON products_cache (state_version)
    WHERE state_version > 0;
ALTER TABLE favorites
    ADD COLUMN added_in bigint DEFAULT 0 NOT NULL,
    ADD COLUMN changed_in bigint DEFAULT 0 NOT NULL;
CREATE INDEX ix_favorites_customer_id_changed_in_product_id
    ON favorites (customer_id, changed_in, product_id)
"""

_DOWN = """
DROP INDEX ix_favorites_customer_id_changed_in_product_id;
ALTER TABLE favorites DROP COLUMN added_in, DROP COLUMN changed_in;
DROP INDEX ix_products_cache_state_version;
ALTER TABLE products_cache DROP COLUMN state_version;
ALTER TABLE catalog_state DROP COLUMN content_version;
DROP TABLE product_popularity, favorite_tombstones, favorite_lists
"""


def upgrade() -> None:
    _run(_UP)


def downgrade() -> None:
    _run(_DOWN)


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        op.execute(statement)
