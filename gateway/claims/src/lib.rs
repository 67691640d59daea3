//! NATS JWT claims, nkeys and xkey sealing: everything a nats-server signs or reads.
