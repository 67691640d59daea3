//! `natsgate account plan` and `natsgate advise`, as somebody uses them who is about to change what many may do.

use std::path::Path;
use std::process::Output;

use natsgate_claims::{KeyPair, Role};

use crate::command_line::{readme_block, seed};
use crate::harness::{Cluster, Folder, Mode, ROOT_SECRET, command};

const CHANGES: &str = r#"
version: 1
templates:
  member:
    publish: { allow: ["projects.{{tag(project)}}.in.>"] }
    subscribe: { allow: ["projects.{{tag(project)}}.>"] }
default_permissions:
  subscribe: { allow: [news.>] }
"#;

/// `natsgate account plan` of `changes`.
async fn plan(folder: &Path, changes: &str, more: &[&str]) -> Output {
    let path = folder.join("changes.yaml");
    std::fs::write(&path, changes).unwrap();
    let mut command = command(folder, &["account", "plan", path.to_str().unwrap()]);
    command.args(more);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_plan_says_what_a_change_would_do_and_changes_nothing() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&cluster.shim_section());
    let changes = readme_block("# changes.yaml");
    // Signed by the account's own key: counted, and it may have the default permissions.
    let _break_glass = cluster.break_glass().await;
    for _again in 0..2 {
        let planned = plan(folder.path(), &changes, &[]).await;
        let said = text(&planned.stdout);
        assert!(planned.status.success(), "{}", text(&planned.stderr));
        for part in [
            "bytes now",
            "of 1048576 at most",
            "template member: new, generation 1",
            "default permissions: narrowed; every server applies them live",
            "of 1 sessions, at most 0 reconnect and at most 1 lose something",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_planned_is_refused_with_the_mend() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&cluster.shim_section());
    let templates: String = (0..3000)
        .map(|number| {
            let lists = format!("{{ allow: [project.{number}.first.>, project.{number}.second.>] }}");
            format!("  t{number}: {{ publish: {lists}, subscribe: {lists} }}\n")
        })
        .collect();
    let too_large = format!("version: 1\ntemplates:\n{templates}");
    let account = "--account=OTHER";
    for (changes, more, code, says) in [
        (too_large.as_str(), vec![], 1, "and 1048576 are the most; instead"),
        ("version: 1\nretire: [nobody]", vec![], 1, "nobody"),
        ("version: 1\ntemplates: { a: {} }", vec![], 64, "templates.a"),
        (
            CHANGES,
            vec![account],
            64,
            "--account: is none of shim.accounts: APP",
        ),
        (
            CHANGES,
            vec!["--jwt=nowhere"],
            64,
            "--jwt: nowhere cannot be read",
        ),
    ] {
        let refused = plan(folder.path(), changes, &more).await;
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{says}: {said}");
    }
    let config_mode = Cluster::start(Mode::Config, false).await;
    let folder = Folder::new(&config_mode.shim_section());
    let refused = plan(folder.path(), CHANGES, &[]).await;
    assert_eq!(refused.status.code(), Some(64));
    assert!(
        text(&refused.stderr).contains("operator_mode"),
        "{}",
        text(&refused.stderr)
    );
}

#[tokio::test]
async fn a_plan_from_a_file_says_that_servers_are_not_known() {
    let cluster = Cluster::start(Mode::OperatorWithPushes, false).await;
    let folder = Folder::new(&cluster.shim_section());
    let jwt = match &cluster.keys {
        crate::harness::Keys::Operator(keys) => keys.account("APP").unwrap().jwt.clone(),
        crate::harness::Keys::Config(_) => unreachable!("operator mode"),
    };
    let path = folder.write("app.jwt", &jwt);
    let file = format!("--jwt={}", path.display());
    let refused = plan(folder.path(), CHANGES, &[&file]).await;
    assert!(
        text(&refused.stderr).contains("no server's version is known"),
        "{}",
        text(&refused.stderr)
    );
    let planned = plan(folder.path(), CHANGES, &[&file, "--may-reconnect"]).await;
    assert!(planned.status.success(), "{}", text(&planned.stderr));
    assert!(text(&planned.stderr).contains("servers and sessions are not known"));
    assert!(
        text(&planned.stdout).contains("template member: new"),
        "{}",
        text(&planned.stdout)
    );
}

