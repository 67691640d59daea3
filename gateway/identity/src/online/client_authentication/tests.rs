//! The proofs as they go out.

use std::time::Duration;

use serde_json::Value;

use super::*;

async fn sent(authentication: &ClientAuthentication) -> (Option<String>, String) {
    let request = reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap()
        .post("http://127.0.0.1/");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let request = authentication
        .apply(request, &[("token", "t+t")], now)
        .unwrap()
        .build()
        .unwrap();
    let header = request.headers().get("authorization").map(|value| {
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    });
    let body = request.body().unwrap().as_bytes().unwrap();
    (header, String::from_utf8(body.to_vec()).unwrap())
}

fn made(settings: &ClientAuthenticationSettings) -> Result<ClientAuthentication, SettingsError> {
    ClientAuthentication::new(settings, "nats:gate", "https://idp.example", "key")
}

#[tokio::test]
async fn a_secret_goes_into_the_header_or_the_form_encoded() {
    let secret = ClientSecretSettings::of("p w:+");
    let basic = made(&ClientAuthenticationSettings::ClientSecretBasic(secret.clone())).unwrap();
    let (header, body) = sent(&basic).await;
    let expected = data_encoding::BASE64.encode(b"nats%3Agate:p+w%3A%2B");
    assert_eq!(header, Some(format!("Basic {expected}")));
    assert_eq!(body, "token=t%2Bt");

    let post = made(&ClientAuthenticationSettings::ClientSecretPost(secret.clone())).unwrap();
    let (header, body) = sent(&post).await;
    assert_eq!(header, None);
    assert_eq!(
        body,
        format!("token=t%2Bt&client_id=nats%3Agate&client_secret=p+w%3A%2B")
    );
    assert!(!format!("{secret:?} {basic:?} {post:?}").contains("p w"));

    let (header, body) = sent(&made(&ClientAuthenticationSettings::TlsClientAuth).unwrap()).await;
    assert_eq!(
        (header, body.as_str()),
        (None, "token=t%2Bt&client_id=nats%3Agate")
    );
}

#[tokio::test]
async fn an_assertion_is_short_lived_used_once_and_signed_with_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key.pem");
    for (kind, algorithm) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384),
        (&rcgen::PKCS_ED25519, Algorithm::EdDSA),
    ] {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        std::fs::write(&key_file, pair.serialize_pem()).unwrap();
        let settings = PrivateKeyJwtSettings {
            key_file: key_file.clone(),
            algorithm,
            key_id: Some("k1".to_owned()),
            audience: None,
        };
        let by_key = made(&ClientAuthenticationSettings::PrivateKeyJwt(settings.clone())).unwrap();
        let (header, body) = sent(&by_key).await;
        assert_eq!(header, None);
        let form: std::collections::HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        let assertion = &form["client_assertion"];
        let parts: Vec<&str> = assertion.split('.').collect();
        let part = |n: usize| -> Value {
            serde_json::from_slice(&BASE64URL_NOPAD.decode(parts[n].as_bytes()).unwrap()).unwrap()
        };
        assert_eq!(
            part(0),
            json!({"alg": algorithm.name(), "typ": "JWT", "kid": "k1"})
        );
        let claims = part(1);
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!("nats:gate"), &json!("nats:gate"))
        );
        assert_eq!(claims["aud"], "https://idp.example");
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000), &json!(1_060)));
        let (_, again) = sent(&by_key).await;
        assert_ne!(again, body, "the id is new each time");

        // The wrong algorithm for the key is found out at the start, without a word of the key.
        let wrong = PrivateKeyJwtSettings {
            algorithm: Algorithm::RS256,
            ..settings
        };
        let error = made(&ClientAuthenticationSettings::PrivateKeyJwt(wrong)).unwrap_err();
        assert_eq!(error.key, "key.private_key_jwt.key_file");
        assert!(error.problem.contains("RS256"), "{error}");
    }
}

#[test]
fn secrets_are_read_from_files_and_what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let from_file = || {
        made(&ClientAuthenticationSettings::ClientSecretPost(
            ClientSecretSettings {
                secret: None,
                secret_file: Some(path.clone()),
            },
        ))
    };
    let error = from_file().unwrap_err();
    assert_eq!(error.key, "key.secret_file");
    std::fs::write(&path, "\n").unwrap();
    assert!(from_file().unwrap_err().problem.contains("empty"));
    std::fs::write(&path, "hidden\n").unwrap();
    match from_file().unwrap().method {
        Method::Post(secret) => assert_eq!(secret.expose_secret(), "hidden"),
        _ => panic!("another method"),
    }
}
