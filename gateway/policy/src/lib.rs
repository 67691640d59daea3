//! Rules and subject templates to permissions: pure, no I/O.
