use std::sync::Arc;

use natsgate_claims::{AccountBody, Role, SigningKey, encode};

use super::*;
use crate::defaults::DefaultPermissions;
use crate::testing::{
    NOW, account_key, generation, key, keys, name, operator, permissions, rotated_keys, template,
};

fn put(name: &str, publish: &[&str]) -> Operation {
    Operation::PutTemplate(Box::new(template(name, publish, &["in"])))
}

fn retire(of: &str) -> Operation {
    Operation::RetireTemplate(name(of))
}

fn remove(of: &str, number: u32) -> Operation {
    Operation::RemoveGeneration(ScopeRole {
        template: name(of),
        generation: generation(number),
    })
}

fn set_defaults(publish: &[&str]) -> Operation {
    Operation::SetDefaults(DefaultPermissions::new(permissions(publish, &[])).unwrap())
}

/// An account after `operations`, as it was pushed.
fn pushed(operations: &[Operation]) -> ManagedAccount {
    let mut account = ManagedAccount::create("APP", Arc::new(keys()));
    for operation in operations {
        account.apply(operation, NOW).unwrap();
    }
    again(&account, keys())
}

fn again(account: &ManagedAccount, keys: crate::keys::ScopedKeys) -> ManagedAccount {
    let token = encode(account.claims().clone(), &operator(), NOW).unwrap();
    let operators = [operator().public_key().to_owned()];
    ManagedAccount::read(&token, Arc::new(keys), &operators, NOW).unwrap()
}

fn issuer(of: &str, number: u32) -> String {
    let key = keys().derive(&name(of), generation(number)).unwrap();
    key.public_key().to_owned()
}

fn sessions(counts: &[(String, u64)]) -> Sessions {
    Sessions {
        by_issuer: counts.iter().cloned().collect(),
        on_defaults: None,
    }
}

fn servers(versions: &[&str]) -> Vec<Server> {
    let server = |version: &&str| Server {
        name: format!("n-{version}"),
        version: (*version).to_owned(),
        max_payload: Some(1 << 20),
    };
    versions.iter().map(server).collect()
}

/// What a test may change about the circumstances.
struct Given {
    servers: Vec<Server>,
    cap: usize,
    may_reconnect: bool,
}

fn plan_with(
    account: &ManagedAccount,
    operations: &[Operation],
    sessions: &Sessions,
    change: impl FnOnce(&mut Given),
) -> Result<Plan, PlanError> {
    let mut given = Given {
        servers: servers(&["2.15.1", "2.14.3"]),
        cap: CAP,
        may_reconnect: false,
    };
    change(&mut given);
    let operator = operator();
    let circumstances = Circumstances {
        operator: operator.public_key(),
        now: NOW,
        cap: given.cap,
        servers: &given.servers,
        sessions,
        may_reconnect: given.may_reconnect,
    };
    Plan::make(account, operations, &circumstances)
}

fn plan(account: &ManagedAccount, operations: &[Operation], of: &Sessions) -> Plan {
    plan_with(account, operations, of, |_| {}).unwrap()
}

#[test]
fn a_new_account_is_planned_with_the_size_it_will_have() {
    let account = ManagedAccount::create("APP", Arc::new(keys()));
    let plan = plan(&account, &[put("member", &["a"])], &Sessions::default());
    let token = encode(plan.after.claims().clone(), &operator(), NOW).unwrap();
    assert_eq!((plan.size_now, plan.size_after), (None, token.len()));
    assert_eq!(
        plan.templates,
        [(
            name("member"),
            Change::New {
                generation: generation(1)
            }
        )]
    );
    assert!(!plan.is_empty());
}

#[test]
fn what_is_there_already_needs_no_push() {
    let account = pushed(&[put("member", &["a"])]);
    let plan = plan(&account, &[put("member", &["a"])], &Sessions::default());
    assert!(plan.is_empty());
    assert_eq!(plan.to_string(), "nothing changes");
    assert_eq!(plan.size_now, Some(plan.size_after));
}

