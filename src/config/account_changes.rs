//! What somebody wants changed in an account's JWT: a YAML file with templates and default permissions.

use std::collections::BTreeMap;
use std::path::Path;

use natsgate_accounts::template::limit_problems;
use natsgate_accounts::{DefaultPermissions, Operation, Template, TemplateName};
use natsgate_core::{
    Limits, Permissions, PublishPermissions, ResponsePermission, Subject, SubscribePermissions,
    SubscribeSubject,
};
use natsgate_policy::document::{PublishRule, ResponsesRule, SubscribeEntry, SubscribeRule};
use serde::Deserialize;

use super::load::{typed, yaml};
use super::problem::{Problem, Problems};

/// The file. What it does not name stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The version of this format: 1.
    version: u32,
    /// Templates that are to be there, and to be like this.
    #[serde(default)]
    templates: BTreeMap<String, TemplateDocument>,
    /// Templates that nobody is to be minted with any more.
    #[serde(default)]
    retire: Vec<String>,
    /// What users may do that bring no permissions of their own.
    default_permissions: Option<DefaultsDocument>,
}

/// A template. Subjects may hold nats-server's functions, each a whole token: `projects.{{tag(project)}}.in.>`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateDocument {
    #[serde(default)]
    publish: PublishRule,
    #[serde(default)]
    subscribe: SubscribeRule,
    responses: Option<ResponsesRule>,
    #[serde(default)]
    limits: LimitsDocument,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsDocument {
    subscriptions: Option<u64>,
    payload: Option<u64>,
    data: Option<u64>,
    connection_types: Option<Vec<String>>,
    source_networks: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultsDocument {
    #[serde(default)]
    publish: PublishRule,
    #[serde(default)]
    subscribe: SubscribeRule,
    responses: Option<ResponsesRule>,
}

/// Reads the file at `path`: the operations that make an account what it says.
///
/// # Errors
/// All that is wrong with it.
pub fn load(path: &Path) -> Result<Vec<Operation>, Problems> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::new(path.display().to_string(), format!("cannot be read: {error}")))?;
    operations(&text).map_err(|problems| match problems {
        Wrong::File(problem) => Problem::new(path.display().to_string(), problem).into(),
        Wrong::Keys(problems) => problems,
    })
}

enum Wrong {
    File(String),
    Keys(Problems),
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self::Keys(problem.into())
    }
}

fn operations(text: &str) -> Result<Vec<Operation>, Wrong> {
    let document: Document = typed(&yaml(text).map_err(Wrong::File)?)?;
    if document.version != 1 {
        return Err(Problem::new("version", "this natsgate reads version 1; write `version: 1`").into());
    }
    let mut problems = Problems::default();
    let mut operations = Vec::new();
    for (name, template) in &document.templates {
        let key = format!("templates.{name}");
        let read = template.read(name, &key, &mut problems);
        operations.extend(read.map(|template| Operation::PutTemplate(Box::new(template))));
    }
    for (index, name) in document.retire.iter().enumerate() {
        let key = format!("retire[{index}]");
        if document.templates.contains_key(name) {
            problems.push(Problem::new(
                key,
                "is among the templates as well; leave out one of them",
            ));
            continue;
        }
        let read: Option<TemplateName> = problems.take(name.parse().map_err(|why| Problem::new(key, why)));
        operations.extend(read.map(Operation::RetireTemplate));
    }
    if let Some(defaults) = &document.default_permissions {
        let key = "default_permissions";
        let permissions = permissions(
            &defaults.publish,
            &defaults.subscribe,
            defaults.responses.as_ref(),
            key,
            &mut problems,
        );
        let read = permissions.and_then(|permissions| {
            problems.take(DefaultPermissions::new(permissions).map_err(|why| Problem::new(key, why)))
        });
        operations.extend(read.map(Operation::SetDefaults));
    }
    if document.templates.is_empty() && document.retire.is_empty() && document.default_permissions.is_none() {
        let what = "names nothing to change; give it templates, retire or default_permissions";
        problems.push(Problem::new("the file", what));
    }
    problems.or(Some(operations)).map_err(Wrong::Keys)
}

impl TemplateDocument {
    fn read(&self, name: &str, key: &str, problems: &mut Problems) -> Option<Template> {
        let name: Option<TemplateName> = problems.take(name.parse().map_err(|why| Problem::new(key, why)));
        let permissions = permissions(
            &self.publish,
            &self.subscribe,
            self.responses.as_ref(),
            key,
            problems,
        );
        let limits = self.limits.read(&format!("{key}.limits"), problems);
        let template = Template::new(name?, permissions?, limits?);
        problems.take(template.map_err(|why| Problem::new(key, why)))
    }
}

impl LimitsDocument {
    fn read(&self, key: &str, problems: &mut Problems) -> Option<Limits> {
        let connection_types = all(
            self.connection_types.as_deref(),
            &format!("{key}.connection_types"),
            problems,
        );
        let source_networks = all(
            self.source_networks.as_deref(),
            &format!("{key}.source_networks"),
            problems,
        );
        let limits = Limits {
            subscriptions: self.subscriptions,
            payload: self.payload,
            data: self.data,
            connection_types: connection_types?,
            source_networks: source_networks?,
            times: None,
        };
        for (name, problem) in limit_problems(&limits) {
            problems.push(Problem::new(format!("{key}.{name}"), problem));
        }
        Some(limits)
    }
}

