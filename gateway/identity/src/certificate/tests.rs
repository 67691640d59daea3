//! Certificates made on the spot, good and bad in one way each.

use std::time::Duration;

use natsgate_core::clock::from_unix_seconds;
use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::*;
use crate::testing::HandClock;

/// 2027-01-01, before [`crate::testing::START`].
const NOT_BEFORE: i64 = 1_798_761_600;
/// 2028-01-01.
const NOT_AFTER: i64 = 1_830_297_600;

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example, Inc.");
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params.subject_alt_names = vec![
        SanType::DnsName(ia5("A.svc.example")),
        SanType::Rfc822Name(ia5("alice@corp.example")),
        SanType::URI(ia5("spiffe://prod.example/ns/a")),
    ];
    params
}

fn chain_of(params: &CertificateParams, issuer: &CertifiedIssuer<'_, KeyPair>) -> CertificateChain {
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap();
    CertificateChain(vec![leaf.pem(), issuer.pem()])
}

fn settings(subject_from: SubjectFrom) -> CertificateSettings {
    let mut settings = CertificateSettings::new("edge", subject_from);
    if subject_from == SubjectFrom::SpiffeId {
        settings.allowed.spiffe_trust_domains = vec!["prod.example".to_owned()];
    }
    settings
}

fn identify(settings: CertificateSettings, chain: &CertificateChain) -> Result<Identity, Denial> {
    let provider = CertificateProvider::new(settings, HandClock::new()).unwrap();
    let outcome = provider.identify_chain(chain);
    if let Err(denial) = &outcome {
        for hidden in ["alice", "svc.example", "mallory"] {
            assert!(!denial.to_string().contains(hidden), "{denial}");
        }
    }
    outcome
}

fn reason(subject_from: SubjectFrom, change: impl FnOnce(&mut CertificateParams)) -> DenialReason {
    let mut params = params();
    change(&mut params);
    let chain = chain_of(&params, &authority("CA"));
    identify(settings(subject_from), &chain).unwrap_err().reason
}

const ALL: [SubjectFrom; 6] = [
    SubjectFrom::SubjectDn,
    SubjectFrom::CommonName,
    SubjectFrom::SanDns,
    SubjectFrom::SanEmail,
    SubjectFrom::SanUri,
    SubjectFrom::SpiffeId,
];

#[test]
fn each_kind_of_name_is_a_subject() {
    let authority = authority("CA");
    let chain = chain_of(&params(), &authority);
    for (subject_from, subject) in ALL.into_iter().zip([
        "CN=alice,O=Example\\, Inc.",
        "alice",
        "a.svc.example",
        "alice@corp.example",
        "spiffe://prod.example/ns/a",
        "spiffe://prod.example/ns/a",
    ]) {
        let identity = identify(settings(subject_from), &chain).unwrap();
        assert_eq!(identity.principal, Principal::new("x509", subject));
        assert_eq!(
            (identity.provider.as_str(), &identity.evidence),
            ("edge", &Evidence::Certificate)
        );
        assert_eq!(identity.issued_at, from_unix_seconds(NOT_BEFORE));
        assert_eq!(Some(identity.expires_at), from_unix_seconds(NOT_AFTER));
        let claims = &identity.claims;
        assert_eq!(claims["common_name"], "alice");
        assert_eq!(claims["subject_dn"], "CN=alice,O=Example\\, Inc.");
        assert_eq!(claims["issuer_dn"], "CN=CA");
        assert_eq!(claims["san_dns"], serde_json::json!(["A.svc.example"]));
        assert_eq!(claims["san_email"], serde_json::json!(["alice@corp.example"]));
        assert_eq!(claims["fingerprint_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(
            claims.contains_key("spiffe_id"),
            subject_from == SubjectFrom::SpiffeId
        );
    }
}

#[test]
fn a_certificate_counts_only_between_its_times() {
    let chain = chain_of(&params(), &authority("CA"));
    let clock = HandClock::new();
    let provider = CertificateProvider::new(settings(SubjectFrom::CommonName), clock.clone()).unwrap();
    let at = |seconds: i64| {
        let target = from_unix_seconds(seconds).unwrap();
        match target.duration_since(clock.now()) {
            Ok(ahead) => clock.advance(ahead),
            Err(behind) => clock.set_back(behind.duration()),
        }
        provider
            .identify_chain(&chain)
            .map(|_| ())
            .map_err(|denial| denial.reason)
    };
    assert_eq!(at(NOT_BEFORE - 1), Err(DenialReason::NotYetValid));
    assert_eq!(at(NOT_BEFORE), Ok(()));
    assert_eq!(at(NOT_AFTER - 1), Ok(()));
    assert_eq!(at(NOT_AFTER), Err(DenialReason::Expired));
}

#[test]
fn a_certificate_that_is_not_for_clients_is_refused() {
    let with = |usages: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = params();
        params.extended_key_usages = usages;
        let chain = chain_of(&params, &authority("CA"));
        identify(settings(SubjectFrom::CommonName), &chain)
            .map(|_| ())
            .map_err(|denial| denial.reason)
    };
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    for good in [vec![], vec![ClientAuth], vec![ServerAuth, ClientAuth], vec![Any]] {
        assert_eq!(with(good), Ok(()));
    }
    assert_eq!(with(vec![ServerAuth]), Err(DenialReason::BadCertificate));
}

