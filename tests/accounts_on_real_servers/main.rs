//! What natsgate writes into account JWTs, on real servers: scoped signing keys and their users, default permissions.
//!
//! Every test runs on 2.10.25, 2.12.8, 2.14.6 and 2.15.1 with a `full` resolver, the last as a cluster of three. Users come with JWTs
//! of their own here, minted as a shim would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

mod advice;
mod site;

use natsgate_accounts::plan::{CAP, Circumstances, Server, Sessions};
use natsgate_accounts::{
    DefaultPermissions, Generation, ManagedAccount, Operation, Plan, PlanError, ServerVersion, Template,
};
use natsgate_claims::UserBody;
use natsgate_core::{AccountAtServer, AccountServers, Limits};
use natsgate_devkit::NatsVersion;

use site::{DONE, Session, Site, credentials, member, name, now, permissions, reaches, soon, until};

#[tokio::test]
async fn the_life_of_a_scoped_key() {
    for version in NatsVersion::ALL {
        let site = Site::start(version).await;
        let mut account = site.read().await;
        account
            .put_template(&member(&["projects.{{tag(project)}}.in.>"]))
            .unwrap();
        site.push(&account).await;
        let first = site.mint(&account, "member", "apollo");
        let alice = site.connect(&first).await.unwrap();
        let has = async |session: &Session, publish: &[(&str, bool)]| {
            for (subject, may) in publish {
                assert_eq!(
                    session.may_publish(subject, &site).await,
                    *may,
                    "{version} {subject}"
                );
            }
            assert!(
                session.may_subscribe("projects.apollo.out.a", &site).await,
                "{version}"
            );
            assert!(
                !session.may_subscribe("projects.gemini.out.a", &site).await,
                "{version}"
            );
        };
        let before = [
            ("projects.apollo.in.a", true),
            ("projects.apollo.admin.a", false),
            ("projects.gemini.in.a", false),
        ];
        has(&alice, &before).await;

        // The next generation stands beside it: nobody is touched, and whoever comes now has what it says.
        let mut account = site.read().await;
        account
            .put_template(&member(&["projects.{{tag(project)}}.admin.>"]))
            .unwrap();
        site.push(&account).await;
        let second = site.mint(&account, "member", "apollo");
        let bob = site.connect(&second).await.unwrap();
        has(
            &bob,
            &[("projects.apollo.in.a", false), ("projects.apollo.admin.a", true)],
        )
        .await;
        has(&alice, &before).await;
        assert_eq!(alice.disconnects(), 0, "{version}");

        // Its key taken out, the first one's sessions are closed and do not come back. Nobody else is touched.
        let mut account = site.read().await;
        account
            .remove_generation(&name("member"), Generation::FIRST)
            .unwrap();
        site.push(&account).await;
        until("alice is closed", async || alice.disconnects() > 0).await;
        assert!(site.connect(&first).await.is_err(), "{version}");
        has(
            &bob,
            &[("projects.apollo.in.a", false), ("projects.apollo.admin.a", true)],
        )
        .await;
        assert_eq!(bob.disconnects(), 0, "{version}");
        let carol = site
            .connect(&site.mint(&account, "member", "gemini"))
            .await
            .unwrap();
        assert!(
            carol.may_publish("projects.gemini.admin.a", &site).await,
            "{version}"
        );
    }
}

#[tokio::test]
async fn the_life_of_a_live_default() {
    for version in NatsVersion::ALL {
        let site = Site::start(version).await;
        let live = ServerVersion::parse(version.as_str())
            .unwrap()
            .applies_defaults_live();
        let narrow = DefaultPermissions::new(permissions(&["a.>", DONE], &["x.>"])).unwrap();
        let wide = DefaultPermissions::new(permissions(&["a.>", "b.>", DONE], &["x.>", "y.>"])).unwrap();
        let mut account = site.read().await;
        assert!(account.set_defaults(&wide));
        site.push(&account).await;

        let plain = || {
            let target = &site.mode.accounts[0];
            credentials(
                UserBody::unlimited().of_account(target.key.public_key()),
                &target.signing_key,
            )
        };
        let alice = site.connect(&plain()).await.unwrap();
        assert!(alice.may_publish("b.1", &site).await && !alice.may_publish("c.1", &site).await);
        let mut subscribed = alice.client.subscribe("y.1").await.unwrap();
        alice.after(&site, || async {}).await;
        assert!(reaches(&mut subscribed, "y.1", &site).await, "{version}");
        let connection = alice.client.server_info().client_id;

        let mut account = site.read().await;
        assert!(account.set_defaults(&narrow));
        site.push(&account).await;
        if live {
            until("alice has less", async || !alice.may_publish("b.1", &site).await).await;
            assert!(!reaches(&mut subscribed, "y.1", &site).await, "{version}");
        } else {
            assert!(alice.may_publish("b.1", &site).await, "{version}");
            assert!(reaches(&mut subscribed, "y.1", &site).await, "{version}");
        }
        assert!(alice.may_publish("a.1", &site).await, "{version}");
        // Whoever comes now has less on every version.
        let bob = site.connect(&plain()).await.unwrap();
        assert!(!bob.may_publish("b.1", &site).await && bob.may_publish("a.1", &site).await);

        let mut account = site.read().await;
        assert!(account.set_defaults(&wide));
        site.push(&account).await;
        if live {
            until("bob has more", async || bob.may_publish("b.1", &site).await).await;
            assert!(bob.may_subscribe("y.1", &site).await, "{version}");
        } else {
            assert!(!bob.may_publish("b.1", &site).await, "{version}");
        }
        for session in [&alice, &bob] {
            assert_eq!(session.disconnects(), 0, "{version}");
        }
        assert_eq!(alice.client.server_info().client_id, connection, "{version}");
    }
}

