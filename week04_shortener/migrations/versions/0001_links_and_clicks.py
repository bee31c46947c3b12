"""Links, and the clicks on them in a schema of their own.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Up to 62**7 - 1, the last number that has a code. Running out is an error, not a second round.
_UP = """
CREATE SEQUENCE link_numbers AS bigint MINVALUE 0 MAXVALUE 3521614606207 START 0 NO CYCLE;

CREATE TABLE links (
    id         bigint PRIMARY KEY,
    code       text NOT NULL UNIQUE CHECK (code ~ '^[0-9A-Za-z]{7}$'),
    url        text NOT NULL CHECK (url ~ '^https?://' AND length(url) <= 4096),
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER SEQUENCE link_numbers OWNED BY links.id;
COMMENT ON COLUMN links.code IS 'the id, permuted with the service''s key, in base62';

CREATE SCHEMA analytics;

CREATE TABLE analytics.clicks (
    event_id       uuid PRIMARY KEY,
    code           text NOT NULL,
    at             timestamptz NOT NULL,
    replica        text NOT NULL,
    referrer_host  text,
    topic          text NOT NULL,
    partition      integer NOT NULL,
    message_offset bigint NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX clicks_code_at ON analytics.clicks (code, at);
COMMENT ON COLUMN analytics.clicks.message_offset IS 'of the message that brought it first';

CREATE TABLE analytics.click_totals (
    code          text PRIMARY KEY,
    clicks        bigint NOT NULL CHECK (clicks > 0),
    last_click_at timestamptz NOT NULL
);
COMMENT ON TABLE analytics.click_totals IS 'changed in the transaction that adds the clicks';

CREATE TABLE analytics.offsets (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE analytics.offsets IS 'the truth about what was read; Kafka is told nothing';
"""

_DOWN = """
DROP SCHEMA analytics CASCADE;
DROP TABLE links;
"""


def upgrade() -> None:
    for statement in _UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN.split(";\n"):
        if statement.strip():
            op.execute(statement)
