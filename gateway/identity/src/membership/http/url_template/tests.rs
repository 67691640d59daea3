use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::identity;

fn fill(template: &str, subject: &str) -> Result<String, DenialReason> {
    let template = UrlTemplate::parse(template, false).unwrap();
    match template.fill(&identity("https://idp.example/a", subject)) {
        Ok(url) => Ok(url.to_string()),
        Err(denial) => {
            assert!(subject.len() < 3 || !denial.detail.contains(subject), "{denial}");
            Err(denial.reason)
        }
    }
}

const IN_PATH: &str = "https://api.example/users/{principal.subject}/projects";
const IN_QUERY: &str = "https://api.example/projects?user={principal.subject}&all=1";

#[test]
fn values_are_encoded_where_they_stand() {
    for (subject, encoded) in [
        ("alice", "alice"),
        ("a.b-c_d~e", "a.b-c_d~e"),
        ("alice@example.com", "alice%40example.com"),
        ("a?b=c", "a%3Fb%3Dc"),
        ("a#b", "a%23b"),
        ("a&all=0", "a%26all%3D0"),
        ("a;b=c", "a%3Bb%3Dc"),
        ("a b+c", "a%20b%2Bc"),
        ("%2e%2e", "%252e%252e"),
        ("%2e%2e%2f", "%252e%252e%252f"),
        ("...", "..."),
        ("user:pw@evil.example", "user%3Apw%40evil.example"),
        ("\r\nHost: evil", "%0D%0AHost%3A%20evil"),
        ("a\0\t\nb", "a%00%09%0Ab"),
        ("zoë☃", "zo%C3%AB%E2%98%83"),
        ("．．", "%EF%BC%8E%EF%BC%8E"),
    ] {
        assert_eq!(
            fill(IN_PATH, subject).unwrap(),
            format!("https://api.example/users/{encoded}/projects")
        );
        assert_eq!(
            fill(IN_QUERY, subject).unwrap(),
            format!("https://api.example/projects?user={encoded}&all=1")
        );
    }
}

