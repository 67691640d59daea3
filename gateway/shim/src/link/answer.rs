//! What is answered to a question.

use std::time::Duration;

use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, CloseUntil, Deadline,
};
use natsgate_proto::v1;
use natsgate_proto::v1::link_answer::Result as Answer;
use natsgate_proto::v1::link_question::Ask;

use crate::lending::SystemAccounts;

/// The answer of `accounts` to `question`.
pub(super) async fn to(accounts: &SystemAccounts, question: v1::LinkQuestion) -> v1::LinkAnswer {
    let within = question.within.and_then(|within| Duration::try_from(within).ok());
    let deadline = Deadline::after(within.unwrap_or_default());
    let answered = match question.ask {
        Some(ask) => answer(accounts, ask, deadline).await,
        None => Err(AccountServersError {
            doing: "reading a question of the account writer".to_owned(),
            cause: "it is newer than this shim: upgrade the shim".to_owned(),
        }),
    };
    let failure = |AccountServersError { doing, cause }| Answer::Failure(v1::LinkFailure { doing, cause });
    v1::LinkAnswer {
        id: question.id,
        result: Some(answered.unwrap_or_else(failure)),
    }
}

async fn answer(
    accounts: &SystemAccounts,
    ask: Ask,
    deadline: Deadline,
) -> Result<Answer, AccountServersError> {
    Ok(match ask {
        Ask::Roster(v1::AskRoster {}) => {
            let servers = accounts.roster(deadline).await?.into_iter();
            let servers = servers.map(|server| v1::RosterServer {
                id: server.id,
                name: server.name,
                version: server.version,
            });
            Answer::Roster(v1::Roster {
                servers: servers.collect(),
            })
        }
        Ask::Kept(ask) => Answer::Kept(v1::KeptAccounts {
            jwts: accounts.look_up(&ask.account, deadline).await?,
        }),
        Ask::InForce(ask) => {
            let found = accounts.in_force(&ask.server_id, &ask.account, deadline).await?;
            let jwt = match found {
                AccountAtServer::InForce(jwt) => jwt,
                AccountAtServer::NotLoaded | AccountAtServer::NotKept => String::new(),
            };
            Answer::InForce(v1::AccountInForce { jwt })
        }
        Ask::Push(ask) => {
            let expected = usize::try_from(ask.expected).unwrap_or(usize::MAX);
            let answers = accounts.push(&ask.jwt, expected, deadline).await?;
            let answers = answers.into_iter().map(|answer| v1::ServerPushAnswer {
                server_id: answer.server_id,
                // Empty would mean that it took it.
                refusal: match answer.taken {
                    Ok(()) => String::new(),
                    Err(why) if why.is_empty() => "it did not say why".to_owned(),
                    Err(why) => why,
                },
            });
            Answer::Push(v1::PushAnswers {
                answers: answers.collect(),
            })
        }
        Ask::Sessions(ask) => {
            let counts = accounts.count(&ask.account, deadline).await?;
            Answer::Sessions(v1::AccountSessions {
                by_issuer_key: counts.by_issuer.into_iter().collect(),
                max_payload: counts.max_payload.unwrap_or_default(),
            })
        }
        Ask::Close(ask) => {
            let until = match ask.until_gone {
                true => CloseUntil::Gone,
                false => CloseUntil::Once,
            };
            let keys = ask.issuer_keys.into_iter().collect();
            let closed = accounts.close(&ask.account, &keys, until, deadline).await?;
            Answer::Closed(v1::SessionsClosed {
                closed: closed.closed,
                left: closed.left,
            })
        }
    })
}
