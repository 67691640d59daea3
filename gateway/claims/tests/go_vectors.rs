//! Holds this crate against Go's `jwt/v2` and `nkeys`, from which every nats-server is built: what they wrote is read
//! with every field, and what is written from it has their digests and, but for what is empty, their very claims.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of a test file for no tests"
)]

use data_encoding::{BASE64, BASE64URL_NOPAD};
use natsgate_claims::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// Any time before the vectors' `exp`.
const NOW: i64 = 2_000_000_000;

struct Vectors(Value);

impl Vectors {
    fn load() -> Self {
        Self(serde_json::from_str(include_str!("vectors/go-jwt.json")).unwrap())
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap()
    }

    fn token(&self, name: &str) -> &str {
        self.text(&format!("/tokens/{name}"))
    }

    fn public(&self, name: &str) -> &str {
        self.text(&format!("/public/{name}"))
    }

    fn seed(&self, name: &str) -> SecretString {
        self.text(&format!("/seeds/{name}")).into()
    }

    fn key(&self, name: &str, role: Role) -> KeyPair {
        KeyPair::from_seed(&self.seed(name), role).unwrap()
    }
}

fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

/// Without the empty objects that Go writes, in a fixed order of signing keys.
fn tidy(mut value: Value) -> Value {
    let nats = value.get_mut("nats").unwrap().as_object_mut().unwrap();
    nats.retain(|_, field| *field != json!({}));
    if let Some(Value::Array(keys)) = nats.get_mut("signing_keys") {
        keys.sort_by_key(ToString::to_string);
    }
    value
}

/// Reads `token`, signs the same again at the same second, and compares all claims.
fn signed_again_is_the_same<B: ClaimsBody>(token: &str, signer: &KeyPair) {
    let claims = decode::<B>(token, NOW).unwrap();
    let issued_at = claims.issued_at;
    let again = encode(ClaimsToSign::from(claims), signer, issued_at).unwrap();
    assert_eq!(tidy(payload(&again)), tidy(payload(token)));
}

#[test]
fn keys_of_every_role_have_the_text_that_go_gives_them() {
    let vectors = Vectors::load();
    for (name, role) in [
        ("operator", Role::Operator),
        ("account", Role::Account),
        ("user", Role::User),
        ("server", Role::Server),
        ("cluster", Role::Cluster),
    ] {
        let key = vectors.key(name, role);
        assert_eq!(key.public_key(), vectors.public(name));
        assert_eq!(
            key.seed().unwrap().expose_secret(),
            vectors.seed(name).expose_secret()
        );
        check_public_key(vectors.public(name), role).unwrap();
    }
    let xkey = XKeyPair::from_seed(&vectors.seed("xkey")).unwrap();
    assert_eq!(xkey.public_key(), vectors.public("xkey"));
    assert_eq!(xkey.seed().expose_secret(), vectors.seed("xkey").expose_secret());
    check_public_key(vectors.public("xkey"), Role::Curve).unwrap();
}

#[test]
fn what_go_sealed_opens() {
    let vectors = Vectors::load();
    let ours = XKeyPair::from_seed(&vectors.seed("xkey")).unwrap();
    let sealed = BASE64.decode(vectors.text("/sealed/sealed").as_bytes()).unwrap();
    let opened = ours.open(&sealed, vectors.public("server_xkey")).unwrap();
    assert_eq!(opened.as_slice(), vectors.text("/sealed/plain").as_bytes());
}

#[test]
fn every_kind_signed_again_says_what_go_said_and_has_its_jti() {
    let vectors = Vectors::load();
    // The operator's name has what Go escapes in JSON, which the digest is over.
    signed_again_is_the_same::<OperatorBody>(
        vectors.token("operator"),
        &vectors.key("operator", Role::Operator),
    );
    signed_again_is_the_same::<AccountBody>(
        vectors.token("account"),
        &vectors.key("operator_signing", Role::Operator),
    );
    signed_again_is_the_same::<UserBody>(
        vectors.token("user_scoped"),
        &vectors.key("scoped", Role::Account),
    );
    let server = vectors.key("server", Role::Server);
    signed_again_is_the_same::<AuthorizationRequest>(vectors.token("request"), &server);
    signed_again_is_the_same::<AuthorizationRequest>(vectors.token("request_minimal"), &server);
    signed_again_is_the_same::<AuthorizationResponse>(
        vectors.token("response"),
        &vectors.key("plain", Role::Account),
    );
    signed_again_is_the_same::<AuthorizationResponse>(
        vectors.token("response_error"),
        &vectors.key("account", Role::Account),
    );
}

