//! A connection to PostgreSQL: pooled, over TLS, every call bounded in time.
