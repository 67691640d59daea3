//! Which sessions are asked for, and may be seen.

use natsgate_core::{MembershipWrite, Reach, SessionKey, SessionRecord};
use natsgate_proto::v1;

use crate::revocations::sees;
use natsgate_api::fields::Fields;

/// The longest text in a filter, in bytes.
const LONGEST: usize = MembershipWrite::MAX_ISSUER;

/// Sessions within reach that have what is given.
#[derive(Debug)]
pub(super) struct Filter {
    reach: Reach,
    wanted: v1::SessionFilter,
}

impl Filter {
    /// What `wanted` says, within `reach`.
    pub(super) fn new(reach: Reach, wanted: Option<v1::SessionFilter>, fields: &mut Fields) -> Self {
        let wanted = wanted.unwrap_or_default();
        for (field, text) in [
            ("filter.cluster", &wanted.cluster),
            ("filter.account", &wanted.account),
            ("filter.issuer", &wanted.issuer),
            ("filter.subject", &wanted.subject),
            ("filter.principal_digest", &wanted.principal_digest),
            ("filter.server_id", &wanted.server_id),
        ] {
            fields.optional_text(field, text, LONGEST);
        }
        Self { reach, wanted }
    }

    /// The one cluster that is asked for, if it is one.
    pub(super) fn cluster(&self) -> Option<&str> {
        (!self.wanted.cluster.is_empty()).then_some(self.wanted.cluster.as_str())
    }

    /// Whether `session` is to be shown.
    pub(super) fn admits(&self, session: &SessionRecord) -> bool {
        let principal = session.principal.as_ref();
        // Of whom nothing is known is not the one who is asked for.
        let of = |part: fn(&natsgate_core::Principal) -> &String| principal.map_or("", |who| part(who));
        sees(&self.reach, principal)
            && is(&self.wanted.account, &session.account)
            && is(&self.wanted.issuer, of(|who| &who.issuer))
            && is(&self.wanted.subject, of(|who| &who.subject))
            && is(&self.wanted.principal_digest, &session.principal_digest)
            && self.admits_place(&session.cluster, &session.key)
    }

    /// Whether what became of the session `key` of `cluster` is to be told, of which no more is known.
    pub(super) fn admits_place(&self, cluster: &str, key: &SessionKey) -> bool {
        is(&self.wanted.cluster, cluster) && is(&self.wanted.server_id, &key.server_id)
    }

    /// Tells one list from another. What a caller may see is part of it.
    pub(super) fn text(&self) -> String {
        format!("{self:?}")
    }
}

fn is(wanted: &str, value: &str) -> bool {
    wanted.is_empty() || wanted == value
}
