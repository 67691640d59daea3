//! The connection somebody asks to open: what the nats-server says of it.

/// A connection in its auth callout, named by server and client id. What the client itself claims (its name, its
/// host as seen by a proxy) is no more than a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// The NATS cluster, by the name the shim's configuration gives it.
    pub cluster: String,
    /// The server's id (a public nkey, new at every start).
    pub server_id: String,
    /// The server's configured name.
    pub server_name: String,
    /// The server's version, `2.15.1`.
    pub server_version: String,
    /// The server's configured tags.
    pub server_tags: Vec<String>,
    /// The client's id, unique on its server.
    pub client_id: u64,
    /// The host the client connects from, as the server sees it.
    pub client_host: String,
    /// The name the client gave itself.
    pub client_name: String,
    /// `Client` or `Leafnode`.
    pub client_kind: String,
    /// The protocol: `nats`, `mqtt`, `websocket`, …
    pub client_type: String,
    /// The MQTT client id, where there is one.
    pub mqtt_id: String,
    /// The public nkey the server made for this one connection.
    pub user_nkey: String,
}
