//! OpenID Connect discovery, JWKS, token verification, and the sources of memberships.
