//! What a caller may list, page by page.

use natsgate_proto::v1::{ListMembershipsRequest, ListMembershipsResponse};
use tonic::{Code, Status};

use crate::service::{Client, Service, delete, fields, item, put, reason, with_token};

async fn list(
    client: &mut Client,
    request: ListMembershipsRequest,
) -> Result<ListMembershipsResponse, Status> {
    client
        .list_memberships(request)
        .await
        .map(tonic::Response::into_inner)
}

fn ids(page: &ListMembershipsResponse) -> Vec<String> {
    let id = |record: &natsgate_proto::v1::MembershipRecord| record.membership.clone().unwrap().id;
    page.records.iter().map(id).collect()
}

#[tokio::test]
async fn pages_follow_one_another_to_the_end() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    let names: Vec<String> = (0..25).map(|n| format!("p{n:02}")).collect();
    let items = names.iter().map(|id| item("alice", id)).collect();
    crm.put_memberships(put("k", items)).await.unwrap();
    crm.delete_memberships(delete("k", vec![item("alice", "p03")]))
        .await
        .unwrap();
    let mut request = ListMembershipsRequest {
        page_size: 10,
        ..Default::default()
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        let page = list(&mut crm, request.clone()).await.unwrap();
        seen.extend(ids(&page));
        request.page_token = page.next_page_token;
    }
    assert_eq!(request.page_token, "");
    assert_eq!(
        seen,
        names.into_iter().filter(|id| id != "p03").collect::<Vec<_>>()
    );
    let all = ListMembershipsRequest {
        include_deleted: true,
        id: "p03".into(),
        ..Default::default()
    };
    let page = list(&mut crm, all).await.unwrap();
    assert_eq!(
        (
            page.records.len(),
            page.records[0].deleted,
            page.records[0].version
        ),
        (1, true, 2)
    );
}

#[tokio::test]
async fn a_caller_sees_only_what_it_may_speak_for() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    let mut device = item("alice", "eu-2");
    device.membership.as_mut().unwrap().kind = "device".into();
    let mut owner = item("alice", "eu-3");
    owner.membership.as_mut().unwrap().role = "owner".into();
    let items = vec![item("alice", "eu-1"), item("alice", "us-1"), device, owner];
    crm.put_memberships(put("k", items)).await.unwrap();
    assert_eq!(list(&mut crm, Default::default()).await.unwrap().records.len(), 4);

    let token = service.token(|spec| spec);
    let mut bot = service.stranger().await;
    for request in [
        ListMembershipsRequest::default(),
        ListMembershipsRequest {
            issuer: "https://idp.example".into(),
            subject: "alice".into(),
            ..Default::default()
        },
    ] {
        let page = bot
            .list_memberships(with_token(request, &token))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(ids(&page), ["eu-1"]);
    }
    let beyond = ListMembershipsRequest {
        id: "us-1".into(),
        ..Default::default()
    };
    let page = bot
        .list_memberships(with_token(beyond, &token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page, ListMembershipsResponse::default());
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_list_only() {
    let service = Service::start().await;
    let mut crm = service.crm().await;
    crm.put_memberships(put("k", vec![item("alice", "eu-1"), item("alice", "eu-2")]))
        .await
        .unwrap();
    let first = ListMembershipsRequest {
        page_size: 1,
        ..Default::default()
    };
    let token = list(&mut crm, first.clone()).await.unwrap().next_page_token;
    let next = ListMembershipsRequest {
        page_token: token.clone(),
        ..first
    };
    assert_eq!(ids(&list(&mut crm, next.clone()).await.unwrap()), ["eu-2"]);

    let refused = |status: Status| {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::InvalidArgument, "INVALID_REQUEST".into())
        );
        fields(&status)
    };
    for bad in [
        ListMembershipsRequest {
            page_token: "x".into(),
            ..Default::default()
        },
        ListMembershipsRequest {
            page_token: format!("{token}AA"),
            ..Default::default()
        },
        ListMembershipsRequest {
            role: "member".into(),
            ..next.clone()
        },
    ] {
        assert_eq!(refused(list(&mut crm, bad).await.unwrap_err()), ["page_token"]);
    }
    let bearer = service.token(|spec| spec);
    let other = service
        .stranger()
        .await
        .list_memberships(with_token(next, &bearer))
        .await;
    assert_eq!(refused(other.unwrap_err()), ["page_token"]);
    let large = ListMembershipsRequest {
        page_size: 1001,
        ..Default::default()
    };
    assert_eq!(refused(list(&mut crm, large).await.unwrap_err()), ["page_size"]);
}
