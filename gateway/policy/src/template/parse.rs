//! Reads templates, and says where one is wrong.
//!
//! `projects.{membership.id}.in.>`: text, and placeholders in braces: a variable and at most one filter. A claim whose
//! name is not made of letters, digits, `_` and `-` is quoted: `{claims["https://example.com/tenant"].id}`. There are no
//! escapes: no subject needs a brace of its own, and `{{…}}` is nats-server's own notation, which means nothing here.

use std::iter::Peekable;
use std::str::CharIndices;

use natsgate_core::Subject;

use super::{Filter, Part, Placeholder, Template, Variable};

/// The longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1024;

/// The most segments of a claim's path.
const MAX_CLAIM_SEGMENTS: usize = 16;

/// Which variables there are where the template stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Whether the rule is repeated for memberships.
    pub(crate) membership: bool,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", position(*.at))]
pub(crate) struct TemplateError {
    /// The character it is about, from 1; `None` for the whole.
    pub(crate) at: Option<usize>,
    pub(crate) problem: String,
}

fn position(at: Option<usize>) -> String {
    at.map(|at| format!("at character {at}: ")).unwrap_or_default()
}

impl TemplateError {
    pub(super) fn whole(problem: impl Into<String>) -> Self {
        Self {
            at: None,
            problem: problem.into(),
        }
    }
}

/// Reads `source`.
pub(super) fn parse(source: &str, scope: Scope) -> Result<Template, TemplateError> {
    if source.len() > MAX_TEMPLATE_BYTES {
        return Err(TemplateError::whole(format!(
            "a template must not be longer than {MAX_TEMPLATE_BYTES} bytes"
        )));
    }
    let mut reader = Reader {
        chars: source.char_indices().peekable(),
        read: 0,
        scope,
    };
    let mut tokens = vec![Vec::new()];
    let mut literal = String::new();
    // The template with a plain letter in each value's place: what its own text must be by itself.
    let mut shape = String::new();
    while let Some(c) = reader.next() {
        let token = tokens.last_mut();
        match c {
            '{' => {
                let placeholder = reader.placeholder()?;
                if let Some(token) = token {
                    take_literal(&mut literal, token);
                    token.push(Part::Value(placeholder));
                }
                shape.push('x');
            }
            '}' => return Err(reader.wrong("'}' without its '{'")),
            '.' => {
                if let Some(token) = token {
                    take_literal(&mut literal, token);
                }
                tokens.push(Vec::new());
                shape.push('.');
            }
            c => {
                literal.push(c);
                shape.push(c);
            }
        }
    }
    if let Some(token) = tokens.last_mut() {
        take_literal(&mut literal, token);
    }
    Subject::parse(shape).map_err(|why| TemplateError::whole(why.to_string()))?;
    if let Some([Part::Literal(head), _, ..]) = tokens.first().map(Vec::as_slice)
        && head.starts_with(['$', '_'])
    {
        return Err(TemplateError::whole(
            "a value must not complete a first token that begins with '$' or '_', which NATS keeps for itself; \
             write {principal.subject}, without '$'",
        ));
    }
    Ok(Template {
        source: source.into(),
        tokens,
    })
}

fn take_literal(literal: &mut String, token: &mut Vec<Part>) {
    if !literal.is_empty() {
        token.push(Part::Literal(std::mem::take(literal)));
    }
}

