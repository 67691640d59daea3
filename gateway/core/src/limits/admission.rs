//! The limits that have to be held against a connection before it is let in.
//!
//! nats-server holds `src` and `allowed_connection_types` of a user JWT against clients that present such a JWT
//! themselves. On a user JWT that a callout answers with it does not (measured on 2.10.25, 2.12.8, 2.14.6 and 2.15.1), so
//! whoever decides does.

use std::net::IpAddr;

use super::{ConnectionType, Limits};

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It comes from none of the networks, or from where cannot be told.
    #[error("the client does not come from any of limits.source_networks")]
    SourceNetwork,
    /// It is of none of the kinds, or of which cannot be told.
    #[error("the client's connection is of none of limits.connection_types")]
    ConnectionType,
}

impl Limits {
    /// Whether a connection from `host` is let in, of `kind` (`Client`, `Leafnode`) and `client_type` (`nats`,
    /// `websocket`, `mqtt`), as a nats-server describes it in its authorization request.
    ///
    /// # Errors
    /// [`NotAdmitted`]; also for whatever cannot be read, while there is a limit to hold against it.
    pub fn admit(&self, host: &str, kind: &str, client_type: &str) -> Result<(), NotAdmitted> {
        if let Some(networks) = &self.source_networks {
            let address: IpAddr = host.parse().map_err(|_| NotAdmitted::SourceNetwork)?;
            // `::ffff:10.0.0.1` is 10.0.0.1, on a socket for both families.
            let address = address.to_canonical();
            if !networks.iter().any(|network| network.contains(&address)) {
                return Err(NotAdmitted::SourceNetwork);
            }
        }
        if let Some(allowed) = &self.connection_types {
            let possible = possible_types(kind, client_type);
            if possible.is_empty() || !possible.iter().all(|kind| allowed.contains(kind)) {
                return Err(NotAdmitted::ConnectionType);
            }
        }
        Ok(())
    }
}

/// The types a connection may have; the server does not tell MQTT and leaf nodes over WebSocket from those without.
fn possible_types(kind: &str, client_type: &str) -> &'static [ConnectionType] {
    match (kind, client_type) {
        ("Client", "nats") => &[ConnectionType::Standard],
        ("Client", "websocket") => &[ConnectionType::Websocket],
        ("Client", "mqtt") => &[ConnectionType::Mqtt, ConnectionType::MqttWs],
        ("Leafnode", _) => &[ConnectionType::Leafnode, ConnectionType::LeafnodeWs],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(networks: &[&str]) -> Limits {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        Limits {
            source_networks: Some(networks),
            ..Limits::default()
        }
    }

    fn of(types: &[ConnectionType]) -> Limits {
        Limits {
            connection_types: Some(types.to_vec()),
            ..Limits::default()
        }
    }

    #[test]
    fn no_limit_admits_anything() {
        assert_eq!(Limits::default().admit("", "", ""), Ok(()));
    }

    #[test]
    fn a_client_has_to_come_from_one_of_the_networks() {
        let limits = from(&["10.0.0.0/8", "2001:db8::/32"]);
        for good in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert_eq!(limits.admit(good, "Client", "nats"), Ok(()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "11.0.0.1",
            "::1",
            "",
            "localhost",
            "10.1.2.3:4222",
            "::ffff:11.0.0.1",
        ] {
            assert_eq!(
                limits.admit(bad, "Client", "nats"),
                Err(NotAdmitted::SourceNetwork),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_connection_has_to_be_of_one_of_the_types_for_certain() {
        use ConnectionType as T;
        for (types, kind, client_type, admitted) in [
            (&[T::Standard][..], "Client", "nats", true),
            (&[T::Websocket], "Client", "nats", false),
            (&[T::Websocket], "Client", "websocket", true),
            (&[T::Mqtt], "Client", "mqtt", false),
            (&[T::Mqtt, T::MqttWs], "Client", "mqtt", true),
            (&[T::Standard], "Leafnode", "", false),
            (&[T::Leafnode], "Leafnode", "", false),
            (&[T::Leafnode, T::LeafnodeWs], "Leafnode", "", true),
            (&T::ALL, "Client", "something new", false),
            (&T::ALL, "", "nats", false),
        ] {
            assert_eq!(
                of(types).admit("", kind, client_type).is_ok(),
                admitted,
                "{types:?} {kind} {client_type}"
            );
        }
    }
}
