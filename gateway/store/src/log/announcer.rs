//! The follower as what announces changes of pushed memberships.

use async_trait::async_trait;
use natsgate_core::{Announcer, Appended, Deadline, LogError, NewEntry};

use super::Follower;

#[async_trait]
impl Announcer for Follower {
    async fn append(&self, entry: NewEntry, deadline: Deadline) -> Result<Appended, LogError> {
        Self::append(self, entry, deadline).await
    }
}
