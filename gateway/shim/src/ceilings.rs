//! The shim's own ceilings: what it does not mint, whoever asks for it.
//!
//! A decision service may be written by anybody; the keys are here. So the accounts and the longest session are the
//! shim's configuration, not the grant's, and what a grant says is read as strictly as if a stranger had sent it.

use std::time::{Duration, SystemTime};

use natsgate_proto::v1;

use crate::settings::TargetAccount;

/// Why a grant is not minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The grant leads into an account that is not the shim's to give.
    #[error("the grant leads into the account {0:?}, which is not among shim.accounts")]
    Account(String),
    /// The grant has no end.
    #[error("the grant has no expires_at")]
    NoExpiry,
    /// The grant has ended already.
    #[error("the grant has expired")]
    Expired,
}

/// The account `grant` leads into.
///
/// # Errors
/// [`Exceeded::Account`] if it is not one of `accounts`.
pub fn account<'a>(grant: &v1::Grant, accounts: &'a [TargetAccount]) -> Result<&'a TargetAccount, Exceeded> {
    accounts
        .iter()
        .find(|account| account.name == grant.account)
        .ok_or_else(|| Exceeded::Account(grant.account.chars().take(64).collect()))
}

/// When the session ends, in seconds since the Unix epoch: as the grant says, and `longest` from `now` at the latest.
///
/// # Errors
/// [`Exceeded`] for no end, and for one that has passed.
pub fn expiry(grant: &v1::Grant, longest: Duration, now: SystemTime) -> Result<i64, Exceeded> {
    let granted = grant.expires_at.as_ref().ok_or(Exceeded::NoExpiry)?.seconds;
    let now_seconds = natsgate_core::clock::unix_seconds(now);
    let ceiling = now_seconds.saturating_add(i64::try_from(longest.as_secs()).unwrap_or(i64::MAX));
    let expiry = granted.min(ceiling);
    if expiry <= now_seconds {
        Err(Exceeded::Expired)
    } else {
        Ok(expiry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn grant(account: &str, expires_at: Option<i64>) -> v1::Grant {
        v1::Grant {
            account: account.into(),
            expires_at: expires_at.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn an_account_that_is_not_listed_is_not_given() {
        let accounts = [TargetAccount {
            name: "APP".into(),
            signer: None,
        }];
        assert!(account(&grant("APP", None), &accounts).is_ok());
        for other in ["SYS", "$SYS", "AUTH", "app", ""] {
            assert!(
                matches!(account(&grant(other, None), &accounts), Err(Exceeded::Account(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn the_earlier_end_counts_and_one_that_passed_is_none() {
        let now = UNIX_EPOCH + Duration::from_millis(1_000_500);
        let hour = Duration::from_secs(3600);
        assert_eq!(expiry(&grant("", Some(1_100)), hour, now), Ok(1_100));
        assert_eq!(expiry(&grant("", Some(i64::MAX)), hour, now), Ok(4_600));
        assert_eq!(expiry(&grant("", Some(1_000)), hour, now), Err(Exceeded::Expired));
        assert_eq!(expiry(&grant("", Some(-5)), hour, now), Err(Exceeded::Expired));
        assert_eq!(expiry(&grant("", None), hour, now), Err(Exceeded::NoExpiry));
    }
}
