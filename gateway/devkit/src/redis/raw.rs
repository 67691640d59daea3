//! Commands sent to a server as a test's own hand: to look into it, and to do to it what nobody should.

use std::time::Duration;

use ::redis::{Value, aio::MultiplexedConnection};

use crate::error::DevkitError;

/// User and password of whom tests are to servers that have users.
pub(super) const ADMINISTRATOR: &str = "devkit";

/// How long anything here may take: a frozen server must not freeze a test.
const WITHIN: Duration = Duration::from_secs(10);

/// Sends `command` to the server on `port` and returns its answer; an answer that is an error is an error.
pub(super) async fn raw(port: u16, as_administrator: bool, command: &[&str]) -> Result<Value, DevkitError> {
    let mut connection = connect(port, as_administrator).await?;
    send(&mut connection, command).await
}

pub(super) async fn connect(port: u16, as_administrator: bool) -> Result<MultiplexedConnection, DevkitError> {
    let user = if as_administrator {
        format!("{ADMINISTRATOR}:{ADMINISTRATOR}@")
    } else {
        String::new()
    };
    let url = format!("redis://{user}127.0.0.1:{port}/");
    let client = ::redis::Client::open(url).map_err(|error| failed("connect", &error))?;
    let config = ::redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(WITHIN))
        .set_response_timeout(Some(WITHIN));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| failed("connect", &error))
}

pub(super) async fn send(
    connection: &mut MultiplexedConnection,
    command: &[&str],
) -> Result<Value, DevkitError> {
    let mut words = command.iter();
    let mut built = ::redis::cmd(words.next().copied().unwrap_or_default());
    for word in words {
        built.arg(*word);
    }
    built
        .query_async(connection)
        .await
        .map_err(|error| failed(&command.join(" "), &error))
}

fn failed(doing: &str, error: &::redis::RedisError) -> DevkitError {
    DevkitError::Unreadable {
        what: format!("redis-server, asked to {doing}"),
        detail: error.to_string(),
    }
}

/// All bytes in `value`, whatever its shape, one after another.
pub(super) fn bytes_of(value: &Value) -> Vec<u8> {
    fn gather(value: &Value, bytes: &mut Vec<u8>) {
        match value {
            Value::BulkString(string) => bytes.extend_from_slice(string),
            Value::SimpleString(string) => bytes.extend_from_slice(string.as_bytes()),
            Value::VerbatimString { text, .. } => bytes.extend_from_slice(text.as_bytes()),
            Value::Int(number) => bytes.extend_from_slice(number.to_string().as_bytes()),
            Value::Double(number) => bytes.extend_from_slice(number.to_string().as_bytes()),
            Value::Array(values) | Value::Set(values) => {
                values.iter().for_each(|value| gather(value, bytes));
            }
            Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
                gather(key, bytes);
                gather(value, bytes);
            }),
            _ => {}
        }
        bytes.push(b'\n');
    }
    let mut bytes = Vec::new();
    gather(value, &mut bytes);
    bytes
}

/// The words of `value`, for answers that are lists of strings.
pub(super) fn words_of(value: &Value) -> Vec<String> {
    String::from_utf8_lossy(&bytes_of(value))
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
