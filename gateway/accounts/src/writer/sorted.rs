//! What servers have, told apart: what the writers pushed or knew, and what somebody else pushed since.
//!
//! Every JWT that a writer pushes stands in the store before, with the JWTs that were seen for it. So what is
//! neither the last one nor known is either old or somebody else's. Old is what was issued before the last
//! look, less the clock skew, or before another edit that was merged: servers, too, take the newer of two by
//! `iat` where they merge what they keep. A fencing token does not tell: whoever edits a copy signs our tag
//! again.

use natsgate_claims::{AccountBody, Claims, DecodeError, decode};
use natsgate_core::Fence;

use super::error::WriterError;
use super::look::Look;
use super::record::{Known, LastPushed, sha256};
use super::report::{Foreign, Outdated};
use super::{Shared, seconds};
use crate::account::{AccountError, fence_in};

/// A JWT that somebody else pushed.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) jwt: String,
    pub(super) issued_at: i64,
    issuer: String,
}

/// What one look saw, told apart.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Others' JWTs, the newest first.
    pub(super) edits: Vec<Edit>,
    /// What is to be written over.
    pub(super) outdated: Vec<Outdated>,
    /// The highest `iat` there is.
    pub(super) newest: i64,
}

impl Sorted {
    /// Tells apart what `look` saw.
    ///
    /// # Errors
    /// [`WriterError::Unreadable`], [`WriterError::StoreBehind`].
    pub(super) fn sort(
        look: &Look,
        last: Option<&LastPushed>,
        fence: Fence,
        shared: &Shared,
    ) -> Result<Self, WriterError> {
        let mut sorted = Self {
            newest: last.map_or(0, |last| last.issued_at),
            ..Self::default()
        };
        for jwt in look.seen() {
            if last.is_some_and(|last| last.jwt == jwt) {
                continue;
            }
            let digest = sha256(jwt);
            let known = last.and_then(|last| last.known.iter().find(|known| known.sha256 == digest));
            if let Some(known) = known {
                sorted.outdated.push(Outdated {
                    issued_at: Some(known.issued_at),
                    sha256: digest,
                });
                continue;
            }
            let claims = match read(jwt, look.at, shared) {
                Ok(claims) => claims,
                // It may be what a server had that was away for long; it is no base for anything.
                Err(AccountError::Decode(DecodeError::Expired { .. })) if last.is_some() => {
                    sorted.outdated.push(Outdated {
                        issued_at: None,
                        sha256: digest,
                    });
                    continue;
                }
                Err(cause) => return Err(unreadable(shared, cause)),
            };
            if let Some(found) = fence_in(&claims.body.tags).filter(|found| *found > fence) {
                let account = shared.account().to_owned();
                return Err(WriterError::StoreBehind {
                    account,
                    found,
                    fence,
                });
            }
            sorted.newest = sorted.newest.max(claims.issued_at);
            if last.is_some_and(|last| is_old(claims.issued_at, last, shared)) {
                sorted.outdated.push(Outdated {
                    issued_at: Some(claims.issued_at),
                    sha256: digest,
                });
            } else {
                sorted.edits.push(Edit {
                    jwt: jwt.to_owned(),
                    issued_at: claims.issued_at,
                    issuer: claims.issuer,
                });
            }
        }
        // Of one second, any, but always the same.
        sorted
            .edits
            .sort_by(|one, other| (other.issued_at, &other.jwt).cmp(&(one.issued_at, &one.jwt)));
        Ok(sorted)
    }

    /// Others' JWTs, for the report: the first is the one that was merged.
    pub(super) fn foreign(&self) -> impl Iterator<Item = Foreign> {
        self.edits.iter().enumerate().map(|(index, edit)| Foreign {
            issued_at: edit.issued_at,
            issuer: edit.issuer.clone(),
            merged: index == 0,
        })
    }

    /// What is known once this was merged on top of `last`, at `looked_at`: without what is old by its `iat`
    /// alone.
    pub(super) fn known(&self, last: Option<&LastPushed>, looked_at: i64, shared: &Shared) -> Vec<Known> {
        let edits = self
            .edits
            .iter()
            .map(|edit| Known::new(&edit.jwt, edit.issued_at));
        let outdated = self.outdated.iter().filter_map(|outdated| {
            Some(Known {
                sha256: outdated.sha256.clone(),
                issued_at: outdated.issued_at?,
            })
        });
        let before = last.into_iter().flat_map(|last| {
            let itself = Known::new(&last.jwt, last.issued_at);
            last.known.iter().cloned().chain(std::iter::once(itself))
        });
        let since = looked_at.saturating_sub(seconds(shared.settings.skew));
        let mut known: Vec<Known> = before.chain(edits).chain(outdated).collect();
        known.retain(|known| known.issued_at >= since);
        known.sort_by(|one, other| (one.issued_at, &one.sha256).cmp(&(other.issued_at, &other.sha256)));
        known.dedup();
        known
    }
}

fn is_old(issued_at: i64, last: &LastPushed, shared: &Shared) -> bool {
    let since = last.looked_at.saturating_sub(seconds(shared.settings.skew));
    issued_at < since.max(last.foreign_up_to)
}

/// Reads as much of `jwt` as must be known to tell whose it is.
fn read(jwt: &str, now: i64, shared: &Shared) -> Result<Claims<AccountBody>, AccountError> {
    let claims = decode::<AccountBody>(jwt, now)?;
    if claims.subject != shared.account() {
        return Err(AccountError::OtherAccount {
            expected: shared.account().to_owned(),
            found: claims.subject,
        });
    }
    if !shared.operators.contains(&claims.issuer) {
        return Err(AccountError::UnknownOperator {
            issuer: claims.issuer,
        });
    }
    Ok(claims)
}

pub(super) fn unreadable(shared: &Shared, cause: AccountError) -> WriterError {
    WriterError::Unreadable {
        account: shared.account().to_owned(),
        cause,
    }
}