#[test]
fn an_operator_is_read_with_every_field() {
    let vectors = Vectors::load();
    let claims = decode::<OperatorBody>(vectors.token("operator"), NOW).unwrap();
    assert_eq!(claims.name.as_deref(), Some("O <&> \u{2028} é"));
    let expected = OperatorBody {
        signing_keys: vec![vectors.public("operator_signing").into()],
        account_server_url: Some("https://example.com/jwt/v1".into()),
        operator_service_urls: vec!["nats://example.com:4222".into()],
        system_account: Some(vectors.public("other").into()),
        assert_server_version: Some("2.10.0".into()),
        strict_signing_key_usage: true,
        tags: vec!["a:b".into()],
        unknown: Unknown::default(),
    };
    assert_eq!(claims.body, expected);
}

#[test]
fn an_account_is_read_with_every_field() {
    let vectors = Vectors::load();
    let claims = decode::<AccountBody>(vectors.token("account"), NOW).unwrap();
    assert_eq!(claims.issuer, vectors.public("operator_signing"));
    assert_eq!(claims.subject, vectors.public("account"));
    assert_eq!(claims.audience.as_deref(), Some("somebody"));
    assert_eq!(claims.expires_at, Some(4_000_000_000));
    assert_eq!(claims.not_before, Some(1000));
    assert_eq!(claims.name.as_deref(), Some("APP"));
    let body = claims.body;
    assert!(
        body.signing_keys
            .contains(&SigningKey::Plain(vectors.public("plain").into()))
    );
    let Some(SigningKey::Scoped(scope)) = body.signing_key(vectors.public("scoped")) else {
        panic!("no scoped key");
    };
    assert_eq!(
        (scope.role.as_str(), scope.description.as_str()),
        ("member", "of a project")
    );
    let template = UserPermissionLimits {
        publish: Permission {
            allow: vec!["projects.{{tag(project)}}.in.>".into()],
            deny: vec![],
        },
        subscribe: Permission {
            allow: vec!["projects.{{tag(project)}}.>".into(), "q.> workers".into()],
            deny: vec![],
        },
        responses: Some(ResponsePermission {
            max_messages: 3,
            ttl_nanoseconds: 1_000_000_000,
        }),
        subs: 7,
        allowed_connection_types: vec!["WEBSOCKET".into()],
        ..UserPermissionLimits::unlimited()
    };
    assert_eq!(scope.template, template);
    assert_eq!(body.authorization.auth_users, [vectors.public("user")]);
    assert_eq!(body.authorization.allowed_accounts, [vectors.public("other")]);
    assert_eq!(body.authorization.xkey.as_deref(), Some(vectors.public("xkey")));
    assert_eq!(body.default_permissions.publish.deny, ["secret.>"]);
    assert_eq!(body.default_permissions.subscribe.allow, ["open.>"]);
    let limits = Limits {
        conn: 12,
        disallow_bearer: true,
        ..Limits::unlimited()
    };
    assert_eq!(body.limits.tiered_limits.len(), 1);
    assert_eq!(
        Limits {
            tiered_limits: Default::default(),
            ..body.limits
        },
        limits
    );
    assert_eq!(body.revocations.get("*"), Some(&5));
    assert_eq!(body.revocations.get(vectors.public("user")), Some(&9));
    assert_eq!(
        (body.imports.len(), body.exports.len(), body.mappings.len()),
        (1, 1, 1)
    );
    assert_eq!(body.trace, Some(json!({"dest": "trace.here", "sampling": 25})));
    assert_eq!(body.cluster_traffic.as_deref(), Some("owner"));
    assert_eq!(body.description.as_deref(), Some("an account"));
    assert_eq!(body.info_url.as_deref(), Some("https://example.com/"));
    assert_eq!(body.tags, ["env:test"]);
    assert!(body.unknown.is_empty());
}

