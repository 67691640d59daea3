//! What somebody sees who configures natsgate wrongly: one clear line that names the key and the mend, exit 64, and no
//! port opened.

use std::process::Output;

use natsgate_claims::{KeyPair, Role};
use secrecy::ExposeSecret;

use crate::harness::{Folder, command};

pub fn seed(role: Role) -> String {
    KeyPair::generate(role)
        .unwrap()
        .seed()
        .unwrap()
        .expose_secret()
        .to_owned()
}

fn config() -> String {
    format!(
        "shim:\n  cluster: c\n  nats: {{ servers: ['nats://127.0.0.1:4222'], nkey_seed: {} }}\n  \
         config_mode: {{ issuer_seed: {} }}\n  system_account: SYS\n  accounts: [{{ name: APP }}]\n  \
         decision: {{ endpoints: ['http://127.0.0.1:7222'] }}\n\
         decision:\n  policy_file: policy.yaml\n  providers:\n    - {{ name: corp, issuer: 'https://login.example', audiences: [nats] }}\n",
        seed(Role::User),
        seed(Role::Account)
    )
}

fn run(config: &str, arguments: &[&str]) -> Output {
    command(Folder::new(config).path(), arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every command that reads the configuration says the one line `expected` and exits 64.
fn is_refused(what: &str, config: &str, command: &str, expected: &[&str]) {
    for command in ["check-config", command] {
        let output = run(config, &[command]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(64), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        for part in expected {
            assert!(said.contains(part), "{what}: {said}");
        }
    }
}

#[test]
fn a_good_configuration_is_good_for_all_commands() {
    let output = run(&config(), &["check-config"]);
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("good for natsgate shim, natsgate decision, natsgate all"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let good = config();
    let user_seed = good
        .split("nkey_seed: ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let account_seed = good
        .split("issuer_seed: ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    for (what, config, command, expected) in [
        (
            "unknown key",
            change("cluster: c", "clutser: c"),
            "shim",
            &["shim.clutser", "unknown field"][..],
        ),
        (
            "unknown section",
            change("shim:", "shmi:"),
            "shim",
            &["shmi", "unknown field"],
        ),
        (
            "missing key",
            change("  cluster: c\n", ""),
            "shim",
            &["shim", "cluster"],
        ),
        (
            "an account seed for a user's",
            change(&user_seed, &account_seed),
            "shim",
            &["shim.nats.nkey_seed: ", "account seed", "user seed"],
        ),
        (
            "a user seed for an account's",
            change(&account_seed, &user_seed),
            "shim",
            &["shim.config_mode.issuer_seed: ", "user seed", "account seed"],
        ),
        (
            "not a seed",
            change(&account_seed, "hello"),
            "shim",
            &["shim.config_mode.issuer_seed: "],
        ),
        (
            "a file that is not there",
            change(&account_seed, "'${file:issuer.nk}'"),
            "shim",
            &["shim.config_mode.issuer_seed: ", "issuer.nk", "No such file"],
        ),
        (
            "a variable not set",
            change(&account_seed, "'${NOT_SET}'"),
            "shim",
            &["issuer_seed: ", "NOT_SET is not set"],
        ),
        (
            "the system account as a target",
            change("name: APP", "name: $SYS"),
            "shim",
            &["shim.accounts[0].name: ", "system account"],
        ),
        (
            "nothing that tells the system account",
            change("  system_account: SYS\n", ""),
            "shim",
            &["shim.system_account: ", "shim.system"],
        ),
        (
            "the named system account as a target",
            change("name: APP", "name: SYS"),
            "shim",
            &["shim.accounts[0].name: ", "system account"],
        ),
        (
            "a seed where a name belongs",
            change("cluster: c", &format!("cluster: c\n  {account_seed}: x")),
            "shim",
            &["shim", "unknown field"],
        ),
        (
            "a key's content where its path belongs",
            change(
                "nkey_seed",
                "tls: { ca_file: \"-----BEGIN PRIVATE KEY-----\\nc2VjcmV0\" }, nkey_seed",
            ),
            "shim",
            &["shim.nats.tls.ca_file: ", "(hidden)"],
        ),
        (
            "a certificate that is none",
            change("nkey_seed", "tls: { ca_file: policy.yaml }, nkey_seed"),
            "shim",
            &["shim.nats.tls.ca_file: ", "no certificate"],
        ),
        (
            "a password in an endpoint",
            change("http://127.0.0.1:7222", "http://u:pw@127.0.0.1:7222"),
            "shim",
            &["shim.decision.endpoints[0]: ", "password"],
        ),
        (
            "a margin longer than a request lives",
            change("cluster: c", "cluster: c\n  answer_margin: 3s"),
            "shim",
            &["shim.answer_margin: "],
        ),
        (
            "more than any process handles",
            change("cluster: c", "cluster: c\n  max_in_flight: 4611686018427387904"),
            "shim",
            &["shim.max_in_flight: "],
        ),
        (
            "a bad URL",
            change("'nats://127.0.0.1:4222'", "'ftp://x'"),
            "shim",
            &["shim.nats.servers[0]: "],
        ),
        (
            "tokens in the clear to another machine",
            change("http://127.0.0.1:7222", "http://10.1.2.3:7222"),
            "shim",
            &["shim.decision.endpoints[0]: ", "https"],
        ),
        (
            "listening to everybody",
            change(
                "decision:\n  policy_file",
                "decision:\n  listen: 0.0.0.0:7222\n  policy_file",
            ),
            "decision",
            &["decision.listen: ", "client_ca_file"],
        ),
        (
            "no policy file",
            change("policy_file: policy.yaml", "policy_file: none.yaml"),
            "decision",
            &["decision.policy_file: ", "none.yaml"],
        ),
        (
            "a provider by http",
            change("https://login.example", "http://login.example"),
            "decision",
            &["providers[corp]", "https"],
        ),
        (
            "no audience",
            change("audiences: [nats]", "audiences: []"),
            "decision",
            &["providers[corp].audiences: "],
        ),
        (
            "an HMAC",
            change("audiences: [nats]", "audiences: [nats], algorithms: [HS256]"),
            "decision",
            &["decision.providers[0].algorithms[0]", "HMAC"],
        ),
        (
            "a wrong level",
            format!("log: {{ level: 'a=b=c' }}\n{good}"),
            "shim",
            &["log.level: "],
        ),
        (
            "a level that is none",
            format!("log: {{ level: inf }}\n{good}"),
            "shim",
            &["log.level: "],
        ),
        (
            "not YAML",
            "shim: [".to_owned(),
            "shim",
            &["natsgate.yaml", "YAML"],
        ),
    ] {
        is_refused(what, &config, command, expected);
        assert!(
            !said(&run(&config, &["check-config"])).contains(&user_seed),
            "{what}: the seed is shown"
        );
        assert!(
            !said(&run(&config, &["check-config"])).contains(&account_seed),
            "{what}: the seed is shown"
        );
    }
}

#[test]
fn a_policy_that_cannot_work_is_said_by_rule() {
    let folder = Folder::new(&config());
    folder.write(
        "policy.yaml",
        "version: 1\naccount: APP\nrules:\n  - { name: a, publish: { allow: ['a.{nothing.here}'] } }\n  \
         - { name: b, when: 'claims.x ==', publish: { allow: ['b'] } }\n",
    );
    let output = command(folder.path(), &["check-config"]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.lines().all(|line| line.contains("policy.yaml")), "{said}");
    assert!(said.contains("rules[0]") && said.contains("rules[1]"), "{said}");
}

/// The block of the README that begins with `head`.
pub fn readme_block(head: &str) -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let block = readme
        .split("```yaml\n")
        .find(|block| block.starts_with(head))
        .expect(head);
    block.split("```").next().unwrap().to_owned()
}

#[test]
fn what_the_readme_shows_is_good() {
    let mut config = readme_block("# natsgate.yaml");
    for (name, role) in [
        ("CALLOUT", Role::User),
        ("WATCH", Role::User),
        ("EVICT", Role::User),
        ("ISSUER", Role::Account),
    ] {
        config = config.replace(&format!("${{file:/run/secrets/{name}.nk}}"), &seed(role));
    }
    let xkey = natsgate_claims::XKeyPair::generate().unwrap();
    config = config.replace("${file:/run/secrets/XKEY.nk}", xkey.seed().expose_secret());
    let folder = Folder::new(&config);
    folder.write("policy.yaml", &readme_block("# policy.yaml"));
    folder.write("members.yaml", "memberships: []\n");
    let output = command(folder.path(), &["check-config"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// `base` with the keys of `more` laid over it; lists are replaced.
fn overlaid(base: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    match (base, more) {
        (serde_json::Value::Object(mut base), serde_json::Value::Object(more)) => {
            for (key, value) in more {
                let below = base.remove(&key).unwrap_or_default();
                base.insert(key, overlaid(below, value));
            }
            serde_json::Value::Object(base)
        }
        (_, more) => more,
    }
}

#[test]
fn each_of_the_readmes_further_examples_is_good() {
    let decision = "decision: { policy_file: policy.yaml, providers: [{ name: corp, issuer: 'https://login.example.com', \
                    audiences: [nats] }] }";
    for head in [
        "# who somebody is",
        "# what they belong to",
        "# pushed memberships",
        "# several decision services",
        "# events from outside",
    ] {
        let folder = Folder::new("");
        let file = |name: &str| {
            folder
                .write(name, "a-secret-of-nobody-0123456789-0123456789")
                .display()
                .to_string()
        };
        let files = file("secret");
        let mut example = readme_block(head);
        for name in ["introspection", "crm-token", "db", "store", "redis", "directory"] {
            example = example.replace(&format!("/run/secrets/{name}"), &files);
        }
        example = example.replace("/var/lib/natsgate", &folder.path().display().to_string());
        let config = overlaid(
            serde_saphyr::from_str(decision).unwrap(),
            serde_saphyr::from_str(&example).unwrap(),
        );
        folder.write("natsgate.yaml", &config.to_string());
        let output = command(folder.path(), &["check-config"]).output().unwrap();
        assert!(output.status.success(), "{head}: {}", said(&output));
    }
}

#[test]
fn the_account_writers_examples_are_good() {
    let deployed = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/natsgate/accounts.yaml");
    let public = |role| {
        natsgate_claims::KeyPair::generate(role)
            .unwrap()
            .public_key()
            .to_owned()
    };
    let (operator, app) = (public(Role::Operator), public(Role::Account));
    for example in [
        readme_block("# the account writer's file, for `natsgate accounts`"),
        std::fs::read_to_string(deployed).unwrap(),
    ] {
        let folder = Folder::new("");
        for name in ["secrets", "tls"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let root = "a-secret-of-nobody-0123456789-0123456789";
        for name in ["OPERATOR.nk", "secrets/operator-signing.nk"] {
            folder.write(name, &seed(Role::Operator));
        }
        for name in ["APP.root", "secrets/app.root"] {
            folder.write(name, root);
        }
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (name, text) in [
            ("accounts.pem", made.cert.pem()),
            ("ca.pem", made.cert.pem()),
            ("accounts.key", made.signing_key.serialize_pem()),
        ] {
            folder.write(name, &text);
            folder.write(&format!("tls/{name}"), &text);
        }
        let config = example
            .replace("/run/secrets", &folder.path().display().to_string())
            .replace("OA…", &operator)
            .replace("AA…", &app);
        folder.write("natsgate.yaml", &config);
        let mut command = command(folder.path(), &["check-config"]);
        command
            .env("NATSGATE_OPERATOR", &operator)
            .env("NATSGATE_APP_ACCOUNT", &app);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("natsgate accounts"), "{told}");
    }
}

#[test]
fn no_file_at_all_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &["all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        said(&output).contains("natsgate.yaml: cannot be read"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_published_schema_is_the_codes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/natsgate.schema.json");
    let output = run("", &["check-config", "--schema"]);
    assert!(output.status.success(), "{}", said(&output));
    let generated: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let published: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(
        generated == published,
        "deploy/natsgate.schema.json is not what the code says: \
         run `cargo run -q -- check-config --schema > deploy/natsgate.schema.json`"
    );
}
