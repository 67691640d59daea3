//! A plan in words, for a person to decide on.

use std::fmt;

use super::{Change, DefaultsChange, DefaultsEffect, Drain, Fate, Plan};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            f.write_str("nothing changes")?;
        } else {
            self.write_size(f)?;
            for (name, change) in &self.templates {
                write!(f, "\ntemplate {name}: {change}")?;
            }
            for role in &self.removed {
                write!(f, "\nremoved: the key {role}")?;
            }
            if let Some(change) = &self.defaults {
                write!(f, "\n{change}")?;
            }
            if let Some(at) = self.revoked_up_to {
                write!(
                    f,
                    "\nrevoked: every user JWT issued up to {at} (seconds since 1970); their clients see 'User Authentication \
                     Revoked', and some then stop reconnecting"
                )?;
            }
            for drain in self.drains.iter().filter(|drain| drain.sessions > 0) {
                write!(f, "\n{drain}")?;
            }
            write!(
                f,
                "\nof {} sessions, at most {} reconnect and at most {} lose something",
                self.connected, self.reconnecting, self.losing
            )?;
        }
        for warning in &self.warnings {
            write!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}

impl Plan {
    fn write_size(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.size_after.saturating_mul(100) / self.cap.max(1);
        f.write_str("account JWT: ")?;
        match self.size_now {
            Some(now) => write!(f, "{now} bytes now, ")?,
            None => f.write_str("new, ")?,
        }
        write!(
            f,
            "{} bytes after, of {} at most ({percent} %)",
            self.size_after, self.cap
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { generation } => write!(f, "new, generation {generation}"),
            Self::Changed { from, to, difference } => {
                let kind = if difference.narrows() {
                    "narrowed"
                } else {
                    "widened"
                };
                write!(f, "{kind}, generation {to} beside {from}")?;
                indented(f, difference)
            }
            Self::Rekeyed { from, to } => {
                write!(
                    f,
                    "a key of the current root secret, generation {to} beside {from}"
                )
            }
            Self::Retired { from, to } => {
                write!(f, "retired, generation {to}, which allows nothing, beside {from}")
            }
            Self::Gone => f.write_str("gone"),
        }
    }
}

impl fmt::Display for DefaultsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cleared {
            f.write_str("default permissions: none any more, users that bring none may do EVERYTHING")?;
        } else {
            let kind = if self.difference.narrows() {
                "narrowed"
            } else {
                "widened"
            };
            write!(f, "default permissions: {kind}")?;
        }
        match &self.effect {
            DefaultsEffect::Live => {
                f.write_str("; every server applies them live, nobody is disconnected")?
            }
            DefaultsEffect::Reconnect { because } if because.is_empty() => {
                f.write_str("; no server's version is known: sessions reconnect")?;
            }
            DefaultsEffect::Reconnect { because } => write!(
                f,
                "; not applied live by {}: sessions reconnect",
                because.join(", ")
            )?,
        }
        if self.cleared {
            return Ok(());
        }
        indented(f, &self.difference)
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions of {}: ", self.sessions, self.role)?;
        match (self.fate, self.loses) {
            (Fate::Drained, true) => f.write_str("reconnect at once, since they lose something"),
            (Fate::Drained, false) => f.write_str("reconnect at a pace, and lose nothing"),
            (Fate::Closed, true) => f.write_str("closed by the server, and lose something"),
            (Fate::Closed, false) => f.write_str("closed by the server, and lose nothing"),
        }
    }
}

fn indented(f: &mut fmt::Formatter<'_>, text: &impl fmt::Display) -> fmt::Result {
    for line in text.to_string().lines() {
        write!(f, "\n    {line}")?;
    }
    Ok(())
}
