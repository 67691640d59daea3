//! Several clusters as one port: none of them hinders the others, or speaks for them.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic; clippy.toml's leave for tests does not reach helpers in tests/"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use natsgate_account_service::{Cluster, Clusters};
use natsgate_core::{
    AccountAtServer, AccountServers, AccountServersError, AccountSessions, CloseUntil, ClosedSessions,
    Deadline, PushAnswer, ServerIdentity, SessionCounts,
};

/// A cluster that says what it is told to.
struct Said {
    servers: Vec<&'static str>,
    kept: Option<&'static str>,
    in_force: &'static str,
}

fn error() -> AccountServersError {
    AccountServersError {
        doing: "asking".into(),
        cause: "it does not say".into(),
    }
}

#[async_trait]
impl AccountServers for Said {
    async fn roster(&self, _: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        let server = |id: &&str| ServerIdentity {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            version: "2.15.1".into(),
        };
        Ok(self.servers.iter().map(server).collect())
    }

    async fn look_up(&self, _: &str, _: Deadline) -> Result<Vec<String>, AccountServersError> {
        self.kept.map(|jwt| vec![jwt.to_owned()]).ok_or_else(error)
    }

    async fn in_force(&self, _: &str, _: &str, _: Deadline) -> Result<AccountAtServer, AccountServersError> {
        Ok(AccountAtServer::InForce(self.in_force.to_owned()))
    }

    async fn push(&self, _: &str, _: usize, _: Deadline) -> Result<Vec<PushAnswer>, AccountServersError> {
        let taken = |id: &&str| PushAnswer {
            server_id: (*id).to_owned(),
            taken: Ok(()),
        };
        Ok(self.servers.iter().map(taken).collect())
    }
}

#[async_trait]
impl AccountSessions for Said {
    async fn count(&self, _: &str, _: Deadline) -> Result<SessionCounts, AccountServersError> {
        Err(error())
    }

    async fn close(
        &self,
        _: &str,
        _: &BTreeSet<String>,
        _: CloseUntil,
        _: Deadline,
    ) -> Result<ClosedSessions, AccountServersError> {
        Err(error())
    }
}

fn clusters(said: Vec<(&str, Said)>) -> Clusters {
    let cluster = |(name, said): (&str, Said)| {
        let said = Arc::new(said);
        Cluster {
            name: name.to_owned(),
            servers: said.clone(),
            sessions: said,
        }
    };
    Clusters::new(said.into_iter().map(cluster).collect::<Vec<_>>().into())
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

#[tokio::test]
async fn a_cluster_that_does_not_say_what_it_keeps_hinders_nobody_and_gets_nothing() {
    let said = |kept, server| Said {
        servers: vec![server],
        kept,
        in_force: "new",
    };
    let both = clusters(vec![("eu", said(Some("old"), "e1")), ("us", said(None, "u1"))]);
    assert_eq!(both.roster(soon()).await.unwrap().len(), 2);
    assert_eq!(both.look_up("A", soon()).await.unwrap(), ["old"]);
    let pushed = both.push("new", 2, soon()).await.unwrap();
    assert_eq!(pushed.len(), 1);
    assert!(both.in_force("e1", "A", soon()).await.is_ok());
    assert!(both.in_force("u1", "A", soon()).await.is_err());
    assert!(both.problem("us").unwrap().contains("it does not say"));

    let alone = clusters(vec![("us", said(None, "u1"))]);
    alone.roster(soon()).await.unwrap();
    assert!(alone.look_up("A", soon()).await.is_err());
}

#[tokio::test]
async fn no_cluster_speaks_for_a_server_of_another() {
    let said = |servers, in_force| Said {
        servers,
        kept: Some("new"),
        in_force,
    };
    let both = clusters(vec![
        ("eu", said(vec!["e1", "e2"], "old")),
        ("us", said(vec!["e2", "u1"], "new")),
    ]);
    assert_eq!(both.roster(soon()).await.unwrap().len(), 3);
    both.look_up("A", soon()).await.unwrap();
    assert!(both.has("eu", "e2") && both.has("us", "e2") && !both.has("us", "e1"));
    let found = both.in_force("e2", "A", soon()).await.unwrap_err();
    assert!(found.cause.contains("eu, us"), "{found}");

    // Joined by gateways, both name all, and say the same.
    let joined = clusters(vec![
        ("eu", said(vec!["e1", "u1"], "new")),
        ("us", said(vec!["e1", "u1"], "new")),
    ]);
    assert_eq!(joined.roster(soon()).await.unwrap().len(), 2);
    joined.look_up("A", soon()).await.unwrap();
    let found = joined.in_force("u1", "A", soon()).await.unwrap();
    assert_eq!(found, AccountAtServer::InForce("new".into()));
}
