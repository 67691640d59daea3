//! What a query takes and gives, as the server sees it, held against what memberships are made of.

use natsgate_core::Membership;
use natsgate_postgres::types::{FromSql, ToSql, Type};
use natsgate_postgres::{Row, Statement};

use super::Placeholder;
use crate::settings::membership::postgres::PostgresMembershipSettings;

/// Where in a row the parts of a membership are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    kind: Option<usize>,
    id: usize,
    role: Option<usize>,
}

impl Shape {
    /// The shape of `statement`, which is to take `parameters`.
    ///
    /// # Errors
    /// What does not fit, and the mend.
    pub(super) fn of(
        statement: &Statement,
        parameters: &[Placeholder],
        settings: &PostgresMembershipSettings,
    ) -> Result<Self, String> {
        if statement.params().len() != parameters.len() {
            return Err(
                "`query` does not use every placeholder as a parameter: take them out of quotes and comments"
                    .to_owned(),
            );
        }
        for (placeholder, kind) in parameters.iter().zip(statement.params()) {
            if !<String as ToSql>::accepts(kind) {
                return Err(format!(
                    "`query` compares {placeholder}, a text, with {}: cast that to text (`column::text = {placeholder}`)",
                    shown(kind)
                ));
            }
        }
        Ok(Self {
            kind: optional(statement, "kind", settings.kind.as_ref())?,
            id: column(statement, "id")?.ok_or("`query` gives no column `id`: name one so (`… AS id`)")?,
            role: optional(statement, "role", settings.role.as_ref())?,
        })
    }

    /// The membership in `row`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        &self,
        row: &Row,
        settings: &PostgresMembershipSettings,
    ) -> Result<Membership, String> {
        let field = |name: &str, column: Option<usize>, fixed: Option<&String>| match (column, fixed) {
            (Some(column), _) => text(row, column, name),
            (None, Some(fixed)) => Ok(fixed.clone()),
            (None, None) => Err(format!("`query` gives no column `{name}`")),
        };
        Ok(Membership {
            kind: field("kind", self.kind, settings.kind.as_ref())?,
            id: text(row, self.id, "id")?,
            role: field("role", self.role, settings.role.as_ref())?,
        })
    }
}

fn text(row: &Row, column: usize, name: &str) -> Result<String, String> {
    match row.try_get::<_, Option<String>>(column) {
        Ok(Some(text)) if !text.is_empty() => Ok(text),
        Ok(Some(_)) => Err(format!(
            "a row has an empty `{name}`: mend the data, or leave such rows out in `query`"
        )),
        Ok(None) => Err(format!(
            "a row has NULL for `{name}`: mend the data, or leave such rows out in `query`"
        )),
        Err(_) => Err(format!(
            "a row has a `{name}` that is no text: cast the column in `query` (`… ::text AS {name}`)"
        )),
    }
}

/// The column `name`, unless the settings fix its value.
fn optional(statement: &Statement, name: &str, fixed: Option<&String>) -> Result<Option<usize>, String> {
    match (column(statement, name)?, fixed) {
        (Some(_), Some(_)) => Err(format!(
            "`query` gives a column `{name}`, and `{name}` is set too: remove one"
        )),
        (None, None) => Err(format!(
            "`query` gives no column `{name}`: name one so (`… AS {name}`), or set `{name}`"
        )),
        (column, _) => Ok(column),
    }
}

fn column(statement: &Statement, name: &str) -> Result<Option<usize>, String> {
    let mut found = None;
    for (at, column) in statement.columns().iter().enumerate() {
        if column.name() != name {
            continue;
        }
        if found.replace(at).is_some() {
            return Err(format!("`query` gives two columns `{name}`: name one otherwise"));
        }
        if !<String as FromSql<'_>>::accepts(column.type_()) {
            return Err(format!(
                "`query` gives {} in `{name}`: cast it to text (`… ::text AS {name}`)",
                shown(column.type_())
            ));
        }
    }
    Ok(found)
}

fn shown(kind: &Type) -> String {
    format!("a value of type {}", kind.name())
}
