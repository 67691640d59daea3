-- Pushed memberships, version 1. Texts are compared by bytes (COLLATE "C"), so that lists have one order everywhere.
-- Times are microseconds since the Unix epoch.

-- The number of the last write. Its one row is what writers lock: they go one after the other.
CREATE TABLE {schema}.pushed_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO {schema}.pushed_head (version) VALUES (0);

CREATE TABLE {schema}.pushed_memberships (
    issuer text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    deleted boolean NOT NULL,
    changed_at bigint NOT NULL,
    changed_by text NOT NULL,
    PRIMARY KEY (issuer, subject, kind, id, role)
);
CREATE INDEX pushed_memberships_resource ON {schema}.pushed_memberships (kind, id);
CREATE INDEX pushed_memberships_tombstones ON {schema}.pushed_memberships (changed_at) WHERE deleted;

-- What was answered to a write, for whoever asks again with the same idempotency key.
CREATE TABLE {schema}.pushed_answers (
    key bytea PRIMARY KEY,
    body bytea NOT NULL,
    at bigint NOT NULL,
    answer bytea NOT NULL
);
CREATE INDEX pushed_answers_at ON {schema}.pushed_answers (at);

-- Entries for the revocation log, written with the change they are about. Without a revision: still to be appended.
CREATE TABLE {schema}.pushed_announcements (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bytea NOT NULL UNIQUE,
    issuer text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    announcement bytea NOT NULL,
    revision text,
    confirmed boolean,
    known_since bigint
);
CREATE INDEX pushed_announcements_pending ON {schema}.pushed_announcements (number) WHERE revision IS NULL;
CREATE INDEX pushed_announcements_about ON {schema}.pushed_announcements (issuer, subject, number);
CREATE INDEX pushed_announcements_known ON {schema}.pushed_announcements (known_since);
