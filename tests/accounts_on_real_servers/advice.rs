//! What `natsgate advise` works out, beside what a real cluster then does, for a workload of each mode.

use std::collections::BTreeSet;

use async_nats::ServerInfo;
use natsgate_accounts::advise::{Advice, Estimate, Mode, Workload};
use natsgate_accounts::template::TagValues;
use natsgate_accounts::{DefaultPermissions, ManagedAccount, ServerVersion, Template};
use natsgate_claims::{Credentials, KeyPair, UserBody, UserPermissionLimits};
use natsgate_core::{Limits, Permissions, Subject, SubscribeSubject, TagName};
use natsgate_devkit::NatsVersion;

use crate::site::{DONE, PATIENCE, Session, Site, credentials_named, name, until};

/// Users of each workload.
const USERS: usize = 30;

/// Subjects of a template, and bytes of each.
const SUBJECTS: usize = 4;
const SUBJECT_BYTES: usize = 32;

/// How far a size may be from what was worked out, in percent: names are of other lengths than those assumed.
const TOLERANCE: usize = 10;

fn workload() -> Workload {
    Workload {
        users: USERS as u64,
        templates: 1,
        memberships_per_user: 0,
        subjects_per_template: SUBJECTS as u64,
        subject_bytes: SUBJECT_BYTES,
        changes_per_hour: 1.0,
        share: 1.0,
        server_version: ServerVersion::parse(NatsVersion::default().as_str()).unwrap(),
        acceptable_reconnects_per_hour: 0.0,
    }
}

/// What was advised for `workload`, which must be `mode`.
fn advised(workload: &Workload, mode: Mode) -> (Advice, Estimate) {
    let advice = workload.advise().unwrap();
    assert_eq!(advice.recommended, Some(mode), "{advice}");
    let estimate = advice
        .estimates
        .iter()
        .find(|one| one.mode == mode)
        .unwrap()
        .clone();
    (advice, estimate)
}

fn near(what: &str, real: usize, advised: usize) {
    let most = advised * TOLERANCE / 100;
    assert!(
        real.abs_diff(advised) <= most,
        "{what}: really {real}, advised {advised}"
    );
    println!("{what}: {real} bytes, advised {advised}");
}

/// The subjects of a template or a membership, all of [`SUBJECT_BYTES`], that begin with `first`.
fn subjects(first: &str) -> Permissions {
    let text = |number: usize| format!("{:x<SUBJECT_BYTES$}", format!("{first}.{number}."));
    let mut permissions = Permissions::default();
    permissions.publish.allow = (0..SUBJECTS / 2)
        .map(|n| Subject::parse(text(n)).unwrap())
        .collect();
    let entry = |number| SubscribeSubject {
        subject: Subject::parse(text(number)).unwrap(),
        queue: None,
    };
    permissions.subscribe.allow = (SUBJECTS / 2..SUBJECTS).map(entry).collect();
    permissions
}

/// A user JWT as a shim would name and bound it.
fn user(body: UserBody, signer: &KeyPair) -> Credentials {
    credentials_named(&"x".repeat(110), body, signer)
}

async fn connect(site: &Site, users: &[Credentials]) -> Vec<Session> {
    let mut sessions = Vec::new();
    for credentials in users {
        sessions.push(site.connect(credentials).await.unwrap());
    }
    sessions
}

fn disconnects(sessions: &[Session]) -> u64 {
    sessions.iter().map(Session::disconnects).sum()
}

/// Kicks `sessions`, and waits until all of them have come back.
async fn kick(site: &Site, sessions: &[Session]) {
    for session in sessions {
        let ServerInfo {
            server_id, client_id, ..
        } = session.client.server_info();
        let body = format!("{{\"cid\":{client_id}}}");
        let subject = format!("$SYS.REQ.SERVER.{server_id}.KICK");
        let kicked = site.system.request(subject, body.into());
        tokio::time::timeout(PATIENCE, kicked).await.unwrap().unwrap();
    }
    until("everybody kicked is back", async || {
        let connected =
            |session: &Session| session.client.connection_state() == async_nats::connection::State::Connected;
        sessions
            .iter()
            .all(|session| session.disconnects() > 0 && connected(session))
    })
    .await;
}

/// Bytes of the account as the servers keep it.
async fn size(site: &Site) -> usize {
    site.read().await.size_when_read().unwrap()
}

#[tokio::test]
async fn live_costs_what_was_advised() {
    let site = Site::start(NatsVersion::default()).await;
    let (_, estimate) = advised(&workload(), Mode::Live);

    let set = async |first: &str| {
        let mut account = site.read().await;
        let mut permissions = subjects(first);
        permissions.publish.allow.push(Subject::parse(DONE).unwrap());
        account.set_defaults(&DefaultPermissions::new(permissions).unwrap());
        site.push(&account).await;
    };
    set("before").await;
    let target = &site.mode.accounts[0];
    let plain = || {
        user(
            UserBody::unlimited().of_account(target.key.public_key()),
            &target.signing_key,
        )
    };
    let users: Vec<Credentials> = (0..USERS).map(|_| plain()).collect();
    let sessions = connect(&site, &users).await;
    near("live: user JWT", users[0].jwt.len(), estimate.user_bytes);

    set("after").await;
    until("the change is in force for all", async || {
        let mut changed = true;
        for session in &sessions {
            let subject = format!("{:x<SUBJECT_BYTES$}", "after.0.");
            changed &= session.may_publish(&subject, &site).await;
        }
        changed
    })
    .await;
    near("live: account JWT", size(&site).await, estimate.account_bytes);
    assert_eq!(disconnects(&sessions), 0);
    assert!(estimate.reconnects_per_hour < 0.5 && estimate.pushes_per_hour == 1.0);
}

