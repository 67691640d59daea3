//! The cluster link: takes shims that lend the connection into their cluster's system account, and makes of those of one cluster the port
//! to it.
//!
//! A shim dials, so that its cluster need not be reachable. Several may lend the same cluster: one is asked, and the next one where that
//! one fails. A cluster that none lends is told as not reached, by everything that is asked of it.

mod attached;
mod linked;
mod message;
mod service;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use linked::LinkedCluster;
pub use service::{ClusterLinks, LinkParts};

use attached::Attached;

/// The shims that are attached, by cluster.
#[derive(Default)]
pub struct Links {
    clusters: BTreeMap<String, Mutex<Vec<Arc<Attached>>>>,
    /// Told when one attaches.
    attached: Arc<Notify>,
}

impl Links {
    /// None yet, of these clusters and no others.
    pub fn new(clusters: impl IntoIterator<Item = String>) -> Self {
        Self {
            clusters: clusters
                .into_iter()
                .map(|name| (name, Mutex::default()))
                .collect(),
            attached: Arc::default(),
        }
    }

    /// Told when a shim attaches.
    pub fn attached(&self) -> Arc<Notify> {
        Arc::clone(&self.attached)
    }

    /// How many shims lend each cluster.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let count = |name: &String| (name.clone(), self.of(name).len());
        self.clusters.keys().map(count).collect()
    }

    fn knows(&self, cluster: &str) -> bool {
        self.clusters.contains_key(cluster)
    }

    /// Those that lend `cluster`, the one to be asked first in front.
    fn of(&self, cluster: &str) -> Vec<Arc<Attached>> {
        self.list(cluster).map(|list| list.clone()).unwrap_or_default()
    }

    fn add(&self, cluster: &str, one: &Arc<Attached>) {
        if let Some(mut list) = self.list(cluster) {
            list.push(Arc::clone(one));
        }
        self.attached.notify_one();
    }

    fn remove(&self, cluster: &str, one: &Arc<Attached>) {
        if let Some(mut list) = self.list(cluster) {
            list.retain(|other| !Arc::ptr_eq(other, one));
        }
    }

    /// `one` failed: others are asked first.
    fn failed(&self, cluster: &str, one: &Arc<Attached>) {
        if let Some(mut list) = self.list(cluster)
            && let Some(at) = list.iter().position(|other| Arc::ptr_eq(other, one))
        {
            let failed = list.remove(at);
            list.push(failed);
        }
    }

    fn list(&self, cluster: &str) -> Option<MutexGuard<'_, Vec<Arc<Attached>>>> {
        let list = self.clusters.get(cluster)?;
        Some(list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
