"""Owners, aliases, expiry, visits, passwords, changes, idempotency, an outbox, wider statistics.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Whoever waits for a lock on `links` makes everybody after him wait too, readers as well, so this
# one gives up soon and is tried again. With the lock no row is read or written: columns with
# constant defaults live in the catalogue (manual, section 5.7.1), and the constraints are NOT
# VALID, which means that rows from before are not looked at. They need not be: what the old
# constraints let in the new ones do, and the columns that others speak of are new. Only building
# the index reads the table, and keeps writers waiting for that long; CONCURRENTLY would not, but
# cannot be part of this transaction, and one that fails leaves half an index behind.
_UP = """
SET LOCAL lock_timeout = '3s';

CREATE TABLE api_keys (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    key_hash   bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256: the keys are 256 random bits, nothing to guess';

ALTER TABLE links
    DROP CONSTRAINT links_code_check,
    DROP CONSTRAINT links_url_check,
    ADD COLUMN owner_id      bigint REFERENCES api_keys (id),
    ADD COLUMN version       bigint NOT NULL DEFAULT 1,
    ADD COLUMN updated_at    timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN expires_at    timestamptz,
    ADD COLUMN max_visits    bigint,
    ADD COLUMN visits        bigint NOT NULL DEFAULT 0,
    ADD COLUMN password_hash text,
    ADD COLUMN deleted_at    timestamptz;
ALTER TABLE links
    ADD CONSTRAINT links_code_check CHECK (
        code ~ '^[0-9A-Za-z][0-9A-Za-z_-]{1,30}[0-9A-Za-z]$'
    ) NOT VALID,
    ADD CONSTRAINT links_url_check CHECK (
        CASE WHEN deleted_at IS NULL THEN url ~ '^https?://' AND length(url) <= 4096
        ELSE url = '' AND password_hash IS NULL END
    ) NOT VALID,
    ADD CONSTRAINT links_version_check CHECK (version > 0) NOT VALID,
    ADD CONSTRAINT links_max_visits_check CHECK (max_visits > 0) NOT VALID,
    ADD CONSTRAINT links_visits_check CHECK (visits >= 0) NOT VALID;
CREATE INDEX links_owner ON links (owner_id, id DESC) WHERE deleted_at IS NULL;
COMMENT ON COLUMN links.code IS 'the id, permuted with the service''s key, in base62; or an alias';
COMMENT ON COLUMN links.version IS 'grows with each change; the cache keeps the greatest it saw';
COMMENT ON COLUMN links.deleted_at IS
    'the row stays without URL and password: its code answers 410 and is never used again';
COMMENT ON COLUMN links.visits IS 'spent of max_visits; counted for limited links only';

CREATE TABLE link_visits (
    link_id  bigint NOT NULL REFERENCES links (id),
    event_id uuid NOT NULL,
    spent_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (link_id, event_id)
);
CREATE INDEX link_visits_spent_at ON link_visits (spent_at);
COMMENT ON TABLE link_visits IS 'a request that nginx asks of a second replica spends one visit';

CREATE TABLE idempotency_keys (
    scope        text NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    link_id      bigint NOT NULL REFERENCES links (id) DEFERRABLE INITIALLY DEFERRED,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
COMMENT ON COLUMN idempotency_keys.link_id IS 'the key is claimed first, then its link is made';
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    destination text NOT NULL CHECK (destination IN ('cache', 'topic')),
    code        text NOT NULL,
    version     bigint NOT NULL,
    payload     bytea NOT NULL,
    request_id  uuid,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_destination ON outbox (destination, id);
COMMENT ON TABLE outbox IS 'written with the change it tells of, removed once it was told';

ALTER TABLE analytics.clicks
    ADD COLUMN browser text,
    ADD COLUMN agent   text NOT NULL DEFAULT 'person',
    ADD COLUMN visitor text,
    ADD CONSTRAINT clicks_agent_check CHECK (agent IN ('person', 'bot')) NOT VALID;
CREATE INDEX clicks_recorded_at ON analytics.clicks (recorded_at);
COMMENT ON TABLE analytics.clicks IS 'kept as long as an event id must be recognised again';
COMMENT ON COLUMN analytics.clicks.visitor IS 'keyed hash of the address, another one each day';

ALTER TABLE analytics.click_totals
    ADD COLUMN bots bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT click_totals_bots_check CHECK (bots BETWEEN 0 AND clicks) NOT VALID;

CREATE TABLE analytics.click_hours (
    code          text NOT NULL,
    hour          timestamptz NOT NULL,
    referrer_host text NOT NULL,
    browser       text NOT NULL,
    agent         text NOT NULL,
    clicks        bigint NOT NULL CHECK (clicks > 0),
    PRIMARY KEY (code, hour, referrer_host, browser, agent)
);
COMMENT ON TABLE analytics.click_hours IS 'changed in the transaction that adds the clicks';
COMMENT ON COLUMN analytics.click_hours.referrer_host IS 'empty when there was none';
"""

# What the older service would open to everybody is removed: it knows of no password, limit, end or
# deletion, and of no alias. Owners are forgotten.
_DOWN = """
SET LOCAL lock_timeout = '3s';
DROP TABLE analytics.click_hours;
ALTER TABLE analytics.click_totals DROP COLUMN bots;
DROP INDEX analytics.clicks_recorded_at;
ALTER TABLE analytics.clicks DROP COLUMN browser, DROP COLUMN agent, DROP COLUMN visitor;
DROP TABLE outbox;
DROP TABLE idempotency_keys;
DROP TABLE link_visits;
DROP INDEX links_owner;
DELETE FROM links
WHERE code !~ '^[0-9A-Za-z]{7}$' OR deleted_at IS NOT NULL OR password_hash IS NOT NULL
    OR max_visits IS NOT NULL OR expires_at IS NOT NULL;
ALTER TABLE links
    DROP CONSTRAINT links_code_check,
    DROP CONSTRAINT links_url_check,
    ADD CONSTRAINT links_code_check CHECK (code ~ '^[0-9A-Za-z]{7}$'),
    ADD CONSTRAINT links_url_check CHECK (url ~ '^https?://' AND length(url) <= 4096),
    DROP COLUMN owner_id, DROP COLUMN version, DROP COLUMN updated_at, DROP COLUMN expires_at,
    DROP COLUMN max_visits, DROP COLUMN visits, DROP COLUMN password_hash, DROP COLUMN deleted_at;
DROP TABLE api_keys;
"""


def upgrade() -> None:
    for statement in _UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN.split(";\n"):
        if statement.strip():
            op.execute(statement)