struct Reader<'a> {
    chars: Peekable<CharIndices<'a>>,
    /// Characters read so far: the position, from 1, of the last one.
    read: usize,
    scope: Scope,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let (_, c) = self.chars.next()?;
        self.read = self.read.saturating_add(1);
        Some(c)
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn wrong(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError {
            at: Some(self.read),
            problem: problem.into(),
        }
    }

    fn wrong_next(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError {
            at: Some(self.read.saturating_add(1)),
            problem: problem.into(),
        }
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(' ') {
            self.next();
        }
    }

    /// What follows a `{`, up to and with its `}`.
    fn placeholder(&mut self) -> Result<Placeholder, TemplateError> {
        let open = self.read;
        if self.peek() == Some('{') {
            return Err(self.wrong(
                "'{{' is nats-server's notation for scoped signing keys; here one brace holds a value: {principal.subject}",
            ));
        }
        self.skip_blanks();
        let path = self.path()?;
        self.skip_blanks();
        let filter = if self.peek() == Some('|') {
            self.next();
            self.skip_blanks();
            let name = self.name();
            let filter = match name.as_str() {
                "base64url" => Filter::Base64Url,
                _ => return Err(self.wrong("there is one filter: base64url")),
            };
            self.skip_blanks();
            Some(filter)
        } else {
            None
        };
        match self.next() {
            Some('}') => {}
            Some(_) => {
                return Err(self.wrong("expected '}', or one filter: {claims.email | base64url}"));
            }
            None => {
                return Err(TemplateError {
                    at: Some(open),
                    problem: "'{' without its '}'".to_owned(),
                });
            }
        }
        let text = written(&path, filter);
        let variable = variable(path, self.scope).map_err(|problem| TemplateError {
            at: Some(open),
            problem,
        })?;
        Ok(Placeholder {
            variable,
            filter,
            text,
        })
    }

    /// Names joined by `.`, or quoted in brackets.
    fn path(&mut self) -> Result<Vec<String>, TemplateError> {
        let mut path = vec![self.segment()?];
        loop {
            match self.peek() {
                Some('.') => {
                    self.next();
                    path.push(self.segment()?);
                }
                Some('[') => {
                    self.next();
                    path.push(self.quoted()?);
                }
                _ => return Ok(path),
            }
        }
    }

    fn segment(&mut self) -> Result<String, TemplateError> {
        let name = self.name();
        if name.is_empty() {
            return Err(self.wrong_next(
                "expected a name of letters, digits, '_' and '-'; quote other claims: {claims[\"https://example.com/tenant\"]}",
            ));
        }
        Ok(name)
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self
            .peek()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        {
            name.push(c);
            self.next();
        }
        name
    }

    /// What follows a `[`: a quoted name and a `]`.
    fn quoted(&mut self) -> Result<String, TemplateError> {
        let quote = match self.next() {
            Some(quote @ ('"' | '\'')) => quote,
            _ => return Err(self.wrong("expected a quoted name: [\"https://example.com/tenant\"]")),
        };
        let mut name = String::new();
        loop {
            match self.next() {
                Some(c) if c == quote => break,
                Some(c) => name.push(c),
                None => return Err(self.wrong("the quoted name does not end")),
            }
        }
        match self.next() {
            Some(']') if !name.is_empty() => Ok(name),
            Some(']') => Err(self.wrong("the quoted name is empty")),
            _ => Err(self.wrong("expected ']' after the quoted name")),
        }
    }
}

/// A placeholder the way explanations write it.
fn written(path: &[String], filter: Option<Filter>) -> String {
    let mut text = String::new();
    for name in path {
        let plain = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        match (plain, text.is_empty()) {
            (true, true) => text.push_str(name),
            (true, false) => {
                text.push('.');
                text.push_str(name);
            }
            (false, _) => {
                text.push_str("[\"");
                text.push_str(name);
                text.push_str("\"]");
            }
        }
    }
    if filter.is_some() {
        text.push_str(" | base64url");
    }
    text
}

/// The variable at `path`, or what is wrong with it.
fn variable(path: Vec<String>, scope: Scope) -> Result<Variable, String> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let found = match names.as_slice() {
        ["principal", "issuer"] => Variable::PrincipalIssuer,
        ["principal", "subject"] => Variable::PrincipalSubject,
        ["principal", "digest"] => Variable::PrincipalDigest,
        ["provider"] => Variable::Provider,
        ["membership", "kind"] => Variable::MembershipKind,
        ["membership", "id"] => Variable::MembershipId,
        ["membership", "role"] => Variable::MembershipRole,
        ["connection", "cluster"] => Variable::ConnectionCluster,
        ["connection", "server_name"] => Variable::ConnectionServerName,
        ["connection", "user_nkey"] => Variable::ConnectionUserNkey,
        ["connection", "client_id"] => Variable::ConnectionClientId,
        ["claims", rest @ ..] if rest.len() > MAX_CLAIM_SEGMENTS => {
            return Err(format!("a claim's path has at most {MAX_CLAIM_SEGMENTS} names"));
        }
        ["claims", _, ..] => Variable::Claim(path.into_iter().skip(1).collect()),
        ["connection", "client_name" | "mqtt_id" | "client_host"] => {
            return Err(
                "what a client says of itself, or where it comes from, must not choose its subjects; compare it \
                 in `when` with a claim, and use the claim"
                    .to_owned(),
            );
        }
        _ => {
            return Err(
                "there is no such variable; there are principal.subject, principal.issuer, principal.digest, provider, \
                 claims.NAME, membership.kind, membership.id, membership.role, connection.cluster, \
                 connection.server_name, connection.user_nkey, connection.client_id"
                    .to_owned(),
            );
        }
    };
    let of_membership = matches!(
        found,
        Variable::MembershipKind | Variable::MembershipId | Variable::MembershipRole
    );
    if of_membership && !scope.membership {
        return Err(
            "there is no membership here: give the rule `for_each: {membership: {kind: …}}`".to_owned(),
        );
    }
    Ok(found)
}
