//! Who is closed, and who is not.

use std::collections::HashMap;
use std::sync::Arc;

use natsgate_faults::crowd::held_by;
use natsgate_faults::{CLUSTER, Client, Right, SiteOptions, selector};
use natsgate_proto::v1;
use tonic::Code;

use crate::scene::{PATIENCE, Scene, seconds};

/// Revokes `selector`, and waits for the shims.
fn revoke(key: &str, selector: v1::Selector) -> v1::RevokeRequest {
    v1::RevokeRequest {
        idempotency_key: key.to_owned(),
        selector: Some(selector),
        reason: "a test".to_owned(),
        wait: Some(seconds(30)),
        ..Default::default()
    }
}

/// What the shims have done: all of it, so many sessions closed, nothing left.
fn assert_done(answer: &v1::RevokeResponse, closed: u64) {
    assert!(answer.complete, "{answer:?}");
    let [cluster] = answer.clusters.as_slice() else {
        panic!("not one cluster: {answer:?}")
    };
    assert_eq!(
        (cluster.cluster.as_str(), cluster.complete, cluster.closed),
        (CLUSTER, true, closed),
        "{answer:?}"
    );
    assert_eq!(cluster.shims.len(), 2, "{answer:?}");
    for shim in &cluster.shims {
        assert!(
            shim.answered && shim.pending == 0 && shim.unreachable_servers.is_empty(),
            "{answer:?}"
        );
    }
    assert_eq!(cluster.shims.iter().map(|shim| shim.closed).sum::<u64>(), closed);
}

/// How often each was closed so far.
fn closings(clients: &[Client]) -> Vec<usize> {
    clients
        .iter()
        .map(|client| client.look(|view| view.lives.iter().filter(|life| !life.is_open()).count()))
        .collect()
}

/// One principal's five sessions, among 2,000 of two hundred principals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_principal_among_two_thousand_sessions() {
    let mut scene = Scene::new(SiteOptions::default()).await;
    let mut others = Vec::new();
    for number in 0..200 {
        let subject = format!("p{number}");
        scene.site.members.add(&subject, "apollo");
        if number > 0 {
            others.extend(scene.join(&subject, if number == 1 { 15 } else { 10 }));
        }
    }
    let victims = scene.join("p0", 5);
    assert_eq!(others.len() + victims.len(), 2000);
    scene.all_in(&others).await;
    scene.all_in(&victims).await;

    // The truth first, then the revocation.
    scene.site.members.remove("p0", "apollo");
    scene.site.members.add("p0", "gemini");
    let api = scene.site.api.clone();
    let request = revoke("k1", selector::principal(api.principal("p0")));
    let answer = api.revoke(0, request.clone(), PATIENCE).await.unwrap();
    assert!(!answer.repeated);
    assert_done(&answer, 5);

    // They come back at once, with what they have now; and nobody else was closed.
    let back = || {
        victims
            .iter()
            .all(|client| client.look(|view| view.lives.len() == 2 && view.open().is_some()))
    };
    assert!(scene.crowd.until(PATIENCE, back).await, "{:?}", victims[0].view());
    let rights: Arc<[Right]> = [Right::of_project("apollo"), Right::of_project("gemini")].into();
    for held in held_by(&victims, &rights, PATIENCE).await {
        let held = held.expect("it is connected");
        assert!(!held.any(0) && held.all(1), "{held:?}");
    }
    assert_eq!(closings(&others), vec![0; others.len()]);
    for held in held_by(others.iter().step_by(20), &rights, PATIENCE).await {
        assert!(held.is_some_and(|held| held.all(0) && !held.any(1)));
    }
    assert_eq!(scene.site.system.kicked(), 5);

    // Called again with the same key it is the same call, which knows what was done; at the other decision service too.
    for at in [0, 1] {
        let again = api.revoke(at, request.clone(), PATIENCE).await.unwrap();
        assert!(again.repeated);
        assert_eq!((&again.revision, &again.id), (&answer.revision, &answer.id));
        assert_done(&again, 5);
    }
    let other = revoke("k1", selector::principal(api.principal("p1")));
    let refused = api.revoke(0, other, PATIENCE).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    // Nobody has ever heard of this one: nothing to do is done.
    let unknown = revoke("k2", selector::principal(api.principal("nobody")));
    let answer = api.revoke(1, unknown, PATIENCE).await.unwrap();
    assert!(!answer.revision.is_empty() && !answer.repeated);
    assert_done(&answer, 0);
    assert_eq!(scene.site.system.kicked(), 5);
}