/// All of `texts`, read; the outer `None` if one cannot be, or there is a list and nothing in it.
#[allow(clippy::option_option, reason = "not given is not the same as not readable")]
fn all<T: std::str::FromStr<Err: std::fmt::Display>>(
    texts: Option<&[String]>,
    key: &str,
    problems: &mut Problems,
) -> Option<Option<Vec<T>>> {
    let Some(texts) = texts else { return Some(None) };
    if texts.is_empty() {
        problems.push(Problem::new(
            key,
            "is empty, which lets nobody in; leave it out for no limit",
        ));
        return None;
    }
    let read = texts.iter().enumerate().map(|(index, text)| {
        let read = text.parse();
        problems.take(read.map_err(|why| Problem::new(format!("{key}[{index}]"), why)))
    });
    let read: Vec<Option<T>> = read.collect();
    read.into_iter().collect::<Option<Vec<T>>>().map(Some)
}

fn permissions(
    publish: &PublishRule,
    subscribe: &SubscribeRule,
    responses: Option<&ResponsesRule>,
    key: &str,
    problems: &mut Problems,
) -> Option<Permissions> {
    let mut texts = |list: &[String], name: &str| {
        let read = list
            .iter()
            .enumerate()
            .map(|(index, text)| subject(text, &format!("{key}.publish.{name}[{index}]"), problems));
        read.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
    };
    let (publish_allow, publish_deny) = (texts(&publish.allow, "allow"), texts(&publish.deny, "deny"));
    let mut entries = |list: &[SubscribeEntry], name: &str| {
        let read = list.iter().enumerate().map(|(index, entry)| {
            let key = format!("{key}.subscribe.{name}[{index}]");
            Some(SubscribeSubject {
                subject: subject(entry.subject(), &key, problems)?,
                queue: match entry.queue() {
                    Some(queue) => Some(subject(queue, &format!("{key}.queue"), problems)?),
                    None => None,
                },
            })
        });
        read.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
    };
    let (subscribe_allow, subscribe_deny) = (
        entries(&subscribe.allow, "allow"),
        entries(&subscribe.deny, "deny"),
    );
    let responses = match responses {
        Some(ResponsesRule { max_messages, ttl }) if *max_messages == 0 || ttl.duration().is_zero() => {
            let what =
                "must allow at least 1 message, for more than nothing; leave responses out to allow none";
            problems.push(Problem::new(format!("{key}.responses"), what));
            return None;
        }
        Some(ResponsesRule { max_messages, ttl }) => Some(ResponsePermission {
            max_messages: *max_messages,
            ttl: Some(ttl.duration()),
        }),
        None => None,
    };
    Some(Permissions {
        publish: PublishPermissions {
            allow: publish_allow?,
            deny: publish_deny?,
        },
        subscribe: SubscribePermissions {
            allow: subscribe_allow?,
            deny: subscribe_deny?,
        },
        responses,
    })
}

fn subject(text: &str, key: &str, problems: &mut Problems) -> Option<Subject> {
    problems.take(Subject::parse(text).map_err(|why| Problem::new(key, why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        match operations(text) {
            Ok(operations) => panic!("{operations:?}"),
            Err(Wrong::File(problem)) => problem,
            Err(Wrong::Keys(problems)) => problems.to_string(),
        }
    }

    #[test]
    fn a_file_is_read_into_operations() {
        let read = operations(
            r#"
version: 1
templates:
  member:
    publish: { allow: ["projects.{{tag(project)}}.in.>"] }
    subscribe: { allow: ["projects.{{tag(project)}}.>", "_INBOX.{{subject()}}.>"] }
    responses: { max_messages: 1, ttl: 5s }
    limits: { subscriptions: 10, source_networks: [10.0.0.0/8] }
retire: [guest]
default_permissions:
  subscribe: { allow: [news.>] }
"#,
        );
        let Ok(read) = read else { panic!("not read") };
        assert!(matches!(
            read.as_slice(),
            [
                Operation::PutTemplate(template),
                Operation::RetireTemplate(_),
                Operation::SetDefaults(_)
            ] if template.limits().subscriptions == Some(10)
        ));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_key() {
        for (text, says) in [
            ("version: 2", "version: this natsgate reads version 1"),
            ("version: 1", "names nothing to change"),
            ("version: 1\ntemplate: {}", "unknown field `template`"),
            ("version: [", "is not YAML"),
            (
                "version: 1\ntemplates: { a.b: { publish: { allow: [x] } } }",
                "templates.a.b: a template's name has",
            ),
            (
                "version: 1\ntemplates: { a: { publish: { allow: [x..y] } } }",
                "templates.a.publish.allow[0]",
            ),
            ("version: 1\ntemplates: { a: {} }", "templates.a: "),
            (
                "version: 1\ntemplates: { a: { publish: { allow: ['{{name()}}'] } } }",
                "templates.a: ",
            ),
            (
                "version: 1\ntemplates: { a: { publish: { allow: [x] }, limits: { payload: 0 } } }",
                "templates.a.limits.payload: must be from 1",
            ),
            (
                "version: 1\ntemplates: { a: { publish: { allow: [x] }, limits: { connection_types: [tcp] } } }",
                "templates.a.limits.connection_types[0]",
            ),
            (
                "version: 1\ntemplates: { a: { publish: { allow: [x] } } }\nretire: [a]",
                "retire[0]: is among the templates",
            ),
            ("version: 1\nretire: [a b]", "retire[0]: a template's name has"),
            (
                "version: 1\ndefault_permissions: { publish: { allow: ['{{subject()}}'] } }",
                "default_permissions: ",
            ),
        ] {
            let told = wrong(text);
            assert!(told.contains(says), "{says}: {told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }
}
