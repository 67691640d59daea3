use serde_json::{Value, json};

use super::*;

fn good() -> Value {
    json!({
        "name": "crm",
        "certificate": {"san_uri": "spiffe://example.com/crm"},
        "scopes": ["natsgate.memberships.write"],
        "issuers": ["https://idp.example"],
        "kinds": ["project"],
        "id_prefixes": ["eu-"],
        "roles": ["*"],
    })
}

/// [`good`] with `changes` on top; `null` takes a key away.
fn changed(changes: Value) -> Value {
    let mut value = good();
    for (key, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(key);
        } else {
            value[key] = change.clone();
        }
    }
    value
}

fn read(list: Value) -> Vec<CallerSettings> {
    serde_json::from_value(list).unwrap()
}

fn made(list: Value, providers: &[&str]) -> Result<Vec<Known>, CallerSettingsError> {
    let providers: Vec<String> = providers.iter().map(|name| (*name).to_owned()).collect();
    known(&read(list), &providers)
}

#[test]
fn a_caller_is_bound_to_what_is_written() {
    let callers = made(json!([good()]), &[]).unwrap();
    let only = |name: &str| Names::Only(BTreeSet::from([name.to_owned()]));
    assert_eq!(
        callers[0].reach,
        Reach {
            issuers: only("https://idp.example"),
            kinds: only("project"),
            id_prefixes: only("eu-"),
            roles: Names::All,
        }
    );
    assert_eq!(
        callers[0].certificate,
        Some(CertificateName::Uri("spiffe://example.com/crm".into()))
    );
    // A shim needs nothing to speak for, and has nothing.
    let shim = changed(json!({
        "scopes": ["natsgate.authorize"], "issuers": null, "kinds": null, "id_prefixes": null, "roles": null,
    }));
    assert_eq!(made(json!([shim]), &[]).unwrap()[0].reach, Reach::nothing());
}

#[test]
fn what_could_mean_more_than_is_written_is_refused() {
    let token = json!({"subject": "crm"});
    for (change, providers, key) in [
        (json!({"name": ""}), &[][..], "callers[0].name"),
        (json!({"name": "a b"}), &[], "callers[0].name"),
        (json!({"name": "x".repeat(65)}), &[], "callers[0].name"),
        (json!({"name": "local"}), &[], "callers[0].name"),
        (json!({"name": "anyone"}), &[], "callers[0].name"),
        (json!({"certificate": null}), &[], "callers[0]"),
        (json!({"scopes": []}), &[], "callers[0].scopes"),
        (json!({"certificate": {}}), &[], "callers[0].certificate"),
        (
            json!({"certificate": {"san_uri": "a", "san_dns": "b"}}),
            &[],
            "callers[0].certificate",
        ),
        (
            json!({"certificate": {"san_dns": "*.example.com"}}),
            &[],
            "callers[0].certificate",
        ),
        (
            json!({"certificate": {"common_name": " "}}),
            &[],
            "callers[0].certificate",
        ),
        (json!({"issuers": null}), &[], "callers[0].issuers"),
        (json!({"kinds": []}), &[], "callers[0].kinds"),
        (json!({"id_prefixes": null}), &[], "callers[0].id_prefixes"),
        (json!({"id_prefixes": [""]}), &[], "callers[0].id_prefixes"),
        (json!({"id_prefixes": ["eu-*"]}), &[], "callers[0].id_prefixes"),
        (json!({"roles": ["*", "member"]}), &[], "callers[0].roles"),
        (json!({"token": {}}), &["corp"], "callers[0].token"),
        (
            json!({"token": {"provider": "corp"}}),
            &["corp"],
            "callers[0].token",
        ),
        (json!({"token": {"subject": ""}}), &["corp"], "callers[0].token"),
        (json!({"token": token}), &[], "callers[0].token"),
        (json!({"token": token}), &["corp", "other"], "callers[0].token"),
        (
            json!({"token": {"subject": "crm", "provider": "corpo"}}),
            &["corp", "other"],
            "callers[0].token.provider",
        ),
    ] {
        let error = made(json!([changed(change.clone())]), providers).expect_err(&change.to_string());
        assert_eq!(error.key, key, "{change}: {error}");
    }
    assert!(made(json!([changed(json!({"token": token}))]), &["corp"]).is_ok());
}

#[test]
fn no_two_callers_are_alike() {
    let second = |changes: Value| {
        let mut changes = changes;
        changes["name"] = json!("other");
        json!([good(), changed(changes)])
    };
    let error = made(
        json!([good(), changed(json!({"certificate": {"san_uri": "b"}}))]),
        &[],
    )
    .unwrap_err();
    assert_eq!(error.key, "callers[1].name");
    let error = made(second(json!({})), &[]).unwrap_err();
    assert_eq!(error.key, "callers[1].certificate");
    // DNS names have no case.
    let dns = |name: &str| json!({"san_dns": name});
    let mut list = second(json!({"certificate": dns("CRM.example.com")}));
    list[0]["certificate"] = dns("crm.Example.com");
    assert_eq!(made(list, &[]).unwrap_err().key, "callers[1].certificate");
    let mut list = second(json!({"certificate": null, "token": {"client_id": "crm"}}));
    list[0]["token"] = json!({"client_id": "crm"});
    assert_eq!(made(list, &["corp"]).unwrap_err().key, "callers[1].token");
}

#[test]
fn unknown_keys_and_scopes_do_not_read() {
    for change in [
        json!({"scope": ["natsgate.authorize"]}),
        json!({"scopes": ["natsgate.everything"]}),
        json!({"certificate": {"subject": "x"}}),
        json!({"token": {"issuer": "x"}}),
    ] {
        assert!(
            serde_json::from_value::<CallerSettings>(changed(change.clone())).is_err(),
            "{change}"
        );
    }
}

#[test]
fn every_setting_is_described_in_the_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(CallerSettings)).unwrap();
    for (name, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{name} has no description");
    }
    assert_eq!(schema["additionalProperties"], false);
}
