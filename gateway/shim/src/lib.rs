//! The callout shim: answers nats-server's auth callout with what a decision service decided.