#[test]
fn a_user_is_read_with_every_field() {
    let vectors = Vectors::load();
    let claims = decode::<UserBody>(vectors.token("user"), NOW).unwrap();
    assert_eq!(claims.issuer, vectors.public("plain"));
    assert_eq!(claims.audience.as_deref(), Some("APP"));
    let limits = UserPermissionLimits {
        publish: Permission {
            allow: vec!["a.>".into(), "b".into()],
            deny: vec!["a.x".into()],
        },
        subscribe: Permission {
            allow: vec!["c".into(), "q.> workers".into()],
            deny: vec!["d.*".into()],
        },
        responses: Some(ResponsePermission {
            max_messages: 5,
            ttl_nanoseconds: 3_000_000_000,
        }),
        source_networks: vec!["192.0.2.0/24".into(), "2001:db8::/32".into()],
        times: vec![TimeRange {
            start: "08:00:00".into(),
            end: "18:00:00".into(),
        }],
        times_location: Some("Europe/Berlin".into()),
        subs: 10,
        data: NO_LIMIT,
        payload: 0,
        bearer_token: true,
        proxy_required: true,
        allowed_connection_types: vec!["STANDARD".into(), "MQTT".into()],
        unknown: Unknown::default(),
    };
    let expected = UserBody::with(limits)
        .of_account(vectors.public("account"))
        .tagged(["project:apollo"]);
    assert_eq!(claims.body, expected);
}

#[test]
fn a_scoped_user_is_read_as_one() {
    let vectors = Vectors::load();
    let claims = decode::<UserBody>(vectors.token("user_scoped"), NOW).unwrap();
    assert_eq!(
        claims.body,
        UserBody::scoped(vectors.public("account")).tagged(["project:apollo"])
    );
}

#[test]
fn a_request_is_read_with_every_field() {
    let vectors = Vectors::load();
    let claims = decode::<AuthorizationRequest>(vectors.token("request"), NOW).unwrap();
    assert_eq!(claims.issuer, vectors.public("server"));
    assert_eq!(claims.subject, vectors.public("account"));
    let body = claims.body;
    let server = ServerId {
        name: "n1".into(),
        host: "0.0.0.0".into(),
        id: vectors.public("server").into(),
        version: "2.15.1".into(),
        cluster: "c1".into(),
        tags: vec!["dc:1".into()],
        xkey: Some(vectors.public("server_xkey").into()),
    };
    assert_eq!(body.server_id, server);
    assert_eq!(body.user_nkey, vectors.public("user"));
    let info = &body.client_info;
    assert_eq!(
        (info.host.as_str(), info.id, info.name.as_str()),
        ("127.0.0.1", 42, "cli")
    );
    assert_eq!(secret(&info.user), "alice");
    assert_eq!(
        (info.tags.as_slice(), info.name_tag.as_str()),
        (&["t".to_owned()][..], "nt")
    );
    assert_eq!(
        (info.kind.as_str(), info.client_type.as_str()),
        ("Client", "mqtt")
    );
    assert_eq!((info.mqtt_id.as_str(), info.nonce.as_str()), ("m1", "nonce"));
    let options = &body.connect_opts;
    assert_eq!(secret(&options.jwt), "a-jwt");
    assert_eq!(secret(&options.signature), "a-sig");
    assert_eq!(secret(&options.auth_token), "a-token");
    assert_eq!(secret(&options.password), "a-pass");
    assert_eq!(
        (options.nkey.as_str(), options.user.as_str()),
        (vectors.public("user"), "alice")
    );
    assert_eq!((options.name.as_str(), options.lang.as_str()), ("cli", "rust"));
    assert_eq!((options.version.as_str(), options.protocol), ("1.0", 1));
    let tls = ClientTls {
        version: "1.3".into(),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        certs: vec!["leaf".into()],
        verified_chains: vec![vec!["leaf".into(), "ca".into()], vec!["leaf2".into()]],
    };
    assert_eq!(body.client_tls, Some(tls));
    assert_eq!(body.request_nonce.as_deref(), Some("rn"));
}

fn secret(secret: &Option<SecretString>) -> &str {
    secret.as_ref().unwrap().expose_secret()
}

#[test]
fn a_response_is_read() {
    let vectors = Vectors::load();
    let claims = decode::<AuthorizationResponse>(vectors.token("response"), NOW).unwrap();
    assert_eq!(claims.audience.as_deref(), Some(vectors.public("server")));
    let expected =
        AuthorizationResponse::granted(vectors.token("user")).of_account(vectors.public("account"));
    assert_eq!(claims.body, expected);
    let claims = decode::<AuthorizationResponse>(vectors.token("response_error"), NOW).unwrap();
    assert_eq!(claims.body, AuthorizationResponse::denied("no"));
}

#[test]
fn go_s_credentials_file_is_read_and_written_as_it_was() {
    let vectors = Vectors::load();
    let credentials = Credentials::parse(vectors.text("/creds")).unwrap();
    assert_eq!(
        credentials.seed.expose_secret(),
        vectors.seed("user").expose_secret()
    );
    assert_eq!(credentials.format().as_str(), vectors.text("/creds"));
}
