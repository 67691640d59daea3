use natsgate_claims::{AccountBody, UserPermissionLimits, decode};

use super::*;
use crate::testing::{NOW, account_key, key, operator};

use data_encoding::{BASE64, BASE64URL_NOPAD};

const LIMIT: Duration = Duration::from_secs(20);

fn claims() -> ClaimsToSign<AccountBody> {
    ClaimsToSign::new(account_key(), AccountBody::default()).name("APP")
}

/// A shell script as a signer, with `args` as `$1`, `$2`, ….
fn shell(script: &str, args: &[&str], limit: Duration) -> OperatorSigner {
    let mut all = vec!["-c".to_owned(), script.to_owned(), "signer".to_owned()];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let command = SignerCommand::new("/bin/sh", all, operator().public_key(), limit).unwrap();
    OperatorSigner::Command(command)
}

/// What [`claims`] are signed as, and the signature.
fn input_and_signature() -> (Vec<u8>, Vec<u8>) {
    let unsigned = prepare(&claims(), operator().public_key(), NOW).unwrap();
    let input = unsigned.signing_input().to_vec();
    let signature = operator().sign(&input).unwrap();
    (input, signature)
}

async fn signed(signer: &OperatorSigner) -> Result<String, SignerError> {
    signer.sign(&claims(), NOW).await
}

#[tokio::test]
async fn a_key_at_hand_signs() {
    let signer = OperatorSigner::from_seed(&operator().seed().unwrap()).unwrap();
    assert_eq!(signer.public_key(), operator().public_key());
    let token = signed(&signer).await.unwrap();
    let read = decode::<AccountBody>(&token, NOW).unwrap();
    assert_eq!(read.issuer, operator().public_key());
    let account_seed = key(Role::Account, 1).seed().unwrap();
    assert!(matches!(
        OperatorSigner::from_seed(&account_seed),
        Err(SignerError::Key(_))
    ));
}

#[tokio::test]
async fn a_command_gets_the_bytes_and_answers_the_signature() {
    let (input, signature) = input_and_signature();
    let script = r#"read -r line || exit 4; [ "$line" = "$1" ] || exit 5; if read -r more; then exit 6; fi; echo "$2""#;
    let mut tokens = Vec::new();
    for answer in [BASE64.encode(&signature), BASE64URL_NOPAD.encode(&signature)] {
        let signer = shell(script, &[&BASE64.encode(&input), &answer], LIMIT);
        tokens.push(signed(&signer).await.unwrap());
    }
    let by_key = OperatorSigner::Key(operator());
    tokens.push(signed(&by_key).await.unwrap());
    assert!(tokens.iter().all(|token| *token == tokens[0]));
}

#[tokio::test]
async fn a_signature_that_is_not_the_operator_s_is_not_used() {
    let (input, _) = input_and_signature();
    let other = key(Role::Operator, 101).sign(&input).unwrap();
    let signer = shell("cat >/dev/null; echo $1", &[&BASE64.encode(&other)], LIMIT);
    assert!(matches!(
        signed(&signer).await,
        Err(SignerError::NotTheirs { .. })
    ));
    let digest = operator().sign(b"something else").unwrap();
    let signer = shell("cat >/dev/null; echo $1", &[&BASE64.encode(&digest)], LIMIT);
    assert!(matches!(
        signed(&signer).await,
        Err(SignerError::NotTheirs { .. })
    ));
}

#[tokio::test]
async fn an_answer_that_is_no_signature_is_refused() {
    for answer in ["", "hello", "aGVsbG8=", "\\377\\376", "two words"] {
        let signer = shell("cat >/dev/null; printf \"$1\"", &[answer], LIMIT);
        let error = signed(&signer).await.unwrap_err();
        assert!(matches!(error, SignerError::Answer { .. }), "{answer}: {error:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let signer = shell("cat >/dev/null; yes", &[], LIMIT);
    assert!(matches!(signed(&signer).await, Err(SignerError::Io { .. })));
}

#[tokio::test]
async fn a_failure_says_what_the_command_said_last() {
    let signer = shell(
        "cat >/dev/null; yes first | head -c 5000 >&2; printf '\\033[1mtoken\\nexpired\\n' >&2; exit 7",
        &[],
        LIMIT,
    );
    let error = signed(&signer).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, SignerError::Failed { .. }), "{text}");
    assert!(
        text.contains("exit status: 7") && text.ends_with("token expired"),
        "{text}"
    );
    assert!(
        text.len() < 1200 && !text.chars().any(char::is_control),
        "{text:?}"
    );
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_given_up() {
    let signer = shell(
        "echo waiting >&2; exec sleep 600",
        &[],
        Duration::from_millis(300),
    );
    let error = signed(&signer).await.unwrap_err();
    assert!(matches!(&error, SignerError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("within 0.3 s"), "{error}");
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let command = SignerCommand::new("/nowhere/signer", vec![], operator().public_key(), LIMIT).unwrap();
    let error = signed(&OperatorSigner::Command(command)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("starting the signer command /nowhere/signer"),
        "{error}"
    );
}

#[tokio::test]
async fn a_command_may_be_deaf_to_a_large_account() {
    let mut large = claims();
    let mut limits = UserPermissionLimits::unlimited();
    limits.publish.allow = vec!["x".repeat(500_000)];
    large.body.signing_keys = vec![natsgate_claims::SigningKey::scoped(
        key(Role::Account, 2).public_key(),
        "r",
        limits,
    )];
    let unsigned = prepare(&large, operator().public_key(), NOW).unwrap();
    let signature = operator().sign(unsigned.signing_input()).unwrap();
    let signer = shell("echo $1", &[&BASE64.encode(&signature)], LIMIT);
    signer.sign(&large, NOW).await.unwrap();
}

#[tokio::test]
async fn claims_that_cannot_be_signed_reach_no_command() {
    let mut large = claims();
    large.body.tags = vec!["x".repeat(natsgate_claims::MAX_TOKEN_BYTES)];
    let signer = shell("exit 9", &[], LIMIT);
    assert!(matches!(
        signer.sign(&large, NOW).await,
        Err(SignerError::Encode(EncodeError::TooLarge { .. }))
    ));
}

#[tokio::test]
async fn a_public_key_is_learned_or_refused() {
    let learn = async |answer: &str| {
        let args: Vec<String> = ["-c", "echo $1", "signer", answer].map(str::to_owned).to_vec();
        SignerCommand::learn("/bin/sh", vec![], &args, LIMIT).await
    };
    let learned = learn(operator().public_key()).await.unwrap();
    assert_eq!(learned.public_key(), operator().public_key());
    let seed = operator().seed().unwrap();
    let seed = secrecy::ExposeSecret::expose_secret(&seed);
    for wrong in ["", "hello", &account_key(), seed] {
        let error = learn(wrong).await.unwrap_err();
        assert!(matches!(error, SignerError::Answer { .. }), "{wrong}: {error:?}");
        assert!(wrong.is_empty() || !format!("{error} {error:?}").contains(wrong));
    }
    assert!(matches!(
        SignerCommand::new("x", vec![], account_key(), LIMIT),
        Err(SignerError::Key(_))
    ));
}
