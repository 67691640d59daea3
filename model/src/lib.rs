//! A model of the revocation log and the caches in front of the sources, checked exhaustively with stateright.
