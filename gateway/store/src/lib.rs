//! Where shared state lives: in-process for one instance.