#[test]
fn widening_drains_at_a_pace_and_narrowing_at_once() {
    let account = pushed(&[put("member", &["a", "b"])]);
    let of = sessions(&[(issuer("member", 1), 40), (account_key(), 5)]);

    let wider = plan(&account, &[put("member", &["a", "b", "c"])], &of);
    assert_eq!((wider.connected, wider.reconnecting, wider.losing), (45, 40, 0));
    assert_eq!(
        (wider.drains[0].loses, wider.drains[0].fate),
        (false, Fate::Drained)
    );
    let text = wider.to_string();
    for line in [
        "template member: widened, generation 2 beside 1",
        "    + publish.allow c",
        "40 sessions of natsgate.member.1: reconnect at a pace, and lose nothing",
        "of 45 sessions, at most 40 reconnect and at most 0 lose something",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    let narrower = plan(&account, &[put("member", &["a", "c"])], &of);
    assert_eq!((narrower.reconnecting, narrower.losing), (40, 40));
    assert!(narrower.to_string().contains("    - publish.allow b"));
}

#[test]
fn every_older_generation_is_held_against_the_newest() {
    // Generation 1 had b, 2 has not, 3 has it again.
    let account = pushed(&[put("member", &["a", "b"]), put("member", &["a"])]);
    let of = sessions(&[(issuer("member", 1), 3), (issuer("member", 2), 4)]);
    let plan = plan(&account, &[put("member", &["a", "c"])], &of);
    let loses: Vec<_> = plan
        .drains
        .iter()
        .map(|drain| (drain.sessions, drain.loses))
        .collect();
    assert_eq!(loses, [(3, true), (4, false)]);
    assert_eq!((plan.reconnecting, plan.losing), (7, 3));
}

#[test]
fn drains_under_way_are_not_counted_for_another_change() {
    let account = pushed(&[put("member", &["a"]), put("member", &["b"])]);
    let of = sessions(&[(issuer("member", 1), 3)]);
    let plan = plan(&account, &[put("other", &["x"])], &of);
    assert_eq!((plan.reconnecting, plan.drains.len()), (0, 0));
}

#[test]
fn retiring_and_removing_take_something() {
    let account = pushed(&[put("member", &["a"]), put("member", &["a", "b"])]);
    let of = sessions(&[(issuer("member", 1), 3), (issuer("member", 2), 4)]);
    let retired = plan(&account, &[retire("member")], &of);
    assert_eq!((retired.reconnecting, retired.losing), (7, 7));
    assert!(matches!(retired.templates[0].1, Change::Retired { .. }));

    let removed = plan(&account, &[remove("member", 1)], &of);
    assert_eq!((removed.reconnecting, removed.losing), (3, 0));
    assert_eq!(removed.drains[0].fate, Fate::Closed);
    assert_eq!(removed.removed[0].to_string(), "natsgate.member.1");

    // All of a role in one push.
    let all = plan(
        &account,
        &[retire("member"), remove("member", 1), remove("member", 2)],
        &of,
    );
    assert_eq!((all.reconnecting, all.losing), (7, 7));
    assert!(all.drains.iter().all(|drain| drain.fate == Fate::Closed));
    let gone = plan(
        &again(&all.after, keys()),
        &[remove("member", 3)],
        &Sessions::default(),
    );
    assert_eq!(gone.templates, [(name("member"), Change::Gone)]);
    assert!(!gone.is_empty());
}

#[test]
fn a_new_root_secret_moves_everybody_and_takes_nothing() {
    let account = again(&pushed(&[put("member", &["a"])]), rotated_keys());
    let of = sessions(&[(issuer("member", 1), 9)]);
    let plan = plan(&account, &[Operation::Rotate], &of);
    assert_eq!((plan.reconnecting, plan.losing), (9, 0));
    assert!(matches!(plan.templates[0].1, Change::Rekeyed { .. }));
}

#[test]
fn live_defaults_need_every_server() {
    let account = pushed(&[set_defaults(&["a"])]);
    let of = sessions(&[(account_key(), 10), (issuer("member", 1), 3)]);
    let wider = plan(&account, &[set_defaults(&["a", "b"])], &of);
    assert_eq!((wider.reconnecting, wider.losing), (0, 0));
    assert_eq!(wider.defaults.unwrap().effect, DefaultsEffect::Live);
    let narrower = plan(&account, &[set_defaults(&["b"])], &of);
    assert_eq!((narrower.reconnecting, narrower.losing), (0, 10));

    let mixed = || servers(&["2.15.1", "2.12.8", "2.12.12", "2.14.3-RC.1", "?"]);
    let refused = plan_with(&account, &[set_defaults(&["b"])], &of, |c| c.servers = mixed());
    let refused = refused.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("not on n-2.12.8 (2.12.8), n-2.12.12 (2.12.12), n-2.14.3-RC.1"),
        "{refused}"
    );
    let fallback = plan_with(&account, &[set_defaults(&["b"])], &of, |c| {
        (c.servers, c.may_reconnect) = (mixed(), true);
    })
    .unwrap();
    assert_eq!((fallback.reconnecting, fallback.losing), (10, 10));
    assert!(
        fallback
            .to_string()
            .contains("not applied live by n-2.12.8 (2.12.8)")
    );

    // Nothing known is not new enough.
    let unknown = plan_with(&account, &[set_defaults(&["b"])], &of, |c| c.servers.clear());
    assert!(matches!(unknown, Err(PlanError::NotLive { servers }) if servers.is_empty()));
    // Old servers do not matter to what they are not needed for.
    plan_with(&account, &[put("member", &["a"])], &of, |c| c.servers = mixed()).unwrap();
}