#[tokio::test]
async fn scoped_keys_cost_what_was_advised() {
    const TEMPLATES: usize = 3;
    const MEMBERSHIPS: usize = 2;
    let site = Site::start(NatsVersion::default()).await;
    let (_, estimate) = advised(
        &Workload {
            templates: TEMPLATES as u64,
            memberships_per_user: MEMBERSHIPS as u64,
            share: 1.0 / 3.0,
            // Two hours a change: two templates have two generations at once.
            acceptable_reconnects_per_hour: 5.0,
            ..workload()
        },
        Mode::ScopedKey,
    );
    let template = |number: usize, first: &str| {
        let permissions = subjects(&format!("{first}.{{{{tag(project)}}}}"));
        Template::new(
            name(&format!("template-{number:03}")),
            permissions,
            Limits::default(),
        )
        .unwrap()
    };
    let mut account = site.read().await;
    for number in 0..TEMPLATES {
        account.put_template(&template(number, "a")).unwrap();
    }
    site.push(&account).await;
    near(
        "scoped_key: account JWT",
        size(&site).await,
        estimate.account_bytes,
    );

    let mint = |account: &ManagedAccount, number: usize| {
        let state = account.template(&name(&format!("template-{number:03}"))).unwrap();
        let newest = state.newest();
        let found = site
            .keys
            .find(state.name(), newest.generation(), newest.public_key());
        let (signer, _) = found.unwrap().unwrap();
        let projects: BTreeSet<String> = (0..MEMBERSHIPS).map(|n| format!("project-{n:04}")).collect();
        let values = TagValues::from([(TagName::parse("project").unwrap(), projects)]);
        let tags = newest
            .content()
            .template()
            .unwrap()
            .tags(&values, account.facts())
            .unwrap();
        user(UserBody::scoped(account.account()).tagged(tags), &signer)
    };
    let users: Vec<Credentials> = (0..USERS)
        .map(|number| mint(&account, number / (USERS / TEMPLATES)))
        .collect();
    let sessions = connect(&site, &users).await;
    near("scoped_key: user JWT", users[0].jwt.len(), estimate.user_bytes);

    // One template changes, and another is still being drained.
    for number in [0, 1] {
        account.put_template(&template(number, "b")).unwrap();
    }
    site.push(&account).await;
    assert_eq!(
        disconnects(&sessions),
        0,
        "a generation beside another touches nobody"
    );
    near(
        "scoped_key: account JWT in change",
        size(&site).await,
        estimate.account_bytes_at_most,
    );
    let (concerned, others) = sessions.split_at(USERS / TEMPLATES);
    kick(&site, concerned).await;
    assert_eq!(disconnects(others), 0);
    let reconnects = disconnects(concerned);
    println!(
        "scoped_key: {reconnects} reconnects, advised {:.0}",
        estimate.reconnects_per_hour
    );
    assert_eq!(reconnects as f64, estimate.reconnects_per_hour);
}

#[tokio::test]
async fn reconnecting_costs_what_was_advised() {
    const MEMBERSHIPS: usize = 2;
    let site = Site::start(NatsVersion::default()).await;
    let (_, estimate) = advised(
        &Workload {
            templates: USERS as u64,
            memberships_per_user: MEMBERSHIPS as u64,
            share: 0.1,
            acceptable_reconnects_per_hour: 100.0,
            ..workload()
        },
        Mode::Reconnect,
    );
    let target = &site.mode.accounts[0];
    let own = |number: usize| {
        let mut all = Permissions::default();
        for project in 0..MEMBERSHIPS {
            let more = subjects(&format!("u{number}.p{project}"));
            all.publish.allow.extend(more.publish.allow);
            all.subscribe.allow.extend(more.subscribe.allow);
        }
        let rights = UserPermissionLimits::granting(&all, &Limits::default());
        user(
            UserBody::with(rights).of_account(target.key.public_key()),
            &target.signing_key,
        )
    };
    let users: Vec<Credentials> = (0..USERS).map(own).collect();
    let sessions = connect(&site, &users).await;
    near("reconnect: user JWT", users[0].jwt.len(), estimate.user_bytes);
    near(
        "reconnect: account JWT",
        size(&site).await,
        estimate.account_bytes,
    );
    let (concerned, others) = sessions.split_at(3);
    kick(&site, concerned).await;
    assert_eq!(disconnects(others), 0);
    let reconnects = disconnects(concerned);
    println!(
        "reconnect: {reconnects} reconnects, advised {:.0}",
        estimate.reconnects_per_hour
    );
    assert_eq!(reconnects as f64, estimate.reconnects_per_hour);
}
