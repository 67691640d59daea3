//! What a client proves itself with.

use std::fmt;

use secrecy::SecretString;

/// A credential as it was presented. `Debug` shows the kind and nothing else.
#[derive(Clone)]
pub enum Credential {
    /// A token: a JWT or an opaque one.
    Token(SecretString),
    /// The certificate of the client's TLS connection.
    Certificate(CertificateChain),
}

/// A certificate chain that the nats-server has verified: PEM, leaf first. Chains a server did not verify never become
/// one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain(pub Vec<String>);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Certificate(_) => "Certificate",
        })
    }
}
