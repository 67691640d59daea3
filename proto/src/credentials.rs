//! `ConnectOptions` holds what the client authenticates with: shown to nobody, wiped when dropped.
//!
//! What is wiped is the message, on both sides and in every copy. The bytes it is encoded into belong to the gRPC
//! library and are not.

use std::fmt;

use zeroize::Zeroize;

use crate::v1::ConnectOptions;

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("lang", &self.lang)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Drop for ConnectOptions {
    fn drop(&mut self) {
        for secret in [
            &mut self.auth_token,
            &mut self.pass,
            &mut self.jwt,
            &mut self.sig,
            &mut self.user,
            &mut self.nkey,
        ] {
            secret.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::v1::{AuthorizeRequest, ConnectOptions};

    #[test]
    fn credentials_are_not_shown() {
        let mut connect = ConnectOptions::default();
        for field in [
            &mut connect.auth_token,
            &mut connect.pass,
            &mut connect.jwt,
            &mut connect.sig,
            &mut connect.user,
        ] {
            *field = "hidden".into();
        }
        let request = AuthorizeRequest {
            connect_options: Some(connect),
            ..Default::default()
        };
        assert!(!format!("{request:?}").contains("hidden"));
    }
}