#[test]
fn who_is_on_defaults_may_be_known() {
    let account = pushed(&[set_defaults(&["a"])]);
    let mut of = sessions(&[(account_key(), 10)]);
    of.on_defaults = Some(4);
    let plan = plan(&account, &[set_defaults(&["b"])], &of);
    assert_eq!(plan.losing, 4);
}

#[test]
fn first_defaults_narrow_and_clearing_them_opens_everything() {
    let of = sessions(&[(account_key(), 10)]);
    let first = plan(&pushed(&[]), &[set_defaults(&["a"])], &of);
    assert_eq!((first.reconnecting, first.losing), (0, 10));
    let cleared = plan(&pushed(&[set_defaults(&["a"])]), &[Operation::ClearDefaults], &of);
    assert_eq!(cleared.losing, 0);
    assert!(cleared.to_string().contains("may do EVERYTHING"), "{cleared}");
}

#[test]
fn a_revocation_of_everyone_reaches_everyone() {
    let of = sessions(&[(account_key(), 10), ("somebody's".to_owned(), 5)]);
    let account = pushed(&[]);
    let revoke = [Operation::RevokeEveryone { up_to: NOW }];
    let plan = plan(&account, &revoke, &of);
    assert_eq!(
        (plan.revoked_up_to, plan.reconnecting, plan.losing),
        (Some(NOW), 15, 0)
    );
    assert!(plan.to_string().contains("some then stop reconnecting"));
}

#[test]
fn two_thousand_templates_fit_and_three_thousand_do_not() {
    let puts: Vec<Operation> = (0..3000)
        .map(|number| {
            let subject = format!("apps.{{{{tag(app)}}}}.role-{number}.>");
            let answers = format!("answers.{{{{tag(app)}}}}.role-{number}.>");
            let subjects = [subject.as_str(), answers.as_str()];
            Operation::PutTemplate(Box::new(template(
                &format!("role-{number}"),
                &subjects,
                &subjects,
            )))
        })
        .collect();
    let account = ManagedAccount::create("APP", Arc::new(keys()));
    let fits = plan(&account, &puts[..2000], &Sessions::default());
    assert!(
        (700_000..1_000_000).contains(&fits.size_after),
        "{}",
        fits.size_after
    );
    let refused = plan_with(&account, &puts, &Sessions::default(), |_| {}).unwrap_err();
    let PlanError::OverCap { size, cap, templates } = &refused else {
        panic!("{refused}");
    };
    assert!(*size > 1_200_000, "{size}");
    assert_eq!((*cap, *templates), (1_048_576, 3000));
    for instead in ["fewer or shorter subjects", "another account", "mode reconnect"] {
        assert!(refused.to_string().contains(instead), "{refused}");
    }
}

#[test]
fn a_smaller_cap_and_a_server_s_largest_message_hold_too() {
    let account = pushed(&[]);
    let operations = [put("member", &["a"])];
    let of = Sessions::default();
    let size = plan(&account, &operations, &of).size_after;
    assert!(plan_with(&account, &operations, &of, |c| c.cap = size).is_ok());
    let over = plan_with(&account, &operations, &of, |c| c.cap = size - 1);
    assert!(matches!(over, Err(PlanError::OverCap { .. })));
    // The cap is nats-server's at most.
    let more = plan_with(&account, &operations, &of, |c| c.cap = usize::MAX).unwrap();
    assert_eq!(more.cap, CAP);

    let taking = |bytes: usize| {
        plan_with(&account, &operations, &of, |c| {
            c.servers[0].max_payload = Some(bytes as u64);
        })
    };
    assert!(taking(size).is_ok());
    assert!(matches!(taking(size - 1), Err(PlanError::OverMaxPayload { .. })));
}

#[test]
fn what_a_person_should_look_at_is_said() {
    let stranger = key(Role::Account, 9).public_key().to_owned();
    let limits = natsgate_claims::UserPermissionLimits::unlimited();
    let body = AccountBody {
        signing_keys: vec![SigningKey::scoped(stranger, "natsgate.member.1", limits)],
        ..AccountBody::default()
    };
    let claims = natsgate_claims::ClaimsToSign::new(account_key(), body);
    let token = encode(claims, &operator(), NOW).unwrap();
    let operators = [operator().public_key().to_owned()];
    let account = ManagedAccount::read(&token, Arc::new(keys()), &operators, NOW).unwrap();
    let plan = plan(&account, &[], &Sessions::default());
    assert!(plan.is_empty());
    assert!(
        plan.to_string()
            .contains("warning: the signing key with the role natsgate.member.1")
    );
}

#[test]
fn an_operation_that_cannot_be_done_makes_no_plan() {
    let refused = plan_with(&pushed(&[]), &[retire("member")], &Sessions::default(), |_| {});
    assert!(matches!(refused, Err(PlanError::Account(_))));
}