#[test]
fn none_or_several_of_a_name_name_nobody() {
    for subject_from in ALL {
        assert_eq!(
            reason(subject_from, |params| {
                params.subject_alt_names.clear();
                params.distinguished_name = DistinguishedName::new();
            }),
            DenialReason::BadCertificate,
            "{subject_from:?}"
        );
    }
    for (subject_from, more) in [
        (SubjectFrom::SanDns, SanType::DnsName(ia5("mallory.example"))),
        (
            SubjectFrom::SanEmail,
            SanType::Rfc822Name(ia5("mallory@corp.example")),
        ),
        (SubjectFrom::SanUri, SanType::URI(ia5("urn:mallory"))),
        // X.509-SVID section 2: exactly one URI, of whatever scheme.
        (
            SubjectFrom::SpiffeId,
            SanType::URI(ia5("https://mallory.example/")),
        ),
    ] {
        assert_eq!(
            reason(subject_from, |params| params.subject_alt_names.push(more)),
            DenialReason::BadCertificate
        );
    }
    // A second common name: rcgen knows a type once, so it goes in as a custom type of the same id.
    let twice = |params: &mut CertificateParams| {
        let common_name = DnType::CustomDnType(vec![2, 5, 4, 3]);
        params.distinguished_name.push(common_name, "mallory");
    };
    assert_eq!(
        reason(SubjectFrom::CommonName, twice),
        DenialReason::BadCertificate
    );
}

#[test]
fn names_that_are_no_names_are_refused() {
    for name in ["*.svc.example", "", "a b"] {
        let change =
            |params: &mut CertificateParams| params.subject_alt_names = vec![SanType::DnsName(ia5(name))];
        assert_eq!(
            reason(SubjectFrom::SanDns, change),
            DenialReason::BadCertificate,
            "{name:?}"
        );
    }
    for name in ["", "ali\0ce", "alice\n"] {
        let change = |params: &mut CertificateParams| {
            params
                .distinguished_name
                .push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
        };
        assert_eq!(
            reason(SubjectFrom::CommonName, change),
            DenialReason::BadCertificate,
            "{name:?}"
        );
    }
    let no_domain =
        |params: &mut CertificateParams| params.subject_alt_names = vec![SanType::Rfc822Name(ia5("alice"))];
    assert_eq!(
        reason(SubjectFrom::SanEmail, no_domain),
        DenialReason::BadCertificate
    );
}

#[test]
fn a_spiffe_id_is_a_workload_s_and_of_an_allowed_trust_domain() {
    for uri in [
        "spiffe://prod.example",
        "spiffe://prod.example/",
        "spiffe://other.example/ns/a",
        "spiffe://prod.example.evil/ns/a",
        "https://prod.example/ns/a",
    ] {
        let change = |params: &mut CertificateParams| params.subject_alt_names = vec![SanType::URI(ia5(uri))];
        assert_eq!(
            reason(SubjectFrom::SpiffeId, change),
            DenialReason::BadCertificate,
            "{uri}"
        );
    }
    let ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(reason(SubjectFrom::SpiffeId, ca), DenialReason::BadCertificate);
    let signs = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    assert_eq!(reason(SubjectFrom::SpiffeId, signs), DenialReason::BadCertificate);
}

