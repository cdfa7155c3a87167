"""Customers and their sessions, API keys, favorites, the products cache, throttles."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE customers (
    id uuid NOT NULL,
    name text NOT NULL,
    name_key text COLLATE "C" NOT NULL,
    email text NOT NULL,
    email_key text COLLATE "C" NOT NULL,
    password_hash text,
    role text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version integer NOT NULL,
    CONSTRAINT pk_customers PRIMARY KEY (id),
    CONSTRAINT uq_customers_email_key UNIQUE (email_key),
    CONSTRAINT ck_customers_role CHECK (role IN ('customer', 'admin')),
    CONSTRAINT ck_customers_version CHECK (version > 0)
);
CREATE INDEX ix_customers_created_at_id ON customers (created_at, id);
CREATE INDEX ix_customers_name_key_id ON customers (name_key, id);

CREATE TABLE sessions (
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    device text NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    idle_expires_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT fk_sessions_customer_id_customers
        FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
);
CREATE INDEX ix_sessions_customer_id ON sessions (customer_id);
CREATE INDEX ix_sessions_over_since ON sessions (LEAST(ended_at, idle_expires_at, expires_at));

CREATE TABLE refresh_tokens (
    hash bytea NOT NULL,
    session_id uuid NOT NULL,
    predecessor bytea,
    issued_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT pk_refresh_tokens PRIMARY KEY (hash),
    CONSTRAINT uq_refresh_tokens_predecessor UNIQUE (predecessor),
    CONSTRAINT fk_refresh_tokens_session_id_sessions
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
);
CREATE INDEX ix_refresh_tokens_session_id ON refresh_tokens (session_id);

CREATE TABLE api_keys (
    id text NOT NULL,
    name text NOT NULL,
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT ck_api_keys_secret_hash CHECK (octet_length(secret_hash) = 32)
);

CREATE TABLE favorites (
    customer_id uuid NOT NULL,
    product_id integer NOT NULL,
    favorited_at timestamptz NOT NULL,
    snapshot_title text,
    snapshot_price numeric(12, 2),
    snapshot_image text,
    snapshot_rate numeric,
    snapshot_rating_count bigint,
    rejected_at timestamptz,
    CONSTRAINT pk_favorites PRIMARY KEY (customer_id, product_id),
    CONSTRAINT fk_favorites_customer_id_customers
        FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE,
    CONSTRAINT ck_favorites_product_id CHECK (product_id > 0),
    CONSTRAINT ck_favorites_snapshot
        CHECK (num_nulls(snapshot_title, snapshot_price, snapshot_image) IN (0, 3)),
    CONSTRAINT ck_favorites_snapshot_rating CHECK (
        num_nulls(snapshot_rate, snapshot_rating_count) = 2
        OR (num_nulls(snapshot_rate, snapshot_rating_count) = 0 AND snapshot_title IS NOT NULL)
    ),
    CONSTRAINT ck_favorites_rejected CHECK (snapshot_title IS NULL OR rejected_at IS NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX ix_favorites_customer_id_favorited_at_product_id
    ON favorites (customer_id, favorited_at, product_id);
CREATE INDEX ix_favorites_product_id ON favorites (product_id);
CREATE INDEX ix_favorites_pending_product_id ON favorites (product_id)
    WHERE snapshot_title IS NULL AND rejected_at IS NULL;
CREATE INDEX ix_favorites_pending_customer_id ON favorites (customer_id)
    WHERE snapshot_title IS NULL AND rejected_at IS NULL;

CREATE TABLE products_cache (
    product_id integer NOT NULL,
    title text,
    title_key text COLLATE "C",
    price numeric(12, 2),
    price_since timestamptz,
    description text,
    category text,
    image text,
    rating_rate numeric,
    rating_count bigint,
    fetched_at timestamptz,
    claimed_until timestamptz,
    blocked_until timestamptz,
    absent_until timestamptz,
    missing_since timestamptz,
    removed_at timestamptz,
    CONSTRAINT pk_products_cache PRIMARY KEY (product_id),
    CONSTRAINT ck_products_cache_product_id CHECK (product_id > 0),
    CONSTRAINT ck_products_cache_copy CHECK (
        num_nulls(
            title, title_key, price, price_since, description, category, image, fetched_at
        ) IN (0, 8)
    ),
    CONSTRAINT ck_products_cache_rating CHECK (
        num_nulls(rating_rate, rating_count) = 2
        OR (num_nulls(rating_rate, rating_count) = 0 AND fetched_at IS NOT NULL)
    ),
    CONSTRAINT ck_products_cache_absent CHECK (absent_until IS NULL OR fetched_at IS NULL),
    CONSTRAINT ck_products_cache_missing CHECK (missing_since IS NULL OR fetched_at IS NOT NULL),
    CONSTRAINT ck_products_cache_removed CHECK (removed_at IS NULL OR missing_since IS NOT NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX ix_products_cache_price ON products_cache (price, product_id)
    WHERE fetched_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX ix_products_cache_fetched_at ON products_cache (fetched_at, product_id)
    WHERE fetched_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX ix_products_cache_unknown ON products_cache (product_id) WHERE fetched_at IS NULL;

CREATE TABLE product_prices (
    product_id integer NOT NULL,
    seen_at timestamptz NOT NULL,
    price numeric(12, 2) NOT NULL,
    CONSTRAINT pk_product_prices PRIMARY KEY (product_id, seen_at)
);

CREATE TABLE catalog_state (
    id smallint NOT NULL,
    fetched_at timestamptz,
    claimed_until timestamptz,
    blocked_until timestamptz,
    CONSTRAINT pk_catalog_state PRIMARY KEY (id),
    CONSTRAINT ck_catalog_state_one_row CHECK (id = 1)
) WITH (fillfactor = 50);

CREATE TABLE throttles (
    key bytea NOT NULL,
    attempts timestamptz[] NOT NULL,
    CONSTRAINT pk_throttles PRIMARY KEY (key)
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute(
        "DROP TABLE throttles, catalog_state, product_prices, products_cache, favorites,"
        " api_keys, refresh_tokens, sessions, customers"
    )
