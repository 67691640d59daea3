//! Parameters that nobody gets to see: the library logs every query's with their `Debug` form, at debug level.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

/// A parameter that `Debug` does not show.
pub(crate) struct Quiet<'a>(&'a (dyn ToSql + Sync));

/// `parameters` to hand on.
pub(crate) fn quiet<'a>(parameters: &[&'a (dyn ToSql + Sync)]) -> Vec<Quiet<'a>> {
    parameters.iter().map(|parameter| Quiet(*parameter)).collect()
}

impl fmt::Debug for Quiet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Quiet<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql_checked(kind, out)
    }

    /// Anything, here: whether the parameter itself fits is checked where it is written.
    fn accepts(_kind: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql_checked(kind, out)
    }

    fn encode_format(&self, kind: &Type) -> Format {
        self.0.encode_format(kind)
    }
}
