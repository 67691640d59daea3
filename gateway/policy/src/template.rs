//! Subject templates: subjects with places for values, and the renderer that keeps every value inside its token.
//!
//! A template is taken apart into subject tokens when the policy is compiled. What separates tokens and what matches
//! many of them (`.`, `*`, `>`) can therefore come from the template's own text alone; a value is looked at before it is
//! put into its place, and the result once more as a whole.

mod parse;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use natsgate_core::subject::{MAX_TOKEN_BYTES, check_first_token, check_token};
use natsgate_core::{Subject, SubjectError, UnsafeToken};

use crate::facts::{Missing, Values};

pub(crate) use parse::{Scope, TemplateError};

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    source: Arc<str>,
    tokens: Vec<Vec<Part>>,
}

/// A piece of one subject token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text of the template's own.
    Literal(String),
    /// A place for a value.
    Value(Placeholder),
}

/// A place for a value: `{claims.email | base64url}`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placeholder {
    variable: Variable,
    filter: Option<Filter>,
    /// What stands between the braces.
    text: String,
}

/// What may stand in a template. What a client says of itself (its name, its MQTT client id) is not here: it proves
/// nothing, so it must not choose subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    PrincipalIssuer,
    PrincipalSubject,
    PrincipalDigest,
    Provider,
    MembershipKind,
    MembershipId,
    MembershipRole,
    ConnectionCluster,
    ConnectionServerName,
    ConnectionUserNkey,
    ConnectionClientId,
    Claim(Vec<String>),
}

/// How a value is changed before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// RFC 4648 section 5, without padding: letters, digits, `-` and `_`.
    Base64Url,
}

/// Why a template could not be rendered. Names the placeholder, never holds its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("the value of {{{placeholder}}} must not stand there: {why}{mend}")]
    Unsafe {
        placeholder: String,
        why: UnsafeToken,
        mend: &'static str,
    },
    #[error("the value of {{{placeholder}}} {why}")]
    Missing { placeholder: String, why: Missing },
    #[error("with its values it is not a subject: {0}")]
    NotASubject(SubjectError),
    #[error("with its values it has another number of tokens")]
    OtherShape,
}

impl Template {
    /// Reads a subject template.
    pub(crate) fn parse(source: &str, scope: Scope) -> Result<Self, TemplateError> {
        parse::parse(source, scope)
    }

    /// Reads a template that is one token without wildcards: an account's name.
    pub(crate) fn parse_name(source: &str, scope: Scope) -> Result<Self, TemplateError> {
        let template = parse::parse(source, scope)?;
        let wild = |part: &Part| matches!(part, Part::Literal(text) if text == "*" || text == ">");
        match template.tokens.as_slice() {
            [token] if !token.iter().any(wild) => Ok(template),
            _ => Err(TemplateError::whole(
                "a name is one token, without '.' and without wildcards",
            )),
        }
    }

    /// The template as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Puts the values in their places.
    pub(crate) fn render(&self, values: &Values<'_>) -> Result<Subject, RenderError> {
        let mut text = String::with_capacity(self.source.len().saturating_add(32));
        for (index, token) in self.tokens.iter().enumerate() {
            if index > 0 {
                text.push('.');
            }
            for part in token {
                match part {
                    Part::Literal(literal) => text.push_str(literal),
                    Part::Value(placeholder) => {
                        let value = placeholder.value(values, text.is_empty())?;
                        text.push_str(&value);
                    }
                }
            }
        }
        let subject = Subject::parse(text).map_err(RenderError::NotASubject)?;
        // Cannot be otherwise after the checks above: this is the second lock on the same door.
        if subject.as_str().split('.').count() != self.tokens.len() {
            return Err(RenderError::OtherShape);
        }
        Ok(subject)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Placeholder {
    /// The value, filtered and checked; `first` if it begins the subject.
    fn value<'a>(&self, values: &Values<'a>, first: bool) -> Result<Cow<'a, str>, RenderError> {
        let raw = values.get(&self.variable).map_err(|why| RenderError::Missing {
            placeholder: self.text.clone(),
            why,
        })?;
        let value = match self.filter {
            None => raw,
            // Not encoded at all if it is too long even before: the check below refuses it.
            Some(Filter::Base64Url) if raw.len() <= MAX_TOKEN_BYTES => {
                Cow::Owned(BASE64URL_NOPAD.encode(raw.as_bytes()))
            }
            Some(Filter::Base64Url) => raw,
        };
        let checked = if first {
            check_first_token(&value)
        } else {
            check_token(&value)
        };
        checked.map_err(|why| RenderError::Unsafe {
            placeholder: self.text.clone(),
            why,
            mend: self.mend(why),
        })?;
        Ok(value)
    }

    fn mend(&self, why: UnsafeToken) -> &'static str {
        match (self.filter, why) {
            (Some(_), _) | (_, UnsafeToken::Empty | UnsafeToken::TooLong) => {
                "; correct it where it comes from"
            }
            (None, _) => "; correct it where it comes from, or write it encoded with | base64url",
        }
    }
}

#[cfg(test)]
mod tests;
