//! Single requests, with nobody else at work.

use natsgate_claims::{AccountBody, ClaimsToSign, Role, decode, encode};

use super::oracle::{foreign_part, read};
use super::world::{World, issued_at};
use super::*;
use crate::account::AccountError;
use crate::naming::ScopeRole;
use crate::operation::Operation;
use crate::plan::PlanError;
use crate::testing::{generation, key, name, template};

fn world() -> Arc<World> {
    World::new(1, 3, &first_jwt())
}

fn put(subject: &str) -> Operation {
    Operation::PutTemplate(Box::new(template("member", &[subject], &["b"])))
}

fn asks(operations: &[Operation]) -> Request {
    Request {
        operations: operations.to_vec(),
        ..Request::default()
    }
}

fn push(writer: &Writer, operations: &[Operation]) -> Result<Report, WriterError> {
    after_a_while(writer.push(&asks(operations), hour()))
}

fn tend(writer: &Writer) -> Result<Report, WriterError> {
    after_a_while(writer.tend(&Request::default(), hour()))
}

fn kept(world: &World) -> String {
    world.state().servers[0].kept.clone().unwrap()
}

/// `jwt` as somebody edits it and signs it at `at`.
fn edited(jwt: &str, at: i64, edit: impl FnOnce(&mut AccountBody)) -> String {
    let mut claims: ClaimsToSign<AccountBody> = decode(jwt, NOW).unwrap().into();
    edit(&mut claims.body);
    encode(claims, &operator(), at).unwrap()
}

fn describe(text: &str) -> impl FnOnce(&mut AccountBody) {
    let text = Some(text.to_owned());
    move |body| body.description = text
}