#[test]
fn what_the_readme_shows_is_good() {
    let mut section = readme_block("# the shim's file, for that");
    let account = || KeyPair::generate(Role::Account).unwrap();
    let public = |key: &KeyPair| key.public_key().to_owned();
    let operator = KeyPair::generate(Role::Operator).unwrap();
    for (shown, real) in [
        ("AC…", public(&account())),
        ("AA…", public(&account())),
        ("OA…", public(&operator)),
        ("${file:/run/secrets/AUTH.nk}", seed(Role::Account)),
        ("${file:/run/secrets/APP.nk}", seed(Role::Account)),
        ("${file:/run/secrets/APP.root}", ROOT_SECRET.to_owned()),
    ] {
        assert!(section.contains(shown), "{shown}");
        section = section.replace(shown, &real);
    }
    let connections = format!(
        "  cluster: c\n  nats: &nats {{ servers: ['nats://127.0.0.1:4222'], nkey_seed: {} }}\n  system: *nats\n  \
         decision: {{ endpoints: ['http://127.0.0.1:7222'] }}\n",
        seed(Role::User)
    );
    let writer = readme_block("# the account writer")
        .replace("${file:/run/secrets/OPERATOR.nk}", &seed(Role::Operator))
        .replace(
            "creds: \"${file:/run/secrets/write.creds}\"",
            &format!("nkey_seed: {}", seed(Role::User)),
        );
    let config = |section: &str| format!("{section}{connections}{writer}");
    let checked = |config: &str| {
        command(Folder::new(config).path(), &["check-config"])
            .output()
            .unwrap()
    };
    let good = checked(&config(&section));
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(
        text(&good.stdout).contains("natsgate account"),
        "{}",
        text(&good.stdout)
    );
    // In place of the file, what the README shows for several machines.
    let shared = readme_block("# in place of the file")
        .replace("${file:/run/secrets/writer.pw}", "only-for-these-tests")
        .replace("accounts:\n", "");
    let (before, after) = writer.split_once("  file: ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    let with = |kept: &str| format!("{section}{connections}{before}{kept}{after}");
    let good = checked(&with(&shared));
    assert!(good.status.success(), "{}", text(&good.stderr));
    for (kept, says) in [
        (String::new(), "accounts: has neither file nor postgres"),
        (
            format!("{shared}  file: accounts.redb\n"),
            "accounts: has both file and postgres",
        ),
        (
            shared.replace("lease: 30s", "lease: 4s"),
            "accounts.lease: must be between 5s and 10m",
        ),
        (
            shared.replace("user: natsgate_writer", "user: ''"),
            "accounts.postgres.database.user: must not be empty",
        ),
        (format!("{shared}  postgrez: 1\n"), "postgrez"),
    ] {
        let refused = checked(&with(&kept));
        assert_eq!(refused.status.code(), Some(64));
        let said = text(&refused.stderr);
        assert!(
            said.contains(says) && !said.contains("only-for-these-tests"),
            "{said}"
        );
    }
    for (shown, wrong, says) in [
        (
            ROOT_SECRET,
            "short",
            "shim.accounts[0].root_secrets[0]: the account's root secret has fewer than 32 bytes",
        ),
        ("operators:", "operatorz:", "operatorz"),
    ] {
        let refused = checked(&config(&section.replace(shown, wrong)));
        assert_eq!(refused.status.code(), Some(64));
        assert!(text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
    let without: String = section
        .lines()
        .filter(|line| !line.contains("operators:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let refused = checked(&config(&without));
    assert!(
        text(&refused.stderr).contains("root_secrets: is set without shim.operator_mode.operators"),
        "{}",
        text(&refused.stderr)
    );
}

fn advise(arguments: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_natsgate"))
        .arg("advise")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn advice_is_given_without_a_configuration() {
    let usual = [
        "--users=20000",
        "--templates=1",
        "--changes-per-hour=2",
        "--acceptable-reconnects=1000",
    ];
    for (version, mode) in [("2.15.1", "live"), ("2.12.8", "scoped_key")] {
        let version = format!("--server-version={version}");
        let advised = advise(&[&usual[..], &[version.as_str()]].concat());
        let said = text(&advised.stdout);
        assert!(advised.status.success(), "{}", text(&advised.stderr));
        assert!(said.starts_with(&format!("recommended: {mode}")), "{said}");
        assert!(
            said.contains("account JWT") && said.contains("reconnects"),
            "{said}"
        );
    }
    for (wrong, says) in [
        ("--server-version=latest", "--server-version: is not a version"),
        (
            "--server-version=2.15.1 --concerned=101",
            "share must be from 0 to 1",
        ),
    ] {
        let wrong: Vec<&str> = wrong.split(' ').collect();
        let refused = advise(&[&usual[..], &wrong].concat());
        assert_eq!(refused.status.code(), Some(64), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
}
