//! The store of pushed memberships as a source of memberships.

use std::sync::Arc;

use async_trait::async_trait;
use natsgate_core::{
    Deadline, Failure, Identity, Membership, MembershipSource, MembershipStore, pushed::SOURCE_NAME,
};
use zeroize::Zeroizing;

/// What was pushed about a principal.
pub struct PushedMemberships {
    store: Arc<dyn MembershipStore>,
}

impl PushedMemberships {
    /// The source over `store`.
    pub fn new(store: Arc<dyn MembershipStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl MembershipSource for PushedMemberships {
    fn name(&self) -> &str {
        SOURCE_NAME
    }

    async fn memberships(&self, identity: &Identity, deadline: Deadline) -> Result<Vec<Membership>, Failure> {
        self.store
            .of(&identity.principal, deadline)
            .await
            .map_err(|error| Failure::unavailable(format!("pushed memberships: {error}")))
    }

    fn cache_key(&self, identity: &Identity) -> Option<Zeroizing<Vec<u8>>> {
        let principal = &identity.principal;
        // The length first, so that ("ab", "c") and ("a", "bc") differ.
        let mut key = Zeroizing::new(Vec::with_capacity(
            8 + principal.issuer.len() + principal.subject.len(),
        ));
        key.extend_from_slice(&(principal.issuer.len() as u64).to_be_bytes());
        key.extend_from_slice(principal.issuer.as_bytes());
        key.extend_from_slice(principal.subject.as_bytes());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use natsgate_core::{Evidence, Principal};

    use super::*;
    use crate::pushed::FileMembershipStore;
    use crate::pushed::conformance::{Store, apply, put, soon};

    fn identity(issuer: &str, subject: &str) -> Identity {
        Identity {
            principal: Principal::new(issuer, subject),
            provider: "corp".into(),
            claims: serde_json::Map::new(),
            issued_at: None,
            expires_at: UNIX_EPOCH,
            evidence: Evidence::Certificate,
        }
    }

    #[tokio::test]
    async fn what_was_pushed_about_somebody_is_what_they_belong_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memberships.redb");
        let store: Store = Arc::new(FileMembershipStore::open(path).await.unwrap());
        apply(&store, vec![put("alice", "a"), put("bob", "b")]).await;
        let source = PushedMemberships::new(store);
        let alice = identity("https://idp.example", "alice");
        let found = source.memberships(&alice, soon()).await.unwrap();
        assert_eq!((found.len(), found[0].id.as_str()), (1, "a"));
        // What cannot be read is no answer, least of all that there is nothing.
        let late = Deadline::after(std::time::Duration::ZERO);
        let none = source.memberships(&alice, late).await;
        assert!(matches!(none, Err(Failure::Unavailable(_))), "{none:?}");
        assert!(!source.reads_claims());
    }

    #[tokio::test]
    async fn two_people_never_share_a_cached_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memberships.redb");
        let source = PushedMemberships::new(Arc::new(FileMembershipStore::open(path).await.unwrap()));
        let key = |issuer: &str, subject: &str| source.cache_key(&identity(issuer, subject)).unwrap();
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_ne!(key("a", "b"), key("a", "c"));
        assert_eq!(key("a", "b"), key("a", "b"));
    }
}