#[test]
fn limits_are_held_at_the_borders_of_names() {
    let chain = chain_of(&params(), &authority("CA"));
    let with = |subject_from, change: &dyn Fn(&mut CertificateSettings)| {
        let mut settings = settings(subject_from);
        change(&mut settings);
        identify(settings, &chain).is_ok()
    };
    for (suffix, good) in [
        ("svc.example", true),
        ("SVC.Example", true),
        ("a.svc.example", true),
        ("vc.example", false),
        ("other.example", false),
    ] {
        let change =
            |settings: &mut CertificateSettings| settings.allowed.dns_suffixes = vec![suffix.to_owned()];
        assert_eq!(with(SubjectFrom::SanDns, &change), good, "{suffix}");
    }
    for (domain, good) in [("corp.example", true), ("example", false), ("orp.example", false)] {
        let change =
            |settings: &mut CertificateSettings| settings.allowed.email_domains = vec![domain.to_owned()];
        assert_eq!(with(SubjectFrom::SanEmail, &change), good, "{domain}");
    }
    for (prefix, good) in [("spiffe://prod.example/", true), ("spiffe://prod/", false)] {
        let change =
            |settings: &mut CertificateSettings| settings.allowed.uri_prefixes = vec![prefix.to_owned()];
        assert_eq!(with(SubjectFrom::SanUri, &change), good, "{prefix}");
    }
}

#[test]
fn a_pinned_authority_must_be_above_the_certificate() {
    let (ours, other) = (authority("CA"), authority("CA"));
    let print = |der: &[u8]| data_encoding::HEXUPPER.encode(&Sha256::digest(der));
    let chain = chain_of(&params(), &ours);
    let with = |fingerprint: String| {
        let mut settings = settings(SubjectFrom::CommonName);
        settings.allowed.ca_fingerprints = vec![fingerprint];
        identify(settings, &chain)
            .map(|_| ())
            .map_err(|denial| denial.reason)
    };
    assert_eq!(with(print(ours.der())), Ok(()));
    assert_eq!(with(print(other.der())), Err(DenialReason::BadCertificate));
    // The certificate itself is not an authority above it.
    let own = der_of(&chain.0[0]).unwrap();
    assert_eq!(with(print(&own)), Err(DenialReason::BadCertificate));
}

#[test]
fn what_cannot_be_read_names_nobody() {
    let good = chain_of(&params(), &authority("CA")).0.remove(0);
    let refused = |chain: Vec<String>| {
        identify(settings(SubjectFrom::CommonName), &CertificateChain(chain))
            .unwrap_err()
            .reason
    };
    assert_eq!(refused(vec![]), DenialReason::NoCredentials);
    for bad in [
        String::new(),
        "garbage".to_owned(),
        good.replace("CERTIFICATE", "PUBLIC KEY"),
        format!("{good}{good}"),
        good.replacen('M', "A", 1),
        format!("{good}{}", " ".repeat(64 * 1024)),
    ] {
        assert_eq!(refused(vec![bad]), DenialReason::BadCertificate);
    }
    assert_eq!(refused(vec![good; 17]), DenialReason::BadCertificate);
    // An alternative name that is not text beside one that is, and an extension that is not what it says.
    for (oid, content) in [
        (
            &[2, 5, 29, 17][..],
            b"\x30\x09\x82\x03a.b\x82\x02\xff\xfe".to_vec(),
        ),
        (&[2, 5, 29, 37], vec![0x04, 0x00]),
    ] {
        let broken = |params: &mut CertificateParams| {
            params.subject_alt_names.clear();
            let oid: Vec<u64> = oid.to_vec();
            params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, content)];
        };
        assert_eq!(reason(SubjectFrom::SanDns, broken), DenialReason::BadCertificate);
    }
}

#[tokio::test]
async fn a_token_is_not_a_certificate() {
    let provider = CertificateProvider::new(settings(SubjectFrom::CommonName), HandClock::new()).unwrap();
    let token = Credential::Token("alice".to_owned().into());
    let outcome = provider
        .identify(&token, Deadline::after(Duration::from_secs(20)))
        .await;
    assert!(matches!(outcome, Err(Failure::Denied(denial)) if denial.reason == DenialReason::NoCredentials));
}

proptest! {
    #[test]
    fn garbage_is_denied_and_never_a_panic(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            data_encoding::BASE64.encode(&bytes)
        );
        for subject_from in ALL {
            for garbage in [&text, &pem] {
                let chain = CertificateChain(vec![garbage.clone()]);
                prop_assert!(identify(settings(subject_from), &chain).is_err());
            }
        }
    }

    #[test]
    fn a_certificate_with_bytes_changed_is_read_or_denied(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            der_of(&chain_of(&params(), &authority("CA")).0[0]).unwrap()
        });
        let mut der = GOOD.clone();
        for (at, to) in changes {
            let at = at.index(der.len());
            der[at] = to;
        }
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            data_encoding::BASE64.encode(&der)
        );
        for subject_from in ALL {
            let provider = CertificateProvider::new(settings(subject_from), HandClock::new()).unwrap();
            // Whether it is refused depends on what was hit; that it is looked at without harm does not.
            let _outcome = provider.identify_chain(&CertificateChain(vec![pem.clone()]));
        }
    }
}
