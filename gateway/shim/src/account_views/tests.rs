use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use natsgate_accounts::{OperatorSigner, RootSecret};
use natsgate_claims::{KeyPair, Role};
use natsgate_core::{AccountServersError, PushAnswer, ServerIdentity, SystemClock};
use secrecy::SecretString;

use super::*;

/// Servers that say what they are told to.
#[derive(Default)]
struct Told {
    in_force: BTreeMap<String, AccountAtServer>,
    kept: Vec<String>,
    asked: AtomicUsize,
}

#[async_trait]
impl AccountServers for Told {
    async fn roster(&self, _: Deadline) -> Result<Vec<ServerIdentity>, AccountServersError> {
        Ok(Vec::new())
    }

    async fn look_up(&self, _: &str, _: Deadline) -> Result<Vec<String>, AccountServersError> {
        Ok(self.kept.clone())
    }

    async fn in_force(
        &self,
        server: &str,
        _: &str,
        _: Deadline,
    ) -> Result<AccountAtServer, AccountServersError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.in_force
            .get(server)
            .cloned()
            .ok_or_else(|| AccountServersError {
                doing: "asking".into(),
                cause: "nobody is there".into(),
            })
    }

    async fn push(&self, _: &str, _: usize, _: Deadline) -> Result<Vec<PushAnswer>, AccountServersError> {
        Ok(Vec::new())
    }
}

struct Account {
    keys: Arc<ScopedKeys>,
    operator: OperatorSigner,
}

impl Account {
    fn new() -> Self {
        let account = KeyPair::generate(Role::Account).unwrap();
        let secret = RootSecret::new(SecretString::from("only for this test, 32 bytes at least")).unwrap();
        let operator = KeyPair::generate(Role::Operator).unwrap();
        Self {
            keys: Arc::new(ScopedKeys::new(account.public_key(), secret, Vec::new()).unwrap()),
            operator: OperatorSigner::from_seed(&operator.seed().unwrap()).unwrap(),
        }
    }

    /// The account under `name`, issued `ago` seconds ago.
    async fn jwt(&self, name: &str, ago: i64) -> String {
        let account = ManagedAccount::create(name, Arc::clone(&self.keys));
        let at = SystemClock.unix_seconds() - ago;
        self.operator.sign(account.claims(), at).await.unwrap()
    }

    fn views(&self, told: &Arc<Told>) -> AccountViews {
        let operators = vec![self.operator.public_key().to_owned()];
        AccountViews::new(
            Arc::clone(told) as Arc<dyn AccountServers>,
            operators,
            Arc::new(SystemClock),
        )
    }

    async fn at(&self, views: &AccountViews, server: &str) -> Result<String, ViewError> {
        let view = views
            .at(server, &self.keys, Deadline::after(Duration::from_secs(10)))
            .await;
        view.map(|account| account.facts().name.to_owned())
    }
}

#[tokio::test]
async fn each_server_counts_for_itself_and_is_asked_once() {
    let account = Account::new();
    let told = Arc::new(Told {
        in_force: BTreeMap::from([
            (
                "new".into(),
                AccountAtServer::InForce(account.jwt("NEW", 0).await),
            ),
            (
                "old".into(),
                AccountAtServer::InForce(account.jwt("OLD", 9).await),
            ),
        ]),
        ..Told::default()
    });
    let views = account.views(&told);
    let (one, two, three) = tokio::join!(
        account.at(&views, "new"),
        account.at(&views, "new"),
        account.at(&views, "old")
    );
    assert_eq!(
        (one, two, three),
        (Ok("NEW".into()), Ok("NEW".into()), Ok("OLD".into()))
    );
    assert_eq!(told.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn of_a_server_that_has_not_loaded_it_all_have_to_agree() {
    let account = Account::new();
    let keeping = |kept: Vec<String>| {
        Arc::new(Told {
            in_force: BTreeMap::from([("n".into(), AccountAtServer::NotLoaded)]),
            kept,
            ..Told::default()
        })
    };
    let (new, old) = (account.jwt("NEW", 0).await, account.jwt("OLD", 9).await);
    let told = keeping(vec![new.clone()]);
    assert_eq!(account.at(&account.views(&told), "n").await, Ok("NEW".into()));
    for (kept, says) in [
        (vec![new, old], "keep different JWTs"),
        (Vec::new(), "push its JWT"),
    ] {
        let unknown = account.at(&account.views(&keeping(kept)), "n").await;
        assert!(
            matches!(&unknown, Err(ViewError::Unavailable(why)) if why.contains(says)),
            "{says}: {unknown:?}"
        );
    }
}

#[tokio::test]
async fn a_failure_is_not_remembered_and_a_strangers_word_does_not_count() {
    let (account, stranger) = (Account::new(), Account::new());
    let told = Arc::new(Told::default());
    let views = account.views(&told);
    for asked in 1..=2 {
        assert!(matches!(
            account.at(&views, "n").await,
            Err(ViewError::Unavailable(_))
        ));
        assert_eq!(told.asked.load(Ordering::SeqCst), asked);
    }
    let foreign = ManagedAccount::create("APP", Arc::clone(&account.keys));
    let jwt = stranger
        .operator
        .sign(foreign.claims(), SystemClock.unix_seconds());
    let told = Arc::new(Told {
        in_force: BTreeMap::from([("n".into(), AccountAtServer::InForce(jwt.await.unwrap()))]),
        ..Told::default()
    });
    let refused = account.at(&account.views(&told), "n").await;
    assert!(matches!(
        refused,
        Err(ViewError::Unreadable(AccountError::UnknownOperator { .. }))
    ));
}
