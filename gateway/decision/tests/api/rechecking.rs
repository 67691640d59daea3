//! `Recheck` over gRPC.

use natsgate_proto::v1;
use natsgate_proto::v1::authorize_response::Result as Answer;
use natsgate_proto::v1::recheck_result::Result as Rechecked;
use tonic::Code;

use crate::desk::{Desk, alice, ban, with_token};
use crate::faults::Fault;

async fn granted(desk: &Desk) -> v1::Grant {
    let request = v1::AuthorizeRequest {
        server: Some(v1::Server {
            id: "N".into(),
            ..Default::default()
        }),
        user_nkey: "U".into(),
        client: Some(v1::Client::default()),
        connect_options: Some(with_token("alice")),
        ..Default::default()
    };
    let answer = desk.deciding().await.authorize(request).await.unwrap();
    match answer.into_inner().result.unwrap() {
        Answer::Grant(grant) => grant,
        Answer::Denial(denial) => panic!("{denial:?}"),
    }
}

#[tokio::test]
async fn what_a_session_would_get_is_told_as_a_grant_of_its_own() {
    let desk = Desk::start().await;
    let grant = granted(&desk).await;
    assert!(!grant.basis.is_empty() && grant.concerns.iter().all(|one| one.len() == 16));
    let request = v1::RecheckRequest {
        min_revision: grant.as_of.clone(),
        bases: vec![grant.basis.clone(), b"something else".to_vec()],
    };
    let mut client = desk.deciding().await;
    let results = client
        .recheck(request.clone())
        .await
        .unwrap()
        .into_inner()
        .results;
    let [first, second] = &results[..] else {
        panic!("{results:?}")
    };
    match first.result.as_ref().unwrap() {
        Rechecked::Grant(again) => {
            assert_eq!(again.permissions, grant.permissions);
            assert_eq!((&again.concerns, &again.as_of), (&grant.concerns, &grant.as_of));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(second.result, Some(Rechecked::InDoubt(_))));

    desk.revoking("ops")
        .await
        .revoke(ban("k", alice()))
        .await
        .unwrap();
    let results = client.recheck(request).await.unwrap().into_inner().results;
    // Her token is as old as the revocation, which comes first.
    assert!(
        matches!(results[0].result, Some(Rechecked::InDoubt(_))),
        "{results:?}"
    );
}

#[tokio::test]
async fn too_many_too_few_and_what_cannot_be_told() {
    let desk = Desk::start().await;
    let mut client = desk.deciding().await;
    for bases in [Vec::new(), vec![Vec::new(); 501]] {
        let request = v1::RecheckRequest {
            bases,
            ..Default::default()
        };
        assert_eq!(
            client.recheck(request).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let request = v1::RecheckRequest {
        min_revision: "x".into(),
        bases: vec![Vec::new()],
    };
    assert_eq!(
        client.recheck(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let full = v1::RecheckRequest {
        bases: vec![vec![0; 16_000]; 500],
        ..Default::default()
    };
    assert_eq!(
        client.recheck(full).await.unwrap().into_inner().results.len(),
        500
    );

    let basis = granted(&desk).await.basis;
    // Another rule of the bans' cache: an account that was never asked for.
    desk.revoking("ops")
        .await
        .revoke(ban("k", v1::selector::Selector::Account("APP".into())))
        .await
        .unwrap();
    desk.bans.reading.next(Fault::Before);
    let request = v1::RecheckRequest {
        bases: vec![basis],
        ..Default::default()
    };
    assert_eq!(
        client.recheck(request).await.unwrap_err().code(),
        Code::Unavailable
    );
}

#[tokio::test]
async fn who_may_not_have_decisions_made_may_not_ask_either() {
    let desk = Desk::start().await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", desk.address)).unwrap();
    let mut stranger =
        v1::decision_service_client::DecisionServiceClient::new(channel.connect().await.unwrap());
    let request = v1::RecheckRequest {
        bases: vec![Vec::new()],
        ..Default::default()
    };
    assert_eq!(
        stranger.recheck(request).await.unwrap_err().code(),
        Code::Unauthenticated
    );
}