/// It takes pushes of accounts that it has loaded, and passes over others, though it has an old copy of them: that one it loads when somebody
/// comes, and is told by the next push. It answers nobody who looks accounts up.
#[tokio::test]
async fn a_server_whose_resolver_only_caches_has_what_is_pushed_once_it_has_loaded_the_account() {
    for version in NatsVersion::ALL {
        let site = Site::with(version, 2, 1).await;
        let mut account = site.read().await;
        let put = |account: &mut ManagedAccount, subjects: &[&str]| {
            account.put_template(&member(subjects)).unwrap();
        };
        put(&mut account, &["projects.{{tag(project)}}.in.>"]);
        site.push(&account).await;
        let roster = site.at_servers.roster(soon()).await.unwrap();
        let caching = roster.iter().find(|one| one.name == "n1").unwrap();
        let there = async || {
            let asked = site.at_servers.in_force(&caching.id, site.keys.account(), soon());
            asked.await.unwrap()
        };
        assert_eq!(there().await, AccountAtServer::NotLoaded, "{version}");
        let alice = site.mint(&account, "member", "apollo");
        assert!(site.connect_to(1, &alice).await.is_err(), "{version}");
        let old = there().await;
        assert!(matches!(old, AccountAtServer::InForce(_)), "{version}");
        // Which the writer sees, and pushes again.
        site.push(&account).await;
        assert_ne!(there().await, old, "{version}");
        site.connect_to(1, &alice).await.unwrap();
        put(&mut account, &["projects.{{tag(project)}}.in.>", "news.>"]);
        site.push(&account).await;
        let alice = site.mint(&account, "member", "apollo");
        site.connect_to(1, &alice).await.unwrap();
    }
}

#[tokio::test]
async fn two_thousand_templates_are_pushed_and_read_back_and_three_thousand_are_refused() {
    let site = Site::start(NatsVersion::default()).await;
    let operations = |count: usize| -> Vec<Operation> {
        let template = |number: usize| {
            let (publish, subscribe) = (
                [format!("t{number}.{{{{tag(project)}}}}.in.>"), DONE.to_owned()],
                [
                    format!("t{number}.{{{{tag(project)}}}}.out.>"),
                    format!("t{number}.all"),
                ],
            );
            let publish: Vec<&str> = publish.iter().map(String::as_str).collect();
            let subscribe: Vec<&str> = subscribe.iter().map(String::as_str).collect();
            let permissions = permissions(&publish, &subscribe);
            let template = Template::new(name(&format!("t{number}")), permissions, Limits::default());
            Operation::PutTemplate(Box::new(template.unwrap()))
        };
        (0..count).map(template).collect()
    };
    let roster = site.at_servers.roster(soon()).await.unwrap();
    let servers: Vec<Server> = roster
        .iter()
        .map(|one| Server {
            name: one.name.clone(),
            version: one.version.clone(),
            max_payload: Some(1024 * 1024),
        })
        .collect();
    let sessions = Sessions::default();
    let circumstances = Circumstances {
        operator: site.signer.public_key(),
        now: now(),
        cap: CAP,
        servers: &servers,
        sessions: &sessions,
        may_reconnect: false,
    };
    let account = site.read().await;
    let plan = Plan::make(&account, &operations(2000), &circumstances).unwrap();
    let begun = std::time::Instant::now();
    site.push(&plan.after).await;
    println!(
        "2,000 templates: {} bytes, signed, pushed to {} servers and read back in {:?}",
        plan.size_after,
        roster.len(),
        begun.elapsed()
    );
    let account = site.read().await;
    assert_eq!(account.templates().count(), 2000);
    let alice = site
        .connect(&site.mint(&account, "t1999", "apollo"))
        .await
        .unwrap();
    assert!(alice.may_publish("t1999.apollo.in.a", &site).await);
    assert!(!alice.may_publish("t1998.apollo.in.a", &site).await);

    let refused = Plan::make(&account, &operations(3000), &circumstances).unwrap_err();
    assert!(matches!(refused, PlanError::OverCap { .. }), "{refused}");
}
