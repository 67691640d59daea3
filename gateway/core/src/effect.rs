//! What a log entry does to live sessions: which it touches, and whether these are closed at once or looked at first.
//!
//! What it does to cached facts is [`Change::concerns`].

use std::time::Duration;

use crate::concern::Concern;
use crate::principal::Principal;
use crate::revocation::{Change, Pace, Selector};

/// Which sessions an entry may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touches {
    /// None.
    Nobody,
    /// Every session there is.
    Everybody,
    /// One connection.
    Session {
        /// Its nats-server's id.
        server_id: String,
        /// Its client id there.
        client_id: u64,
    },
    /// Those that are about this.
    Concern(Concern),
}

/// What becomes of the sessions an entry touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// They are closed.
    Kick,
    /// It is asked what they would get now, and those are closed that would get less, or of which that cannot be told.
    Recheck,
}

/// What an entry does to live sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect<'a> {
    /// Which it may touch.
    pub touches: Touches,
    /// What becomes of those.
    pub measure: Measure,
    /// How fast; `None` if the entry does not say, and each shim's own setting counts.
    pub pace: Option<Pace>,
    /// The one principal whose sessions alone it can touch, by which a session may be judged of which nothing is known but whom
    /// it is for.
    pub principal: Option<&'a Principal>,
}

impl Change {
    /// What it does to live sessions.
    ///
    /// The revocation of a person, a credential, a provider, an account, a whole resource or one session is carried out at once:
    /// whoever asked for it said whom. Of a membership, a role, a rule or a policy it is looked first who loses
    /// anything by it.
    pub fn effect(&self) -> Effect<'_> {
        match self {
            Self::Revoked { selector, pace, .. } => Effect {
                touches: match selector {
                    Selector::Session { server_id, client_id } => Touches::Session {
                        server_id: server_id.clone(),
                        client_id: *client_id,
                    },
                    other => other
                        .session_concern()
                        .map_or(Touches::Everybody, Touches::Concern),
                },
                measure: match selector {
                    Selector::Membership { .. } | Selector::Role { .. } | Selector::Rule { .. } => {
                        Measure::Recheck
                    }
                    _ => Measure::Kick,
                },
                pace: Some(*pace),
                principal: selector.principal(),
            },
            Self::MembershipsChanged { principal, .. } => Effect {
                touches: Touches::Concern(Concern::memberships_of(principal)),
                measure: Measure::Recheck,
                pace: Some(Pace::Immediate),
                principal: Some(principal),
            },
            Self::PolicyChanged { .. } => Effect {
                touches: Touches::Everybody,
                measure: Measure::Recheck,
                pace: None,
                principal: None,
            },
            Self::BanLifted { .. } => Effect {
                touches: Touches::Nobody,
                measure: Measure::Recheck,
                pace: Some(Pace::Immediate),
                principal: None,
            },
        }
    }
}

impl Pace {
    /// The time it is spread over; zero for at once.
    pub fn over(self) -> Duration {
        match self {
            Self::Immediate => Duration::ZERO,
            Self::Spread { over } => over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_closed_at_once_and_a_membership_is_looked_at_first() {
        let alice = Principal::new("https://a", "alice");
        let person = Change::revoked(
            Selector::Principal {
                principal: alice.clone(),
            },
            "",
            "",
        );
        let effect = person.effect();
        assert_eq!(
            (&effect.touches, effect.measure),
            (&Touches::Concern(Concern::principal(&alice)), Measure::Kick)
        );
        assert_eq!(effect.principal, Some(&alice));
        let membership = Change::revoked(
            Selector::Membership {
                principal: alice.clone(),
                kind: "project".into(),
                id: "apollo".into(),
            },
            "",
            "",
        );
        assert_eq!(membership.effect().measure, Measure::Recheck);
        let session = Change::revoked(
            Selector::Session {
                server_id: "N".into(),
                client_id: 7,
            },
            "",
            "",
        );
        let touches = session.effect().touches;
        assert!(
            matches!(touches, Touches::Session { client_id: 7, .. }),
            "{touches:?}"
        );
    }
}
