-- What account writers keep, version 1. Times are this server's.

-- Leases. A row stays for ever, for its fencing token: the newest that was given, be its lease still held or not.
CREATE TABLE {schema}.account_leases (
    account text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL CHECK (fence > 0),
    -- Without a holder it was released.
    holder text,
    ends_at timestamptz NOT NULL
);

-- Wanted states, with the number of their last write.
CREATE TABLE {schema}.account_wanted (
    account text COLLATE "C" PRIMARY KEY REFERENCES {schema}.account_leases,
    version bigint NOT NULL CHECK (version > 0),
    body bytea NOT NULL
);