/// All 5,000 sessions of a project, of 250 principals, beside 100 of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_sessions_of_one_project() {
    let mut scene = Scene::new(SiteOptions::default()).await;
    let mut members = Vec::new();
    let mut others = Vec::new();
    for number in 0..250 {
        let subject = format!("p{number}");
        scene.site.members.add(&subject, "apollo");
        scene.site.members.add(&subject, "gemini");
        members.extend(scene.join(&subject, 20));
    }
    for number in 0..10 {
        let subject = format!("q{number}");
        scene.site.members.add(&subject, "gemini");
        others.extend(scene.join(&subject, 10));
    }
    scene.all_in(&members).await;
    scene.all_in(&others).await;
    let before: Vec<(String, u64)> = members
        .iter()
        .map(|client| {
            client.look(|view| {
                let life = view.open().expect("it is connected");
                (life.server_id.to_string(), life.client_id)
            })
        })
        .collect();
    let lives: Vec<usize> = members
        .iter()
        .map(|client| client.look(|view| view.lives.len()))
        .collect();

    scene.site.members.remove_all("apollo");
    let api = scene.site.api.clone();
    let request = revoke("k1", selector::resource("project", "apollo"));
    let answer = api.revoke(0, request, PATIENCE).await.unwrap();
    assert_done(&answer, 5000);

    // All closed, none missed, none kicked twice: by the clients' word and by the servers'.
    let closed = || {
        members
            .iter()
            .zip(&lives)
            .all(|(client, lives)| client.look(|view| view.lives[lives - 1].closed.is_some()))
    };
    assert!(scene.crowd.until(PATIENCE, closed).await, "some were missed");
    let told = || {
        before
            .iter()
            .all(|key| scene.site.system.ended().contains_key(key))
    };
    assert!(
        scene.crowd.until(PATIENCE, told).await,
        "the servers tell of fewer"
    );
    let ended = scene.site.system.ended();
    for key in &before {
        let ends: Vec<&str> = ended[key].iter().map(|gone| gone.reason.as_str()).collect();
        assert_eq!(ends, ["Kicked"]);
    }
    assert_eq!(closings(&others), vec![0; others.len()]);

    // And they are back, without apollo.
    scene.all_in(&members).await;
    let rights: Arc<[Right]> = [Right::of_project("apollo"), Right::of_project("gemini")].into();
    for held in held_by(members.iter().step_by(50), &rights, PATIENCE).await {
        assert!(held.is_some_and(|held| !held.any(0) && held.all(1)));
    }
    assert_eq!(scene.site.system.kicked(), 5000);
}

