use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use natsgate_proto::v1;
use natsgate_proto::v1::authorize_response::Result as Answered;
use natsgate_proto::v1::decision_service_server::{DecisionService, DecisionServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Response;

use super::*;

/// What a service in a test does when it is asked.
#[derive(Clone, Copy)]
enum Does {
    Grant,
    Deny,
    SayNeither,
    Fail(Code),
    Hang,
}

struct Service {
    does: Does,
    asked: AtomicU32,
}

#[tonic::async_trait]
impl DecisionService for Service {
    async fn authorize(
        &self,
        _: Request<AuthorizeRequest>,
    ) -> Result<Response<v1::AuthorizeResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let result = match self.does {
            Does::Grant => Some(Answered::Grant(v1::Grant::default())),
            Does::Deny => Some(Answered::Denial(v1::Denial::default())),
            Does::SayNeither => None,
            Does::Fail(code) => return Err(Status::new(code, "as the test wants it")),
            Does::Hang => std::future::pending().await,
        };
        Ok(Response::new(v1::AuthorizeResponse {
            decision_id: "d".into(),
            result,
        }))
    }

    async fn recheck(
        &self,
        _request: tonic::Request<natsgate_proto::v1::RecheckRequest>,
    ) -> Result<tonic::Response<natsgate_proto::v1::RecheckResponse>, tonic::Status> {
        Err(tonic::Status::unimplemented("it does not know"))
    }
}

async fn serve(does: Does) -> (Arc<Service>, Endpoint) {
    let service = Arc::new(Service {
        does,
        asked: AtomicU32::new(0),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = DecisionServiceServer::from_arc(Arc::clone(&service));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(server)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (service, Endpoint::new(&url, None).unwrap())
}

/// Nobody listens there: the port was given back.
async fn nobody() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    Endpoint::new(&url, None).unwrap()
}

fn over(endpoints: Vec<Endpoint>) -> Remote {
    Remote::new(
        endpoints,
        RemoteSettings {
            attempt_timeout: Duration::from_millis(200),
        },
    )
}

async fn ask(remote: &Remote) -> Result<Answer, Unanswered> {
    remote
        .authorize(
            AuthorizeRequest::default(),
            Deadline::after(Duration::from_secs(10)),
        )
        .await
}

async fn ask_briefly(remote: &Remote) -> Result<Answer, Unanswered> {
    remote
        .authorize(
            AuthorizeRequest::default(),
            Deadline::after(Duration::from_millis(400)),
        )
        .await
}

fn asked(service: &Service) -> u32 {
    service.asked.load(Ordering::SeqCst)
}

#[tokio::test]
async fn endpoints_are_asked_in_turn() {
    let (one, first) = serve(Does::Grant).await;
    let (two, second) = serve(Does::Grant).await;
    let remote = over(vec![first, second]);
    for _ in 0..6 {
        assert!(ask(&remote).await.unwrap().outcome.is_ok());
    }
    assert_eq!((asked(&one), asked(&two)), (3, 3));
}

#[tokio::test]
async fn a_denial_is_an_answer_and_nobody_else_is_asked() {
    let (one, first) = serve(Does::Deny).await;
    let (two, second) = serve(Does::Grant).await;
    let remote = over(vec![first, second]);
    assert!(ask(&remote).await.unwrap().outcome.is_err());
    assert_eq!((asked(&one), asked(&two)), (1, 0));
}

#[tokio::test]
async fn whoever_does_not_answer_is_passed_over() {
    for does in [
        Does::Hang,
        Does::SayNeither,
        Does::Fail(Code::Unavailable),
        Does::Fail(Code::Internal),
        Does::Fail(Code::ResourceExhausted),
        Does::Fail(Code::Unauthenticated),
        Does::Fail(Code::Unimplemented),
    ] {
        let (_bad, first) = serve(does).await;
        let (good, second) = serve(Does::Grant).await;
        let remote = over(vec![first, second, nobody().await]);
        for _ in 0..6 {
            assert!(ask(&remote).await.unwrap().outcome.is_ok());
        }
        assert_eq!(asked(&good), 6);
    }
}

#[tokio::test]
async fn one_that_failed_is_asked_last_for_a_while() {
    let (bad, first) = serve(Does::SayNeither).await;
    let (_good, second) = serve(Does::Grant).await;
    let remote = over(vec![first, second]);
    for _ in 0..10 {
        assert!(ask(&remote).await.is_ok());
    }
    // In turn it would have been asked five times.
    assert!(asked(&bad) < 5, "{}", asked(&bad));
}

#[tokio::test]
async fn a_provider_outage_behind_an_endpoint_does_not_eject_it() {
    let (one, first) = serve(Does::Fail(Code::Unavailable)).await;
    let (_two, second) = serve(Does::Grant).await;
    let remote = over(vec![first, second]);
    for _ in 0..4 {
        assert!(ask(&remote).await.is_ok());
    }
    assert_eq!(asked(&one), 2);
}

#[tokio::test]
async fn a_request_that_is_wrong_is_wrong_everywhere() {
    let (one, first) = serve(Does::Fail(Code::InvalidArgument)).await;
    let (two, second) = serve(Does::Grant).await;
    let remote = over(vec![first, second]);
    assert!(ask(&remote).await.is_err());
    assert_eq!((asked(&one), asked(&two)), (1, 0));
}

#[tokio::test]
async fn without_an_answer_there_is_none_and_no_grant_is_made_up() {
    let (bad, endpoint) = serve(Does::Fail(Code::Internal)).await;
    assert!(ask_briefly(&over(vec![endpoint])).await.is_err());
    assert!(asked(&bad) > 1, "it is asked again while there is time");
    let (_hanging, endpoint) = serve(Does::Hang).await;
    assert!(ask_briefly(&over(vec![endpoint])).await.is_err());
    assert!(ask_briefly(&over(vec![nobody().await])).await.is_err());
    assert!(ask_briefly(&over(vec![])).await.is_err());
}
