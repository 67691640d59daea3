//! The values that a user's tags put into a template, checked before the user is minted.
//!
//! A value fills one token of a subject: it must not hold a `.`, a wildcard, white space or braces, nor, where it begins
//! the subject, lead into NATS' own. nats-server checks none of that.

use std::collections::BTreeSet;

use natsgate_core::TagName;
pub use natsgate_core::TagValues;
use natsgate_core::subject::{UnsafeToken, check_first_token, check_token};

use super::function::{Function, has_braces};
use super::{MAX_EXPANSIONS, Template, functions};
use crate::naming::TemplateName;
use crate::subjects::{self, List};

/// What templates may take from the account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountFacts<'a> {
    /// The account's name.
    pub name: &'a str,
    /// The account's tags.
    pub tags: &'a [String],
}

/// Why a template cannot be used with certain values. Holds no value of a user's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagsError {
    /// A user's value that would not stay in its token.
    #[error("template {template}: a value of the user's tag {tag}: {why}")]
    Unsafe {
        /// The template.
        template: TemplateName,
        /// The tag.
        tag: TagName,
        /// Why not.
        why: UnsafeValue,
    },
    /// A user without a value that a denial needs. nats-server refuses such a user.
    #[error("template {template}: {list} needs the tag {tag}, and the user has none; give it one")]
    Missing {
        /// The template.
        template: TemplateName,
        /// The tag.
        tag: TagName,
        /// The list.
        list: List,
    },
    /// The account's name or one of its tags would not stay in its token.
    #[error(
        "template {template}: the account's {what}: {why}; change the account, or leave the function out"
    )]
    Account {
        /// The template.
        template: TemplateName,
        /// What of the account: `name`, or `tag region`.
        what: String,
        /// Why not.
        why: UnsafeValue,
    },
    /// The account has no such tag.
    #[error(
        "template {template}: the account has no tag {tag}; add one ({tag}:VALUE), or leave the function out"
    )]
    NoAccountTag {
        /// The template.
        template: TemplateName,
        /// The tag.
        tag: TagName,
    },
    /// More subjects than a nats-server makes.
    #[error(
        "template {template}: {list} comes to {subjects} subjects with these tags, and nats-server makes {MAX_EXPANSIONS} \
         at most and refuses the user; use fewer tags, or wildcards"
    )]
    TooMany {
        /// The template.
        template: TemplateName,
        /// The list.
        list: List,
        /// How many it comes to.
        subjects: usize,
    },
}

/// Why a value would not stay in its token. Does not hold the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeValue {
    /// Not safe in a subject.
    #[error(transparent)]
    Token(#[from] UnsafeToken),
    /// Braces, which nats-server might expand in turn.
    #[error("it contains '{{' or '}}', which begin and end nats-server's functions")]
    Braces,
}

impl Template {
    /// The tags to mint a user with that has `values`: `NAME:VALUE`, sorted, and only those that the template uses.
    ///
    /// Of a tag that the user does not have, what it would have been allowed is not; a denial needs it.
    ///
    /// # Errors
    /// [`TagsError`]; the user is then not to be minted.
    pub fn tags(&self, values: &TagValues, account: AccountFacts<'_>) -> Result<Vec<String>, TagsError> {
        self.check_account(account)?;
        let mut tags = BTreeSet::new();
        for list in List::ALL {
            let mut subjects: usize = 0;
            for entry in subjects::entries(&self.permissions, list) {
                let mut combinations: usize = 1;
                for (first, function) in functions(entry.subject.as_str()) {
                    let count = match &function {
                        Function::Tag(tag) => {
                            let own = values.get(tag).filter(|own| !own.is_empty());
                            if own.is_none() && list.denies() {
                                return Err(self.missing(tag, list));
                            }
                            for value in own.into_iter().flatten() {
                                check_value(value, first).map_err(|why| self.not_safe(tag, why))?;
                                tags.insert(format!("{tag}:{value}"));
                            }
                            // The server tries a subject without the value before it drops it.
                            own.map_or(1, BTreeSet::len)
                        }
                        Function::AccountTag(tag) => account_values(tag, account).count(),
                        _ => 1,
                    };
                    combinations = combinations.saturating_mul(count);
                }
                subjects = subjects.saturating_add(combinations);
            }
            if subjects > MAX_EXPANSIONS {
                return Err(TagsError::TooMany {
                    template: self.name.clone(),
                    list,
                    subjects,
                });
            }
        }
        Ok(tags.into_iter().collect())
    }

    /// The user tags the template takes values from.
    pub fn tag_names(&self) -> BTreeSet<TagName> {
        List::ALL
            .into_iter()
            .flat_map(|list| subjects::entries(&self.permissions, list))
            .flat_map(|entry| functions(entry.subject.as_str()))
            .filter_map(|(_, function)| match function {
                Function::Tag(tag) => Some(tag),
                _ => None,
            })
            .collect()
    }

    /// Checks that what the template takes from the account is there and safe.
    ///
    /// # Errors
    /// [`TagsError::Account`] and [`TagsError::NoAccountTag`].
    pub fn check_account(&self, account: AccountFacts<'_>) -> Result<(), TagsError> {
        let wrong = |what: String| {
            move |why| TagsError::Account {
                template: self.name.clone(),
                what,
                why,
            }
        };
        for list in List::ALL {
            for entry in subjects::entries(&self.permissions, list) {
                for (first, function) in functions(entry.subject.as_str()) {
                    match function {
                        Function::AccountName => {
                            check_value(account.name, first).map_err(wrong("name".to_owned()))?;
                        }
                        Function::AccountTag(tag) => {
                            if account_values(&tag, account).next().is_none() {
                                return Err(TagsError::NoAccountTag {
                                    template: self.name.clone(),
                                    tag,
                                });
                            }
                            for value in account_values(&tag, account) {
                                check_value(value, first).map_err(wrong(format!("tag {tag}")))?;
                            }
                        }
                        Function::Subject | Function::AccountSubject | Function::Tag(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn missing(&self, tag: &TagName, list: List) -> TagsError {
        TagsError::Missing {
            template: self.name.clone(),
            tag: tag.clone(),
            list,
        }
    }

    fn not_safe(&self, tag: &TagName, why: UnsafeValue) -> TagsError {
        TagsError::Unsafe {
            template: self.name.clone(),
            tag: tag.clone(),
            why,
        }
    }
}

fn account_values<'a>(tag: &TagName, account: AccountFacts<'a>) -> impl Iterator<Item = &'a str> {
    account.tags.iter().filter_map(move |text| tag.value_in(text))
}

fn check_value(value: &str, first: bool) -> Result<(), UnsafeValue> {
    if has_braces(value) {
        return Err(UnsafeValue::Braces);
    }
    if first {
        check_first_token(value)?;
    } else {
        check_token(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
