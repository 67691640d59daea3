//! What a writer did, and how the servers stand.

use std::collections::BTreeSet;

use natsgate_core::{Fence, ServerIdentity};

use crate::account::ManagedAccount;
use crate::naming::ScopeRole;
use crate::plan::Plan;

/// What a writer did, and how the servers stand.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The fencing token it was done under.
    pub fence: Fence,
    /// The version of what is stored of the account: higher with every change of what is wanted.
    pub revision: u64,
    /// Whether an earlier request did it; this one then only saw to it that every server has what is wanted.
    pub repeated: bool,
    /// What was changed; `None` if nothing was.
    pub plan: Option<Plan>,
    /// The JWT that was signed, the last of several; `None` if none was.
    pub signed: Option<Signed>,
    /// The account as it is to be everywhere; `None` if that cannot be read.
    pub account: Option<ManagedAccount>,
    /// How often something was pushed.
    pub pushes: u32,
    /// The servers that were there in the end.
    pub servers: Vec<ServerReport>,
    /// Whether the resolvers that answered keep the JWT and nothing else, and no server has another in force.
    pub settled: bool,
    /// JWTs that others pushed, seen for the first time.
    pub foreign: Vec<Foreign>,
    /// natsgate's signing keys that such a JWT lacked or had otherwise, and that are back.
    pub restored: Vec<ScopeRole>,
    /// JWTs that some server had and should not: it missed a push, or a writer or somebody's old copy came
    /// late.
    pub outdated: BTreeSet<Outdated>,
}

/// A JWT that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its `iat`, in seconds since the Unix epoch.
    pub issued_at: i64,
    /// How many bytes it has.
    pub size: usize,
}

/// How one server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// The server.
    pub server: ServerIdentity,
    /// What it said to the last push, if it was there and said something: that it took it, or why not.
    pub answer: Option<Result<(), String>>,
    /// What it has.
    pub standing: Standing,
}

/// What a server has of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The JWT is in force.
    InForce,
    /// The account is not loaded: nobody of it is connected there. It will be loaded from what the resolver
    /// keeps.
    NotLoaded,
    /// Another JWT is in force.
    Missed,
    /// It did not say. Why not.
    Silent(String),
}

/// A JWT that somebody else pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Its `iat`, in seconds since the Unix epoch.
    pub issued_at: i64,
    /// The operator's key that signed it.
    pub issuer: String,
    /// Whether it is in what was pushed. Of several at once only the newest is: nobody can tell what each was
    /// to change.
    pub merged: bool,
}

/// A JWT that some server had and should not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outdated {
    /// Its `iat`, in seconds since the Unix epoch; `None` if it has expired.
    pub issued_at: Option<i64>,
    /// Its SHA-256, in base64url.
    pub sha256: String,
}

impl Report {
    /// Whether every server that was there is known to have the JWT, or to load it when the account is
    /// needed.
    pub fn is_complete(&self) -> bool {
        self.settled && self.servers.iter().all(ServerReport::is_good)
    }
}

impl ServerReport {
    /// Whether it has what it should, or will load it when the account is needed.
    pub fn is_good(&self) -> bool {
        matches!(self.standing, Standing::InForce | Standing::NotLoaded)
    }
}
