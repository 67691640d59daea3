//! The files in deploy/ work as they stand: real nats-servers and natsgate itself run with them, unchanged.

#![cfg(feature = "devkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests end loudly"
)]

#[path = "deploy_files/config_mode.rs"]
mod config_mode;
#[path = "deploy_files/operator_mode.rs"]
mod operator_mode;
#[path = "deploy_files/site.rs"]
mod site;

/// The number after `key` in the file `name` of deploy/.
fn number(name: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(site::deploy().join(name)).unwrap();
    let (_, value) = text
        .split_once(key)
        .unwrap_or_else(|| panic!("{name} has no {key}"));
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Two seconds after CONNECT a server sends its client a PING, which clients take for an answer. A request lives for its
/// timeout at most (its expiry is rounded down), so that is when it has to be given up.
#[test]
fn requests_are_given_up_before_the_server_s_first_ping() {
    for (server, natsgate) in [("config-mode", "all.yaml"), ("operator-mode", "shim.yaml")] {
        let timeout = number(&format!("nats/{server}/nats-server.conf"), "\n  timeout: ") * 1000;
        let margin = number(&format!("natsgate/{natsgate}"), "\n  answer_margin: ");
        let given_up = timeout - margin;
        assert!(
            (1000..=1800).contains(&given_up),
            "{server}: given up after {given_up} ms"
        );
    }
}
