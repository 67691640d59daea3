-- Bans, version 2. Times are microseconds since the Unix epoch.

CREATE TABLE {schema}.bans (
    id bytea PRIMARY KEY,
    -- What it is looked up by.
    concern bytea NOT NULL,
    ends_at bigint NOT NULL,
    lifted boolean NOT NULL,
    ban bytea NOT NULL
);
CREATE INDEX bans_concern ON {schema}.bans (concern) WHERE NOT lifted;
CREATE INDEX bans_ends_at ON {schema}.bans (ends_at);

-- What was called for, for whoever asks again with the same idempotency key.
CREATE TABLE {schema}.ban_calls (
    key bytea PRIMARY KEY,
    at bigint NOT NULL,
    call bytea NOT NULL
);
CREATE INDEX ban_calls_at ON {schema}.ban_calls (at);
