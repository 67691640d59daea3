//! The pages of a list: which one is next, and what an answer means for the list as a whole.

use std::collections::HashSet;

use reqwest::StatusCode;
use serde_json::Value;
use url::Url;

use super::client::Answer;
use super::link;
use crate::claim_path;
use crate::settings::membership::http::{
    CursorSettings, HttpMembershipSettings, NotFoundSettings, PaginationSettings,
};

/// The parameter of the query that tells pages apart, if one does.
pub(super) fn parameter(settings: &HttpMembershipSettings) -> Option<&str> {
    match &settings.pagination {
        PaginationSettings::None | PaginationSettings::Link => None,
        PaginationSettings::Cursor(cursor) => Some(&cursor.parameter),
        PaginationSettings::Page(page) => Some(&page.parameter),
    }
}

/// Where in a list we are.
pub(super) struct Pages<'a> {
    settings: &'a HttpMembershipSettings,
    /// Without anything of pages in it.
    first: Url,
    next: Option<Url>,
    /// How many were asked for.
    asked: usize,
    seen: HashSet<String>,
}

impl<'a> Pages<'a> {
    /// The list that begins at `first`.
    pub(super) fn new(settings: &'a HttpMembershipSettings, first: Url) -> Self {
        let next = match &settings.pagination {
            PaginationSettings::Page(page) => with(&first, &page.parameter, &page.first.to_string()),
            _ => first.clone(),
        };
        Self {
            settings,
            first,
            next: Some(next),
            asked: 0,
            seen: HashSet::new(),
        }
    }

    /// The next page's URL; `None` at the end.
    ///
    /// # Errors
    /// If there are too many, or one comes again.
    pub(super) fn next(&mut self) -> Result<Option<Url>, String> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        if self.asked >= self.settings.max_pages {
            return Err(format!(
                "the list has more than {} pages: check `pagination`, or raise `max_pages`",
                self.settings.max_pages
            ));
        }
        if !self.seen.insert(url.to_string()) {
            return Err(
                "the list goes round in circles: a page names itself, or one before it, as the next"
                    .to_owned(),
            );
        }
        self.asked += 1;
        Ok(Some(url))
    }

    /// The document in `answer`; `None` if it says that there is nothing.
    ///
    /// # Errors
    /// If it is no such answer.
    pub(super) fn document(&self, answer: &Answer) -> Result<Option<Value>, String> {
        let status = answer.status;
        match status {
            StatusCode::OK => serde_json::from_slice(&answer.body).map(Some).map_err(|error| {
                format!(
                    "the answer is not JSON (line {}, column {})",
                    error.line(),
                    error.column()
                )
            }),
            StatusCode::NOT_FOUND if self.asked == 1 => match self.settings.not_found {
                NotFoundSettings::Nothing => Ok(None),
                NotFoundSettings::Unavailable => Err(format!(
                    "the answer is {status}: check `url`, or set `not_found: nothing` if that says that somebody has none"
                )),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
                "the answer is {status}, so natsgate itself is refused: check `authentication`"
            )),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(format!("the answer is {status}: it asks for fewer requests"))
            }
            _ if status.is_redirection() => Err(format!(
                "the answer is a redirect ({status}), which is not followed: configure the final URL"
            )),
            _ => Err(format!("the answer is {status}")),
        }
    }

    /// Goes on to the page after the one that was answered with `document`, which holds `list`.
    ///
    /// # Errors
    /// If that cannot be told.
    pub(super) fn turn(&mut self, answer: &Answer, document: &Value, list: &[Value]) -> Result<(), String> {
        self.next = match &self.settings.pagination {
            // Rather no answer than a part of one.
            PaginationSettings::None if link::next(&answer.headers).is_ok_and(|next| next.is_some()) => {
                return Err("the answer has a next page, and no `pagination` is configured".to_owned());
            }
            PaginationSettings::None => None,
            PaginationSettings::Link => match link::next(&answer.headers)? {
                Some(target) => Some(self.follow(&target)?),
                None => None,
            },
            PaginationSettings::Cursor(cursor) => {
                next_cursor(cursor, document)?.map(|value| with(&self.first, &cursor.parameter, &value))
            }
            PaginationSettings::Page(_) if list.is_empty() => None,
            PaginationSettings::Page(page) => {
                // As text a list and a URL never look the same.
                if !self.seen.insert(Value::from(list.to_vec()).to_string()) {
                    return Err(format!(
                        "a page repeats another: does the API know the parameter `{}`?",
                        page.parameter
                    ));
                }
                let asked = u32::try_from(self.asked).unwrap_or(u32::MAX);
                let number = page.first.saturating_add(asked);
                Some(with(&self.first, &page.parameter, &number.to_string()))
            }
        };
        Ok(())
    }

    /// The URL that a `Link` header names.
    fn follow(&self, target: &str) -> Result<Url, String> {
        // Relative to the page it came with, which is as good as the first: they are of one origin.
        let url = self
            .first
            .join(target)
            .map_err(|_| "the `Link` header's next page is not a URL".to_owned())?;
        if url.origin() != self.first.origin() || !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the `Link` header's next page is on another host, where natsgate does not ask".to_owned(),
            );
        }
        Ok(url)
    }
}

/// What `document` names as the next cursor.
fn next_cursor(cursor: &CursorSettings, document: &Value) -> Result<Option<String>, String> {
    let field = &cursor.field;
    let wrong = |why: &str| {
        Err(format!(
            "the answer's `{field}` {why}: check `pagination.cursor.field`"
        ))
    };
    let Some(object) = document.as_object() else {
        return wrong("is missing, since the answer is no object");
    };
    match found(object, field) {
        Some(Value::Null | Value::Bool(false)) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        Some(_) => wrong("is no cursor"),
        None if cursor.may_be_absent => Ok(None),
        None => wrong("is missing"),
    }
}

/// As `claim_path::find`, but tells `null` from nothing.
fn found<'a>(object: &'a serde_json::Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    match path.rsplit_once('.') {
        Some((before, last)) => claim_path::find(object, before)?.as_object()?.get(last),
        None => None,
    }
}

/// `url` with one more parameter in its query.
fn with(url: &Url, name: &str, value: &str) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair(name, value);
    url
}
