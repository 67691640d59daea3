//! A pretended shim, which answers for a pretended cluster.

use std::sync::Arc;

use natsgate_core::{AccountServers, AccountSessions, Deadline};
use natsgate_proto::v1;
use natsgate_proto::v1::link_answer::Result as Answer;
use natsgate_proto::v1::link_question::Ask;
use natsgate_proto::v1::{attach_request, attach_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::site::{PATIENCE, Pretended, Site};

/// What a shim does when it is asked to push.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnPush {
    Pushes,
    /// It is gone, in the middle.
    Goes,
    /// It never answers.
    Hangs,
}

pub fn hello(cluster: &str, shim: &str) -> v1::AttachRequest {
    v1::AttachRequest {
        message: Some(attach_request::Message::Hello(v1::LinkHello {
            cluster: cluster.to_owned(),
            shim: shim.to_owned(),
        })),
    }
}

/// Attaches as `caller`; what it is then sent.
pub async fn attach(
    site: &Site,
    caller: &'static str,
    first: v1::AttachRequest,
) -> Result<(mpsc::Sender<v1::AttachRequest>, Streaming<v1::AttachResponse>), Status> {
    let (answers, outgoing) = mpsc::channel(16);
    answers.send(first).await.unwrap();
    let attached = site.link(caller).attach(ReceiverStream::new(outgoing)).await?;
    let mut questions = attached.into_inner();
    let welcome = questions.message().await?.unwrap();
    assert!(matches!(
        welcome.message,
        Some(attach_response::Message::Attached(_))
    ));
    Ok((answers, questions))
}

/// A shim of `cluster`, which ends with the handle.
pub async fn shim(site: &Site, cluster: &Arc<Pretended>, name: &str, on_push: OnPush) -> Shim {
    let (answers, mut questions) = attach(site, "shim", hello(name, "s")).await.unwrap();
    let cluster = Arc::clone(cluster);
    let running = tokio::spawn(async move {
        while let Ok(Some(message)) = questions.message().await {
            let Some(attach_response::Message::Question(question)) = message.message else {
                continue;
            };
            if matches!(question.ask, Some(Ask::Push(_))) {
                match on_push {
                    OnPush::Pushes => {}
                    OnPush::Goes => return,
                    OnPush::Hangs => continue,
                }
            }
            let result = answer(&cluster, question.ask.unwrap()).await;
            let answer = v1::LinkAnswer {
                id: question.id,
                result: Some(result),
            };
            let message = Some(attach_request::Message::Answer(answer));
            if answers.send(v1::AttachRequest { message }).await.is_err() {
                return;
            }
        }
    });
    Shim(running)
}

pub struct Shim(tokio::task::JoinHandle<()>);

impl Drop for Shim {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(cluster: &Pretended, ask: Ask) -> Answer {
    let deadline = Deadline::after(PATIENCE);
    let answered = async {
        Ok(match ask {
            Ask::Roster(_) => {
                let servers = cluster.roster(deadline).await?.into_iter();
                let servers = servers.map(|one| v1::RosterServer {
                    id: one.id,
                    name: one.name,
                    version: one.version,
                });
                Answer::Roster(v1::Roster {
                    servers: servers.collect(),
                })
            }
            Ask::Kept(ask) => Answer::Kept(v1::KeptAccounts {
                jwts: cluster.look_up(&ask.account, deadline).await?,
            }),
            Ask::InForce(_) => Answer::InForce(v1::AccountInForce {
                jwt: cluster.state.lock().unwrap().in_force.clone().unwrap_or_default(),
            }),
            Ask::Push(ask) => {
                let answers = cluster.push(&ask.jwt, 1, deadline).await?.into_iter();
                let answers = answers.map(|one| v1::ServerPushAnswer {
                    server_id: one.server_id,
                    refusal: String::new(),
                });
                Answer::Push(v1::PushAnswers {
                    answers: answers.collect(),
                })
            }
            Ask::Sessions(ask) => {
                let counts = cluster.count(&ask.account, deadline).await?;
                Answer::Sessions(v1::AccountSessions {
                    by_issuer_key: counts.by_issuer.into_iter().collect(),
                    max_payload: 0,
                })
            }
            Ask::Close(_) => Answer::Closed(v1::SessionsClosed::default()),
        })
    };
    let answered: Result<Answer, natsgate_core::AccountServersError> = answered.await;
    answered.unwrap_or_else(|error| {
        Answer::Failure(v1::LinkFailure {
            doing: error.doing,
            cause: error.cause,
        })
    })
}
