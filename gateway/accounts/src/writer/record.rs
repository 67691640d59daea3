//! What the writers keep of an account in their store, as JSON with a version.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use natsgate_core::{Limits, Permissions};
use serde::{Deserialize, Serialize};

use super::once::Done;
use super::wanted::{Wanted, WantedDefaults};
use crate::defaults::DefaultPermissions;
use crate::naming::TemplateName;
use crate::template::Template;

/// The form that is written, and the only one that is read.
const FORM: u64 = 1;

/// What is kept of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) wanted: Wanted,
    pub(super) last: Option<LastPushed>,
    /// Requests that were done.
    pub(super) done: Done,
}

/// The account JWT that was pushed last. It stands here before it is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastPushed {
    pub(super) jwt: String,
    /// Its `iat`.
    pub(super) issued_at: i64,
    /// When the servers were looked at for it, by the clock of who did.
    pub(super) looked_at: i64,
    /// The newest `iat` of what others pushed and is in it; 0 if nothing is.
    pub(super) foreign_up_to: i64,
    /// JWTs that it stands above, as far as their `iat` alone does not tell.
    pub(super) known: Vec<Known>,
}

/// A JWT that is no news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub(super) sha256: String,
    pub(super) issued_at: i64,
}

impl Known {
    pub(super) fn new(jwt: &str, issued_at: i64) -> Self {
        Self {
            sha256: sha256(jwt),
            issued_at,
        }
    }
}

/// The digest a JWT is known by.
pub(super) fn sha256(jwt: &str) -> String {
    BASE64URL_NOPAD.encode(digest(&SHA256, jwt.as_bytes()).as_ref())
}

/// Why the wanted state cannot be read, or not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another form than this program's.
    #[error(
        "it has the form {found}, and this program reads {FORM}: run the version of natsgate that wrote it, \
         or a newer one"
    )]
    Form {
        /// The form it has.
        found: u64,
    },
    /// It is damaged.
    #[error("it is damaged ({0}): restore it from a backup; nothing is pushed until it can be read")]
    Damaged(String),
}

