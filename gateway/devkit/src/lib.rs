//! Real servers as child processes, a development OpenID provider and a mock clock, for tests and the demo.
