//! The lines of the NATS protocol that a client reads, as far as the crowd has to know them.

use bytes::{Buf, BytesMut};
use serde::Deserialize;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its greeting, and every later word about itself.
    Info(Info),
    /// Are you there?
    Ping,
    /// It has done everything that was sent before the PING.
    Pong,
    /// An error, without its quotes.
    Error(String),
    /// A message on this subject.
    Message(String),
    /// What needs no answer.
    Other,
}

/// Who the server is, and which of its connections this is.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    /// The server's id.
    pub(super) server_id: String,
    /// The connection's id there.
    pub(super) client_id: u64,
}

/// Takes the first whole thing that was said out of `buffer`.
pub(super) fn take(buffer: &mut BytesMut) -> Option<Said> {
    let end = buffer.windows(2).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(buffer.get(..end)?).into_owned();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    let mut whole = end + 2;
    let said = match verb.to_ascii_uppercase().as_str() {
        "MSG" => {
            let mut words = rest.split_ascii_whitespace();
            let subject = words.next().unwrap_or_default().to_owned();
            let payload: usize = words.last().and_then(|length| length.parse().ok()).unwrap_or(0);
            whole += payload + 2;
            if buffer.len() < whole {
                return None;
            }
            Said::Message(subject)
        }
        "INFO" => Said::Info(serde_json::from_str(rest).unwrap_or_default()),
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "-ERR" => Said::Error(rest.trim_matches('\'').to_owned()),
        _ => Said::Other,
    };
    buffer.advance(whole);
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_whole_or_not_yet() {
        let text = "INFO {\"server_id\":\"N1\",\"client_id\":7,\"x\":[1]}\r\nPING\r\nMSG a.b 1 4\r\n\r\n\r\n\r\n-ERR 'No, you \
                    don't'\r\nMSG c 2 _INBOX.1 0\r\n\r\n+OK\r\nPONG\r\n";
        let mut all = Vec::new();
        let mut buffer = BytesMut::new();
        // However it is cut up on the way.
        for byte in text.bytes() {
            buffer.extend_from_slice(&[byte]);
            all.extend(std::iter::from_fn(|| take(&mut buffer)));
        }
        let info = Info {
            server_id: "N1".into(),
            client_id: 7,
        };
        assert_eq!(
            all,
            [
                Said::Info(info),
                Said::Ping,
                Said::Message("a.b".into()),
                Said::Error("No, you don't".into()),
                Said::Message("c".into()),
                Said::Other,
                Said::Pong
            ]
        );
        assert!(buffer.is_empty());
    }
}
