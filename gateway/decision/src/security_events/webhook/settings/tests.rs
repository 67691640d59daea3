use serde_json::{Value, json};

use super::*;

const SECRET: &str = "no-secret-but-one-for-tests-0123456789";

fn hook() -> Value {
    json!({"name": "hook", "secrets": [SECRET], "revokes": [{"selector": {"rule": {"name": "r"}}}]})
}

fn read(hooks: &[Value]) -> Result<usize, String> {
    let settings: Vec<WebhookSettings> =
        serde_json::from_value(json!(hooks)).map_err(|error| error.to_string())?;
    assert!(!format!("{settings:?}").contains(SECRET));
    ready(&settings)
        .map(|ready| ready.len())
        .map_err(|error| error.to_string())
}

#[test]
fn the_least_settings_have_the_documented_defaults() {
    let settings: WebhookSettings = serde_json::from_value(hook()).unwrap();
    assert_eq!(settings.tolerance, Duration::from_secs(300));
    assert_eq!(settings.signature.header, "X-Signature");
    assert_eq!(settings.signature.prefix, "sha256=");
    assert_eq!(settings.signature.encoding, SignatureEncoding::Hex);
    assert_eq!(settings.timestamp.header, "X-Timestamp");
    assert_eq!(settings.timestamp.format, TimestampFormat::UnixSeconds);
    assert_eq!(read(&[hook()]), Ok(1));
}

#[test]
fn webhooks_that_would_believe_too_much_are_refused() {
    let with = |key: &str, value: Value| {
        let mut hook = hook();
        hook[key] = value;
        hook
    };
    let other = "another-one-for-tests-0123456789-0123";
    for (hooks, hint) in [
        (vec![with("name", json!(""))], "webhooks[0].name: "),
        (vec![with("name", json!("a/b"))], "webhooks[0].name: "),
        (vec![with("name", json!("x".repeat(65)))], "webhooks[0].name: "),
        (
            vec![hook(), with("secrets", json!([other]))],
            "webhooks[1].name: is that of another",
        ),
        (
            vec![with("secrets", json!([]))],
            "webhooks[0].secrets: must have at least one",
        ),
        (
            vec![with("secrets", json!(["x".repeat(31)]))],
            "webhooks[0].secrets: has one of less than 32 bytes",
        ),
        (
            vec![with("secrets", json!([SECRET, SECRET]))],
            "webhooks[0].secrets: has one twice",
        ),
        (
            vec![hook(), with("name", json!("b"))],
            "webhooks[1].secrets: has one twice, or that of another",
        ),
        (vec![with("tolerance", json!("0s"))], "webhooks[0].tolerance: "),
        (vec![with("tolerance", json!("61m"))], "webhooks[0].tolerance: "),
        (
            vec![with("signature", json!({"header": "X Signature"}))],
            "webhooks[0].signature.header: ",
        ),
        (
            vec![with("timestamp", json!({"header": ""}))],
            "webhooks[0].timestamp.header: ",
        ),
        (
            vec![with("timestamp", json!({"header": "x-signature"}))],
            "webhooks[0].timestamp.header: is that of",
        ),
        (
            vec![with("revokes", json!([]))],
            "webhooks[0].revokes: must have at least one rule",
        ),
        (vec![with("more", json!(1))], "unknown field"),
        (
            vec![with("signature", json!({"encoding": "md5"}))],
            "unknown variant",
        ),
    ] {
        let error = read(&hooks).unwrap_err();
        assert!(error.contains(hint), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
}

#[test]
fn every_setting_is_described_in_the_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(WebhookSettings)).unwrap();
    for (name, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{name} has no description");
    }
    assert_eq!(schema["additionalProperties"], false);
}