#[derive(Deserialize)]
struct Form {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u64,
    templates: Vec<WrittenTemplate>,
    retired: Vec<String>,
    defaults: WrittenDefaults,
    revoked_up_to: Option<i64>,
    last: Option<LastPushed>,
    #[serde(default)]
    done: Done,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTemplate {
    name: String,
    permissions: Permissions,
    limits: Limits,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenDefaults {
    Unmanaged,
    Set(Permissions),
    Cleared,
}

impl Record {
    /// Reads `body`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(super) fn read(body: &[u8]) -> Result<Self, RecordError> {
        let damaged = |why: String| RecordError::Damaged(why);
        let form: Form = serde_json::from_slice(body).map_err(|error| damaged(place(&error)))?;
        if form.version != FORM {
            return Err(RecordError::Form { found: form.version });
        }
        let written: Written = serde_json::from_slice(body).map_err(|error| damaged(place(&error)))?;
        let mut wanted = Wanted {
            revoked_up_to: written.revoked_up_to,
            ..Wanted::default()
        };
        for WrittenTemplate {
            name,
            permissions,
            limits,
        } in written.templates
        {
            let name = read_name(&name)?;
            let template = Template::new(name.clone(), permissions, limits)
                .map_err(|error| damaged(error.to_string()))?;
            wanted.templates.insert(name, template);
        }
        for name in &written.retired {
            wanted.retired.insert(read_name(name)?);
        }
        wanted.defaults = match written.defaults {
            WrittenDefaults::Unmanaged => WantedDefaults::Unmanaged,
            WrittenDefaults::Cleared => WantedDefaults::Cleared,
            WrittenDefaults::Set(permissions) => {
                let defaults =
                    DefaultPermissions::new(permissions).map_err(|error| damaged(error.to_string()))?;
                WantedDefaults::Set(defaults)
            }
        };
        Ok(Self {
            wanted,
            last: written.last,
            done: written.done,
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`RecordError::Damaged`] if it cannot be JSON, which no record is known not to be.
    pub(super) fn write(&self) -> Result<Bytes, RecordError> {
        let templates = self.wanted.templates.values().map(|template| WrittenTemplate {
            name: template.name().as_str().to_owned(),
            permissions: template.permissions().clone(),
            limits: template.limits().clone(),
        });
        let retired = self.wanted.retired.iter().map(|name| name.as_str().to_owned());
        let written = Written {
            version: FORM,
            templates: templates.collect(),
            retired: retired.collect(),
            defaults: match &self.wanted.defaults {
                WantedDefaults::Unmanaged => WrittenDefaults::Unmanaged,
                WantedDefaults::Set(defaults) => WrittenDefaults::Set(defaults.permissions().clone()),
                WantedDefaults::Cleared => WrittenDefaults::Cleared,
            },
            revoked_up_to: self.wanted.revoked_up_to,
            last: self.last.clone(),
            done: self.done.clone(),
        };
        let body = serde_json::to_vec(&written).map_err(|error| RecordError::Damaged(place(&error)))?;
        Ok(body.into())
    }
}

fn read_name(name: &str) -> Result<TemplateName, RecordError> {
    name.parse()
        .map_err(|_| RecordError::Damaged("a template's name is none".to_owned()))
}

/// Where `error` is, without what stands there.
fn place(error: &serde_json::Error) -> String {
    format!(
        "{:?} at line {}, column {}",
        error.classify(),
        error.line(),
        error.column()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::testing::{name, permissions, template};
    use crate::writer::Once;

    fn record() -> Record {
        let defaults = DefaultPermissions::new(permissions(&["a"], &[])).unwrap();
        let wanted = Wanted::default().after(&[
            Operation::PutTemplate(Box::new(template("member", &["a.{{tag(x)}}"], &["b"]))),
            Operation::PutTemplate(Box::new(template("gone", &["a"], &[]))),
            Operation::RetireTemplate(name("gone")),
            Operation::SetDefaults(defaults),
            Operation::RevokeEveryone { up_to: 7 },
            Operation::RevokeEveryone { up_to: 5 },
        ]);
        let last = LastPushed {
            jwt: "a.b.c".to_owned(),
            issued_at: 9,
            looked_at: 8,
            foreign_up_to: 3,
            known: vec![Known::new("d.e.f", 8)],
        };
        Record {
            wanted,
            last: Some(last),
            done: Done::default().after(
                Some(&Once {
                    key: [1; 32],
                    body: [2; 32],
                }),
                9,
            ),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for record in [record(), Record::default()] {
            assert_eq!(Record::read(&record.write().unwrap()).unwrap(), record);
        }
        let wanted = record().wanted;
        assert_eq!(wanted.templates().count(), 1);
        assert_eq!(wanted.retired().count(), 1);
        assert_eq!(wanted.revoked_up_to(), Some(7));
        let mut cleared = Record::default();
        cleared.wanted.defaults = WantedDefaults::Cleared;
        assert_eq!(Record::read(&cleared.write().unwrap()).unwrap(), cleared);
    }

    #[test]
    fn what_is_of_another_form_or_damaged_is_refused() {
        assert_eq!(
            Record::read(br#"{"version":2,"what":"ever"}"#),
            Err(RecordError::Form { found: 2 })
        );
        let good = String::from_utf8(record().write().unwrap().to_vec()).unwrap();
        for (from, to) in [
            (r#""retired""#, r#""retried""#),
            (r#""name":"member""#, r#""name":"mem ber""#),
            (r#""version":1"#, r#""version":"1""#),
            (r#""looked_at":8,"#, ""),
            (r#""version":1"#, r#""version":1,"extra":1"#),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(
                matches!(Record::read(bad.as_bytes()), Err(RecordError::Damaged(_))),
                "{bad}"
            );
        }
        assert!(matches!(Record::read(b""), Err(RecordError::Damaged(_))));
    }
}
