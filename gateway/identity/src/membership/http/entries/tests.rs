use serde_json::json;

use super::*;

fn settings() -> HttpMembershipSettings {
    let mut settings = HttpMembershipSettings::new("api", "https://api.example/{principal.subject}");
    settings.kind = Some("project".to_owned());
    settings.role_field = Some("role".to_owned());
    settings
}

fn read_all(settings: &HttpMembershipSettings, document: &Value) -> Result<Vec<String>, String> {
    let mut memberships = Vec::new();
    for entry in list(settings, document)? {
        read(settings, entry, &mut memberships)
            .inspect_err(|error| assert!(!error.contains("hidden"), "{error}"))?;
    }
    Ok(memberships
        .into_iter()
        .map(|m| format!("{}/{}/{}", m.kind, m.id, m.role))
        .collect())
}

#[test]
fn entries_are_read_as_configured() {
    let found = read_all(
        &settings(),
        &json!([{"id": "a", "role": "owner"}, {"id": "b", "role": ["x", "y"], "more": 1}]),
    );
    assert_eq!(found.unwrap(), ["project/a/owner", "project/b/x", "project/b/y"]);

    let mut nested = settings();
    nested.list = Some("data.items".to_owned());
    nested.id_field = "project.slug".to_owned();
    nested.kind = None;
    nested.kind_field = Some("type".to_owned());
    let document = json!({"data": {"items": [{"project": {"slug": "a"}, "type": "team", "role": "owner"}]}});
    assert_eq!(read_all(&nested, &document).unwrap(), ["team/a/owner"]);

    let mut ids = settings();
    ids.role_field = None;
    ids.role = Some("member".to_owned());
    assert_eq!(
        read_all(&ids, &json!(["a", {"id": "b"}])).unwrap(),
        ["project/a/member", "project/b/member"]
    );
    assert!(read_all(&ids, &json!([7])).unwrap_err().contains("numeric_ids"));
    ids.numeric_ids = true;
    assert_eq!(
        read_all(&ids, &json!([7, {"id": 18_446_744_073_709_551_615_u64}])).unwrap(),
        ["project/7/member", "project/18446744073709551615/member"]
    );
    assert!(read_all(&ids, &json!([7.5])).is_err());
    assert_eq!(read_all(&settings(), &json!([])).unwrap(), [""; 0]);
}

#[test]
fn whatever_is_not_as_configured_is_a_failure_not_passed_over() {
    let good = json!({"id": "a", "role": "owner"});
    for bad in [
        json!("hidden"),
        json!(7),
        json!(null),
        json!(true),
        json!(["hidden"]),
        json!({}),
        json!({"id": "hidden"}),
        json!({"role": "hidden"}),
        json!({"id": "", "role": "hidden"}),
        json!({"id": "hidden", "role": ""}),
        json!({"id": "hidden", "role": null}),
        json!({"id": null, "role": "hidden"}),
        json!({"id": 7, "role": "hidden"}),
        json!({"id": "hidden", "role": 7}),
        json!({"id": "hidden", "role": ["x", ""]}),
        json!({"id": "hidden", "role": ["x", 1]}),
        json!({"id": {"id": "hidden"}, "role": "x"}),
        json!({"ID": "hidden", "role": "x"}),
    ] {
        assert!(read_all(&settings(), &json!([good, bad])).is_err(), "{bad}");
    }
}

#[test]
fn a_document_without_the_list_is_a_failure_not_an_empty_list() {
    for document in [json!({}), json!(null), json!("x"), json!({"items": []})] {
        assert!(read_all(&settings(), &document).is_err(), "{document}");
    }
    let mut nested = settings();
    nested.list = Some("data.items".to_owned());
    for document in [
        json!([]),
        json!({}),
        json!({"data": []}),
        json!({"data": {"items": null}}),
        json!({"data": {"items": {}}}),
        json!({"items": []}),
    ] {
        assert!(read_all(&nested, &document).is_err(), "{document}");
    }
}
