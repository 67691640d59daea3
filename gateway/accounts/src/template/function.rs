//! The functions that nats-server expands in a scoped signing key's template (`processUserPermissionsTemplate`).
//!
//! Accepted here is what every nats-server from 2.10 on expands alike:
//!
//! - A function is a whole token. Until 2.11 a function that is only part of a token stays as it is written, and a deny
//!   that holds it denies nothing.
//! - It is written in lower case and without spaces. Servers differ in what else they take.
//! - A tag stands once in a subject. Twice, older servers combine its values and newer ones repeat the same one.
//! - `{{name()}}` is refused. A user's name is what natsgate calls the session: it holds what the identity provider calls
//!   the person, unchecked, and another revision every time.

use natsgate_core::TagName;

/// A token of a subject in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// What is there.
    Text(&'a str),
    /// What the server puts there.
    Function(Function),
}

/// A function of nats-server's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    /// The user's public nkey.
    Subject,
    /// The account's name.
    AccountName,
    /// The account's public key.
    AccountSubject,
    /// Each value of one of the user's tags.
    Tag(TagName),
    /// Each value of one of the account's tags.
    AccountTag(TagName),
}

/// What is wrong with braces in a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// A function beside other characters of its token.
    #[error(
        "a function must be a whole token, 'a.{{{{tag(x)}}}}.b': nats-server before 2.11 expands no other"
    )]
    PartOfToken,
    /// Not one of the functions.
    #[error(
        "there is no such function; there are {{{{subject()}}}}, {{{{account-name()}}}}, {{{{account-subject()}}}}, {{{{tag(NAME)}}}} \
         and {{{{account-tag(NAME)}}}}, in lower case and without spaces"
    )]
    NoSuch,
    /// `{{name()}}`.
    #[error(
        "{{{{name()}}}} is the name of a natsgate session, which is not checked for dots and wildcards and changes with every \
         decision; give the user a tag and write {{{{tag(NAME)}}}}"
    )]
    Name,
    /// The name of a tag is none.
    #[error("a tag's name has 1 to 64 characters from a-z, 0-9, '_' and '-'")]
    TagName,
    /// A tag twice in one subject.
    #[error("a tag may stand in a subject once: nats-servers do not agree on what twice means")]
    TagTwice,
    /// Braces that are no function's.
    #[error("braces belong to functions, {{{{tag(NAME)}}}}: nats-server knows no other")]
    Braces,
}

/// The tokens of `subject`.
pub(crate) fn tokens(subject: &str) -> Result<Vec<Token<'_>>, FunctionError> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    for text in subject.split('.') {
        let token = token(text)?;
        let tagged = matches!(token, Token::Function(Function::Tag(_) | Function::AccountTag(_)));
        if tagged && tokens.contains(&token) {
            return Err(FunctionError::TagTwice);
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// Whether `text` has braces at all.
pub(crate) fn has_braces(text: &str) -> bool {
    text.contains(['{', '}'])
}

fn token(text: &str) -> Result<Token<'_>, FunctionError> {
    let inside = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    match inside {
        Some(inside) if !has_braces(inside) => Ok(Token::Function(function(inside)?)),
        None if !has_braces(text) => Ok(Token::Text(text)),
        _ if text.contains("{{") && text.contains("}}") => Err(FunctionError::PartOfToken),
        _ => Err(FunctionError::Braces),
    }
}

fn function(text: &str) -> Result<Function, FunctionError> {
    let argument = |name: &str| {
        let argument = text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
        Some(TagName::parse(argument).ok_or(FunctionError::TagName))
    };
    match text {
        "name()" => Err(FunctionError::Name),
        "subject()" => Ok(Function::Subject),
        "account-name()" => Ok(Function::AccountName),
        "account-subject()" => Ok(Function::AccountSubject),
        _ => match (argument("tag"), argument("account-tag")) {
            (Some(name), _) => name.map(Function::Tag),
            (_, Some(name)) => name.map(Function::AccountTag),
            _ => Err(FunctionError::NoSuch),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str) -> TagName {
        TagName::parse(name).unwrap()
    }

    #[test]
    fn functions_are_whole_tokens() {
        let read = tokens("a.{{tag(project)}}.{{account-tag(region)}}.{{subject()}}.>").unwrap();
        assert_eq!(
            read,
            [
                Token::Text("a"),
                Token::Function(Function::Tag(tag("project"))),
                Token::Function(Function::AccountTag(tag("region"))),
                Token::Function(Function::Subject),
                Token::Text(">"),
            ]
        );
        assert_eq!(
            tokens("{{account-name()}}.{{account-subject()}}").unwrap(),
            [
                Token::Function(Function::AccountName),
                Token::Function(Function::AccountSubject)
            ]
        );
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (subject, why) in [
            ("app-{{tag(x)}}.in", FunctionError::PartOfToken),
            ("{{tag(x)}}-{{tag(y)}}", FunctionError::PartOfToken),
            ("{{tag(x)}}{{subject()}}", FunctionError::PartOfToken),
            ("{{{tag(x)}}}", FunctionError::PartOfToken),
            ("{{name()}}.>", FunctionError::Name),
            ("{{TAG(x)}}", FunctionError::NoSuch),
            ("{{Subject()}}", FunctionError::NoSuch),
            ("{{subject}}", FunctionError::NoSuch),
            ("{{}}", FunctionError::NoSuch),
            ("{{tag()}}", FunctionError::TagName),
            ("{{tag(X)}}", FunctionError::TagName),
            ("{{tag(a:b)}}", FunctionError::TagName),
            ("{{tag(a)b)}}", FunctionError::TagName),
            ("{{tag(x)}}.{{tag(x)}}", FunctionError::TagTwice),
            ("{claims.x}", FunctionError::Braces),
            ("a.{{tag(x)", FunctionError::Braces),
            ("a.}}", FunctionError::Braces),
        ] {
            assert_eq!(tokens(subject), Err(why), "{subject}");
        }
        tokens("{{tag(x)}}.{{account-tag(x)}}.{{subject()}}.{{subject()}}").unwrap();
    }
}
