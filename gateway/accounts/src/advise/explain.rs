//! Advice in words, for a person to decide on.

use std::fmt;

use super::{Advice, Estimate};

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.recommended {
            Some(mode) => write!(f, "recommended: {mode}")?,
            None => f.write_str("no mode is possible as it is")?,
        }
        for reason in &self.reasons {
            write!(f, "\n  - {reason}")?;
        }
        let workload = &self.workload;
        write!(
            f,
            "\nfor {} users, {} templates of {} subjects ({} bytes each), {} memberships a user, {} changes an hour that \
             concern {:.1} % of the users, nats-server {}",
            workload.users,
            workload.templates,
            workload.subjects_per_template,
            workload.subject_bytes,
            workload.memberships_per_user,
            workload.changes_per_hour,
            workload.share * 100.0,
            workload.server_version,
        )?;
        for estimate in &self.estimates {
            write!(f, "\n{estimate}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.mode)?;
        match &self.impossible {
            Some(why) => write!(f, "NOT POSSIBLE, {why}")?,
            None => f.write_str("possible")?,
        }
        write!(f, "\n    account JWT {} bytes", self.account_bytes)?;
        if self.account_bytes_at_most != self.account_bytes {
            write!(
                f,
                ", up to {} while changes are drained",
                self.account_bytes_at_most
            )?;
        }
        write!(f, "; user JWT {} bytes", self.user_bytes)?;
        write!(
            f,
            "\n    an hour: {:.0} reconnects, {:.1} pushes, {:.0} decisions\n    revoking {}",
            self.reconnects_per_hour, self.pushes_per_hour, self.decisions_per_hour, self.revocation
        )
    }
}