/// A policy of the next generation takes something from 10 of 1,000 sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_closes_those_that_lose_by_it() {
    let policy = |generation: u32, watched: &str| {
        format!(
            "version: 1\ngeneration: {generation}\naccount: APP\nrules:\n  - name: members\n    for_each: {{ membership: {{ kind: \
             project, role: member }} }}\n    publish: {{ allow: [\"projects.{{membership.id}}.in.>\"] }}\n    subscribe: {{ allow: \
             [\"projects.{{membership.id}}.>\"] }}\n  - name: watchers\n    for_each: {{ membership: {{ kind: project, role: member }} }}\n    \
             when: membership.id in {watched}\n    subscribe: {{ allow: [\"watch.{{membership.id}}.>\"] }}\n"
        )
    };
    let mut scene = Scene::new(SiteOptions {
        policy: policy(1, "['apollo', 'gemini']"),
        ..SiteOptions::default()
    })
    .await;
    let mut clients: HashMap<&str, Vec<Client>> = HashMap::new();
    for (project, people, sessions) in [("apollo", 99, 10), ("gemini", 2, 5)] {
        for number in 0..people {
            let subject = format!("{project}-{number}");
            scene.site.members.add(&subject, project);
            clients
                .entry(project)
                .or_default()
                .extend(scene.join(&subject, sessions));
        }
    }
    for clients in clients.values() {
        scene.all_in(clients).await;
    }
    assert_eq!(clients["apollo"].len() + clients["gemini"].len(), 1000);

    // The people of gemini no longer watch. One decision service after the other gets the new policy.
    for index in 0..2 {
        let decision = &mut scene.site.decisions[index];
        std::fs::write(decision.folder().join("policy.yaml"), policy(2, "['apollo']")).unwrap();
        decision.stop().await;
        decision.start_again();
        scene.site.ready().await;
    }
    let losers = &clients["gemini"];
    let closed = || {
        losers
            .iter()
            .all(|client| client.look(|view| view.lives.len() == 2 && view.open().is_some()))
    };
    assert!(
        scene.crowd.until(PATIENCE, closed).await,
        "{:?}",
        losers[0].view()
    );
    // Everybody was looked at: the shims say how many.
    let spared = || {
        let logs = scene
            .site
            .shims
            .iter()
            .map(|shim| shim.logs())
            .collect::<String>();
        counted(&logs, "spared") >= 990
    };
    assert!(
        scene.crowd.until(PATIENCE, spared).await,
        "not everybody was looked at"
    );
    assert_eq!(closings(&clients["apollo"]), vec![0; 990]);
    assert_eq!(scene.site.system.kicked(), 10);
    let watching = |project: &str| Right {
        publish: format!("projects.{project}.in.x"),
        subscribe: format!("watch.{project}.>"),
    };
    for project in ["apollo", "gemini"] {
        let rights: Arc<[Right]> = [watching(project)].into();
        for held in held_by(clients[project].iter().step_by(5), &rights, PATIENCE).await {
            assert_eq!(held.expect("it is connected").subscribe, [project == "apollo"]);
        }
    }
}

/// The sum of a field in log lines about revocations that were carried out.
fn counted(logs: &str, field: &str) -> u64 {
    logs.lines()
        .filter(|line| line.contains("a revocation was carried out"))
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line.get("fields").unwrap_or(&line).get(field)?.as_u64()
        })
        .sum()
}

/// A membership pushed and taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_that_is_taken_revokes_by_itself() {
    let mut scene = Scene::new(SiteOptions {
        pushed: true,
        ..SiteOptions::default()
    })
    .await;
    let api = scene.site.api.clone();
    let mut items = Vec::new();
    for number in 0..20 {
        for room in ["red", "blue"] {
            items.push(api.item(&format!("p{number}"), "room", room));
        }
    }
    api.put(0, "all", items, PATIENCE).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.extend(scene.join(&format!("p{number}"), 5));
    }
    scene.all_in(&clients).await;

    // One who had it, and one who never did: only the former's sessions lose anything.
    let taken = vec![api.item("p3", "room", "red"), api.item("p4", "room", "green")];
    api.delete(1, "one", taken, PATIENCE).await.unwrap();
    let (losers, others): (Vec<_>, Vec<_>) = clients.iter().partition(|client| client.name() == "p3");
    assert_eq!(losers.len(), 5);
    let back = || {
        losers
            .iter()
            .all(|client| client.look(|view| view.lives.len() == 2 && view.open().is_some()))
    };
    assert!(scene.crowd.until(PATIENCE, back).await, "{:?}", losers[0].view());
    let rights: Arc<[Right]> = [Right::of_project("red"), Right::of_project("blue")].into();
    for held in held_by(losers, &rights, PATIENCE).await {
        assert!(held.is_some_and(|held| !held.any(0) && held.all(1)));
    }
    // What is given closes nobody.
    api.put(0, "more", vec![api.item("p5", "room", "green")], PATIENCE)
        .await
        .unwrap();
    // Whatever was closed by these was closed by the time that a later revocation is carried out.
    let later = revoke("later", selector::principal(api.principal("nobody")));
    assert_done(&api.revoke(0, later, PATIENCE).await.unwrap(), 0);
    for held in held_by(others.iter().copied(), &rights, PATIENCE).await {
        assert!(held.is_some_and(|held| held.all(0) && held.all(1)));
    }
    assert!(
        others
            .iter()
            .all(|client| client.look(|view| view.lives.len() == 1))
    );
    assert_eq!(scene.site.system.kicked(), 5);
}