#[test]
fn values_that_would_move_in_the_path_are_refused_there_and_encoded_in_the_query() {
    for (subject, encoded) in [
        (".", "."),
        ("..", ".."),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a/b", "a%2Fb"),
        ("/", "%2F"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("..\\..\\admin", "..%5C..%5Cadmin"),
        ("https://evil.example/", "https%3A%2F%2Fevil.example%2F"),
    ] {
        assert_eq!(
            fill(IN_PATH, subject),
            Err(DenialReason::UnsafeValue),
            "{subject}"
        );
        assert_eq!(
            fill(IN_QUERY, subject).unwrap(),
            format!("https://api.example/projects?user={encoded}&all=1")
        );
    }
    // Wherever in the path, and together with what stands beside it.
    for (template, subject) in [
        ("https://api.example/{principal.subject}", "."),
        ("https://api.example/{principal.subject}", ".."),
        ("https://api.example/users/{principal.subject}", "."),
        ("https://api.example/users/{principal.subject}", ".."),
        ("https://api.example/users/{principal.subject}?x=1", ".."),
        ("https://api.example/users/.{principal.subject}/x", "."),
        ("https://api.example/users/%2e{principal.subject}/x", "."),
        ("https://api.example/{principal.subject}/{principal.subject}", "."),
        (
            "https://api.example/{principal.subject}/{principal.subject}/",
            "..",
        ),
    ] {
        assert_eq!(
            fill(template, subject),
            Err(DenialReason::UnsafeValue),
            "{template} {subject}"
        );
    }
    assert!(fill("https://api.example/users/u-{principal.subject}/x", "..").is_ok());
}

#[test]
fn all_placeholders_are_filled() {
    let template =
        "https://api.example/{principal.digest}/{claims.org.name}?i={principal.issuer}&n={claims.n}";
    let template = UrlTemplate::parse(template, false).unwrap();
    let mut identity = identity("https://idp.example/a", "alice");
    let digest = identity.principal.digest();
    identity.claims = json!({"org": {"name": "a b"}, "n": 7})
        .as_object()
        .unwrap()
        .clone();
    assert_eq!(
        template.fill(&identity).unwrap().as_str(),
        format!("https://api.example/{digest}/a%20b?i=https%3A%2F%2Fidp.example%2Fa&n=7")
    );
    assert_eq!(template.placeholders().count(), 4);
    assert_eq!(
        template.shown(),
        "https://api.example/{principal.digest}/{claims.org.name}"
    );
    identity.claims.clear();
    assert_eq!(
        template.fill(&identity).unwrap_err().reason,
        DenialReason::MissingClaim
    );
}

#[test]
fn templates_with_placeholders_elsewhere_are_refused() {
    for bad in [
        "https://api.example/users",
        "{principal.subject}",
        "{claims.scheme}://api.example/",
        "https://{claims.tenant}.example/users",
        "https://{claims.tenant}/users",
        "https:///{claims.tenant}/users",
        "https://\\{claims.tenant}/users",
        "https:\\\\{claims.tenant}/users",
        "https:{claims.tenant}/users",
        "https://api.example:{claims.port}/users",
        "https://{claims.user}@api.example/users",
        "https://api.example{claims.rest}/users",
        "https://api.example/users?{claims.name}=1",
        "https://api.example/users?a=1&{claims.name}",
        "https://api.example/users#{principal.subject}",
        "https://api.example/{principal.subject}#x",
        "http://api.example/{principal.subject}",
        "https://user:pw@api.example/{principal.subject}",
        "https://api.example/{principal.name}",
        "https://api.example/{principal.subject",
    ] {
        assert!(UrlTemplate::parse(bad, false).is_err(), "{bad}");
    }
    assert!(UrlTemplate::parse("http://api.example/{principal.subject}", true).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the value: if there is a URL at all, it is the template's but for the value, which comes out as it went in.
    #[test]
    fn no_value_changes_the_structure_of_the_url(
        path in prop_oneof![
            "\\PC{1,20}",
            "[./\\\\%?#&=;:@2efF5c+ \\r\\n\\t\\x00-]{1,12}",
            any::<String>().prop_filter("not empty", |s| !s.is_empty()),
        ],
        query in prop_oneof!["\\PC{1,20}", "[./\\\\%?#&=;:@+ \\r\\n\\t\\x00-]{1,12}"],
    ) {
        let template = "https://api.example:8443/v1/{claims.path}/pre-{claims.path}/end?a=1&q={claims.query}&z=";
        let template = UrlTemplate::parse(template, false).unwrap();
        let mut identity = identity("https://idp.example", "alice");
        identity.claims = json!({"path": path, "query": query}).as_object().unwrap().clone();
        let Ok(url) = template.fill(&identity) else {
            let dots = path == "." || path == "..";
            prop_assert!(path.contains(['/', '\\']) || dots, "{:?} is refused", path);
            return Ok(());
        };
        prop_assert_eq!(url.scheme(), "https");
        prop_assert_eq!(url.host_str(), Some("api.example"));
        prop_assert_eq!(url.port(), Some(8443));
        prop_assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None));
        let decoded = |text: &str| percent_decoded(text);
        let segments: Vec<String> = url.path_segments().unwrap().map(decoded).collect();
        prop_assert_eq!(segments, ["v1".to_owned(), path.clone(), format!("pre-{path}"), "end".to_owned()]);
        let pairs: Vec<(String, String)> = url.query_pairs().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        prop_assert_eq!(pairs, [pair("a", "1"), pair("q", &query), pair("z", "")]);
        // Nor does another reader of the text see it otherwise.
        let text = url.as_str();
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert_eq!(text.matches('/').count(), 6);
        prop_assert_eq!(text.matches('?').count(), 1);
        prop_assert_eq!(text.matches('&').count(), 2);
    }
}

/// By hand, so that the test does not trust what it tests.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let hex: Vec<u8> = rest.by_ref().take(2).copied().collect();
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
