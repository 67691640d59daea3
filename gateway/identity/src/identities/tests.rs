//! Both kinds together.

use std::sync::Arc;

use natsgate_core::CertificateChain;

use super::*;
use crate::settings::certificate::{CertificateSettings, SubjectFrom};
use crate::settings::oidc::OidcSettings;
use crate::testing::{HandClock, TestCache, soon};

fn certificates(name: &str, issuer: &str) -> CertificateProvider {
    let mut settings = CertificateSettings::new(name, SubjectFrom::CommonName);
    settings.issuer = issuer.to_owned();
    CertificateProvider::new(settings, HandClock::new()).unwrap()
}

fn tokens(name: &str, issuer: &str) -> OidcProvider {
    let settings = OidcSettings::new(name, issuer, vec!["nats".to_owned()]);
    OidcProvider::new(settings, HandClock::new(), Arc::new(TestCache::default())).unwrap()
}

fn chain() -> Credential {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    Credential::Certificate(CertificateChain(vec![certificate.pem()]))
}

async fn reason(identities: &Identities, credential: &Credential) -> DenialReason {
    match identities.identify(credential, soon()).await {
        Err(Failure::Denied(denial)) => denial.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_credential_goes_to_those_of_its_kind() {
    let token = Credential::Token("a.b.c".to_owned().into());
    let both = Identities::new(
        vec![tokens("corp", "https://a.example")],
        vec![certificates("edge", "x509")],
    )
    .unwrap();
    let identity = both.identify(&chain(), soon()).await.unwrap();
    assert_eq!(identity.principal.to_string(), "alice of x509");
    assert_eq!(both.confirm(&chain(), &identity, soon()).await, Ok(None));
    assert_eq!(reason(&both, &token).await, DenialReason::MalformedToken);
    assert!(both.takes_certificates() && both.providers().count() == 1);

    let only = Identities::new(vec![], vec![certificates("edge", "x509")]).unwrap();
    assert!(only.identify(&chain(), soon()).await.is_ok());
    assert_eq!(reason(&only, &token).await, DenialReason::NoCredentials);
    let only = Identities::new(vec![tokens("corp", "https://a.example")], vec![]).unwrap();
    assert_eq!(reason(&only, &chain()).await, DenialReason::NoCredentials);
}

#[tokio::test]
async fn the_first_that_accepts_a_certificate_names_its_owner() {
    let mut settings = CertificateSettings::new("mail", SubjectFrom::SanEmail);
    settings.issuer = "mail".to_owned();
    let by_mail = |settings: &CertificateSettings| {
        CertificateProvider::new(settings.clone(), HandClock::new()).unwrap()
    };
    let both = Identities::new(vec![], vec![by_mail(&settings), certificates("edge", "x509")]).unwrap();
    assert_eq!(both.identify(&chain(), soon()).await.unwrap().provider, "edge");
    let mut another = settings.clone();
    another.name = "mail2".to_owned();
    another.issuer = "mail2".to_owned();
    let neither = Identities::new(vec![], vec![by_mail(&settings), by_mail(&another)]).unwrap();
    assert_eq!(reason(&neither, &chain()).await, DenialReason::BadCertificate);
}

#[tokio::test]
async fn no_two_providers_of_any_kind_are_mistaken_for_each_other() {
    let make = |tokens: Vec<OidcProvider>, certificates: Vec<CertificateProvider>| {
        Identities::new(tokens, certificates)
            .map(|_| ())
            .map_err(|error| error.key)
    };
    assert_eq!(make(vec![], vec![]).unwrap_err(), "providers");
    let same_name = make(
        vec![tokens("edge", "https://a.example")],
        vec![certificates("edge", "x509")],
    );
    assert_eq!(same_name.unwrap_err(), "certificates[edge].name");
    let same_issuer = make(
        vec![tokens("corp", "https://a.example")],
        vec![certificates("edge", "https://a.example")],
    );
    assert_eq!(same_issuer.unwrap_err(), "certificates[edge].issuer");
    let twice = make(vec![], vec![certificates("a", "x509"), certificates("b", "x509")]);
    assert_eq!(twice.unwrap_err(), "certificates[b].issuer");
}
