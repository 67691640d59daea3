//! What a client may do, found out by doing it.

/// Something a client may have a right to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Right {
    /// A subject to publish to, without wildcards.
    pub publish: String,
    /// A subject to subscribe to, of which the former is a part.
    pub subscribe: String,
}

impl Right {
    /// What the policies here give to a member of a project.
    pub fn of_project(id: &str) -> Self {
        Self {
            publish: format!("projects.{id}.in.probe"),
            subscribe: format!("projects.{id}.>"),
        }
    }
}

/// What a client could do of what it tried, in the order of the rights. It subscribed, published and unsubscribed, each
/// right by itself, so that `received` says that the server really delivers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The server, and the connection there.
    pub connection: (String, u64),
    /// Whether it let it publish.
    pub publish: Vec<bool>,
    /// Whether it let it subscribe.
    pub subscribe: Vec<bool>,
    /// Whether the message it published came back by its subscription.
    pub received: Vec<bool>,
}

impl Held {
    /// Whether it has anything of the right of this index.
    pub fn any(&self, index: usize) -> bool {
        [&self.publish, &self.subscribe, &self.received]
            .iter()
            .any(|held| held.get(index).copied().unwrap_or(false))
    }

    /// Whether it has all of the right of this index.
    pub fn all(&self, index: usize) -> bool {
        [&self.publish, &self.subscribe, &self.received]
            .iter()
            .all(|held| held.get(index).copied().unwrap_or(false))
    }
}

/// What is sent to find out.
pub(super) fn questions(rights: &[Right]) -> Vec<u8> {
    let mut lines = String::new();
    for (index, right) in rights.iter().enumerate() {
        let sid = index + 1;
        lines.push_str(&format!(
            "SUB {} {sid}\r\nPUB {} 0\r\n\r\nUNSUB {sid}\r\n",
            right.subscribe, right.publish
        ));
    }
    lines.push_str("PING\r\n");
    lines.into_bytes()
}

/// What came before the PONG: errors, and the subjects of messages. The server does things in order, so nothing of it comes
/// later.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) errors: Vec<String>,
    pub(super) messages: Vec<String>,
}

impl Answers {
    pub(super) fn held(&self, rights: &[Right]) -> Held {
        let refused = |what: &str, subject: &str| {
            let named = format!("\"{subject}\"");
            self.errors.iter().any(|error| {
                error.starts_with("Permissions Violation for ")
                    && error.contains(what)
                    && error.contains(&named)
            })
        };
        Held {
            connection: Default::default(),
            publish: rights
                .iter()
                .map(|right| !refused("Publish", &right.publish))
                .collect(),
            subscribe: rights
                .iter()
                .map(|right| !refused("Subscription", &right.subscribe))
                .collect(),
            received: rights
                .iter()
                .map(|right| self.messages.contains(&right.publish))
                .collect(),
        }
    }
}