fn number(jwt: &str) -> u32 {
    let account = read(jwt);
    let state = account.template(&name("member")).unwrap();
    state.newest().generation().number()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_pushed_once_and_read_back() {
    let world = world();
    let writer = process(&world, 1);
    let report = push(&writer, &[put("a")]).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.fence, report.pushes, report.servers.len()), (1, 1, 3));
    assert_eq!(report.foreign, []);
    assert!(
        report
            .servers
            .iter()
            .all(|one| one.answer == Some(Ok(())) && one.standing == Standing::InForce)
    );
    let jwt = kept(&world);
    assert_eq!(report.signed.unwrap().size, jwt.len());
    assert_eq!(number(&jwt), 1);
    assert_eq!(
        decode::<AccountBody>(&jwt, NOW).unwrap().body.tags,
        ["region:eu", "natsgate-fence:1"]
    );
    assert_eq!(foreign_part(&jwt), foreign_part(&first_jwt()));

    for report in [push(&writer, &[put("a")]).unwrap(), tend(&writer).unwrap()] {
        assert_eq!((report.pushes, report.signed.is_none()), (0, true));
        assert!(report.plan.is_none() && report.is_complete());
    }
    assert_eq!(kept(&world), jwt);
    // Within the second, iat rises nevertheless.
    push(&writer, &[put("c")]).unwrap();
    assert_eq!(issued_at(&kept(&world)), issued_at(&jwt) + 1);
    assert_eq!(
        after_a_while(writer.wanted(hour())).unwrap().templates().count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_as_wanted_is_only_written_down() {
    let world = world();
    let report = tend(&process(&world, 1)).unwrap();
    assert_eq!((report.pushes, report.signed, report.foreign.len()), (0, None, 0));
    assert_eq!(kept(&world), first_jwt());
}

#[tokio::test(start_paused = true)]
async fn what_an_old_copy_lacks_comes_back_as_it_was() {
    let world = world();
    let writer = process(&world, 1);
    for subject in ["a", "c"] {
        push(&writer, &[put(subject)]).unwrap();
    }
    let ours = read(&kept(&world));
    tokio::time::advance(Duration::from_secs(5)).await;
    world.push_by_hand(&edited(&first_jwt(), world.now(), describe("edited")));
    let report = tend(&writer).unwrap();
    assert_eq!(report.restored.len(), 2);
    assert_eq!(report.foreign.len(), 1);
    assert!(report.foreign[0].merged && report.is_complete());
    let now = read(&kept(&world));
    assert_eq!(now.template(&name("member")), ours.template(&name("member")));
    assert_eq!(now.claims().body.description.as_deref(), Some("edited"));

    // And what was removed does not, though the copy has it.
    let copy = kept(&world);
    let role = ScopeRole {
        template: name("member"),
        generation: generation(1),
    };
    let removal = [Operation::RemoveGeneration(role)];
    push(&writer, &removal).unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    world.push_by_hand(&edited(&copy, world.now(), describe("again")));
    tend(&writer).unwrap();
    let now = read(&kept(&world));
    assert_eq!(now.template(&name("member")).unwrap().older().count(), 0);
    assert_eq!(now.claims().body.description.as_deref(), Some("again"));
    // Asked for again, it is done.
    assert_eq!(push(&writer, &removal).unwrap().pushes, 0);
}

#[tokio::test(start_paused = true)]
async fn of_several_edits_the_newest_is_merged_and_the_others_are_named() {
    let world = world();
    let writer = process(&world, 1);
    push(&writer, &[put("a")]).unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    for (index, age) in [(0, 3), (1, 1), (2, 2)] {
        let jwt = edited(&first_jwt(), world.now() - age, describe(&format!("{index}")));
        world.state().servers[index].kept = Some(jwt);
    }
    let report = tend(&writer).unwrap();
    let merged: Vec<_> = report
        .foreign
        .iter()
        .map(|foreign| (foreign.issued_at - NOW, foreign.merged))
        .collect();
    assert_eq!(merged, [(8, true), (7, false), (6, false)]);
    assert_eq!(
        read(&kept(&world)).claims().body.description.as_deref(),
        Some("1")
    );
    assert_eq!(tend(&writer).unwrap().pushes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_missed_a_push_gets_it_and_an_old_copy_is_put_right() {
    let world = world();
    let writer = process(&world, 1);
    push(&writer, &[put("a")]).unwrap();
    let old = kept(&world);
    tokio::time::advance(Duration::from_secs(90)).await;
    push(&writer, &[put("c")]).unwrap();
    let jwt = kept(&world);
    world.state().servers[2].kept = Some(old.clone());
    let report = tend(&writer).unwrap();
    assert_eq!(
        (report.pushes, report.signed.is_some(), report.outdated.len()),
        (1, false, 1)
    );
    world.push_by_hand(&old);
    tend(&writer).unwrap();
    assert_eq!(kept(&world), jwt);
}

#[tokio::test(start_paused = true)]
async fn servers_that_never_take_it_are_named_in_the_report() {
    let world = world();
    let writer = process(&world, 1);
    push(&writer, &[put("a")]).unwrap();
    world.state().servers[1].deaf = true;
    let report = push(&writer, &[put("c")]).unwrap();
    assert!(!report.is_complete());
    assert_eq!(report.pushes, 3);
    let missed: Vec<_> = report
        .servers
        .iter()
        .filter(|one| one.standing == Standing::Missed)
        .collect();
    assert_eq!(missed.len(), 1);
    assert_eq!((missed[0].server.name.as_str(), &missed[0].answer), ("n1", &None));
}

#[tokio::test(start_paused = true)]
async fn what_the_plan_refuses_changes_nothing() {
    let world = world();
    let writer = process(&world, 1);
    tend(&writer).unwrap();
    let stored = world.state().stored.clone();
    let refused = push(&writer, &[put("a"), Operation::RetireTemplate(name("nobody"))]);
    let Err(WriterError::Plan { cause, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        matches!(cause, PlanError::Account(AccountError::NoTemplate { .. })),
        "{cause}"
    );
    assert_eq!(world.state().stored, stored);
    assert_eq!(kept(&world), first_jwt());
}

#[tokio::test(start_paused = true)]
async fn one_writer_at_a_time_and_the_next_when_it_is_done() {
    let world = world();
    let (one, other) = (process(&world, 1), process(&world, 2));
    push(&one, &[put("a")]).unwrap();
    let held = push(&other, &[put("c")]).unwrap_err();
    assert!(
        matches!(&held, WriterError::Held { holder, .. } if holder == "writer-1"),
        "{held}"
    );
    after_a_while(one.release(hour())).unwrap();
    let report = push(&other, &[put("c")]).unwrap();
    assert_eq!((report.fence, number(&kept(&world))), (2, 2));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(push(&one, &[put("d")]).unwrap().fence, 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_lost_or_restored_is_noticed() {
    let world = world();
    push(&process(&world, 1), &[put("a")]).unwrap();
    let backup = world.state().stored.clone();
    tokio::time::advance(Duration::from_secs(31)).await;
    push(&process(&world, 2), &[put("c")]).unwrap();
    let newest = kept(&world);
    {
        let mut state = world.state();
        (state.newest, state.stored, state.lease) = (0, None, None);
    }
    let lost = tend(&process(&world, 3)).unwrap_err();
    assert!(
        matches!(
            lost,
            WriterError::StoreBehind {
                found: 2,
                fence: 1,
                ..
            }
        ),
        "{lost}"
    );
    // The tokens have caught up, and still it is noticed.
    {
        let mut state = world.state();
        (state.newest, state.stored, state.lease) = (7, backup, None);
    }
    let behind = tend(&process(&world, 4)).unwrap_err();
    assert!(matches!(behind, WriterError::GenerationAhead { .. }), "{behind}");
    assert_eq!(kept(&world), newest);
}

#[tokio::test(start_paused = true)]
async fn what_was_issued_far_ahead_or_by_a_stranger_is_refused() {
    let world = world();
    let writer = process(&world, 1);
    push(&writer, &[put("a")]).unwrap();
    let good = kept(&world);
    world.push_by_hand(&edited(&good, NOW + 3600, describe("x")));
    let ahead = tend(&writer).unwrap_err();
    assert!(matches!(ahead, WriterError::IssuedAhead { .. }), "{ahead}");
    let claims: ClaimsToSign<AccountBody> = decode(&good, NOW).unwrap().into();
    world.push_by_hand(&encode(claims, &key(Role::Operator, 9), NOW).unwrap());
    let stranger = tend(&writer).unwrap_err();
    assert!(matches!(stranger, WriterError::Unreadable { .. }), "{stranger}");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_no_server_knows_is_refused() {
    let world = world();
    for server in &mut world.state().servers {
        (server.kept, server.in_force) = (None, None);
    }
    let unknown = tend(&process(&world, 1)).unwrap_err();
    assert!(matches!(unknown, WriterError::UnknownAccount { .. }), "{unknown}");
    for server in &mut world.state().servers {
        server.up = false;
    }
    tokio::time::advance(Duration::from_secs(31)).await;
    let nobody = tend(&process(&world, 2)).unwrap_err();
    assert!(matches!(nobody, WriterError::NoServers { .. }), "{nobody}");
}

#[tokio::test(start_paused = true)]
async fn a_template_that_no_longer_fits_the_account_does_not_keep_it_from_being_written() {
    let world = world();
    let writer = process(&world, 1);
    let regional = Operation::PutTemplate(Box::new(template("member", &["{{account-tag(region)}}.a"], &[])));
    push(&writer, std::slice::from_ref(&regional)).unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    world.push_by_hand(&edited(&kept(&world), world.now(), |body| {
        body.tags.clear();
        body.signing_keys.clear();
    }));
    let report = tend(&writer).unwrap();
    assert_eq!(report.restored.len(), 1);
    assert!(matches!(
        push(&writer, &[regional]),
        Err(WriterError::Plan { .. })
    ));
}
