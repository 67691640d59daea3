//! What the API says, in words for a person.

use std::time::{Duration, SystemTime};

use natsgate_proto::v1;
use natsgate_proto::v1::selector::Selector;

/// `text` with its control characters written out: clients choose some of what is shown, and a terminal obeys them.
pub fn readable(text: &str) -> String {
    let mut readable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            readable.extend(c.escape_default());
        } else {
            readable.push(c);
        }
    }
    readable
}

/// `count` of something.
pub fn count(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}

/// A principal.
pub fn principal(principal: &v1::Principal) -> String {
    format!(
        "{} of {}",
        readable(&principal.subject),
        readable(&principal.issuer)
    )
}

/// Whom or what a revocation concerns.
pub fn selector(selector: Option<&v1::Selector>) -> String {
    let of = |what: &str, id: &str, issuer: &str| format!("{what} {} of {}", readable(id), readable(issuer));
    match selector.and_then(|selector| selector.selector.as_ref()) {
        Some(Selector::Principal(one)) => format!("principal {}", principal(one)),
        Some(Selector::Membership(one)) => {
            let whose = one.principal.as_ref().map(principal).unwrap_or_default();
            let (kind, id) = (readable(&one.kind), readable(&one.id));
            format!("membership of {whose} in {kind} {id}")
        }
        Some(Selector::Resource(one)) => format!("resource {} {}", readable(&one.kind), readable(&one.id)),
        Some(Selector::Role(one)) => {
            format!("role {} in every {}", readable(&one.role), readable(&one.kind))
        }
        Some(Selector::Rule(name)) => format!("rule {}", readable(name)),
        Some(Selector::Session(one)) => {
            format!("client {} on server {}", one.client_id, readable(&one.server_id))
        }
        Some(Selector::Account(name)) => format!("account {}", readable(name)),
        Some(Selector::Provider(issuer)) => format!("provider {}", readable(issuer)),
        Some(Selector::SigningKey(one)) => of("signing key", &one.key_id, &one.issuer),
        Some(Selector::Token(one)) => of("token", &one.token_id, &one.issuer),
        Some(Selector::ProviderSession(one)) => of("provider session", &one.session_id, &one.issuer),
        None => "something this natsgate does not know".to_owned(),
    }
}

/// A point in time, to the second.
pub fn time(at: Option<prost_types::Timestamp>) -> String {
    let at = at.and_then(|at| SystemTime::try_from(at).ok());
    at.map_or_else(
        || "?".to_owned(),
        |at| humantime::format_rfc3339_seconds(at).to_string(),
    )
}

/// How long something took.
fn took(time: Option<prost_types::Duration>) -> String {
    let time = time
        .and_then(|time| Duration::try_from(time).ok())
        .unwrap_or_default();
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What the shims have done, line by line.
pub fn clusters(clusters: &[v1::ClusterResult]) -> Vec<String> {
    if clusters.is_empty() {
        return vec!["  no shim is there: nothing was closed".to_owned()];
    }
    let mut lines = Vec::new();
    for cluster in clusters {
        let (name, closed) = (readable(&cluster.cluster), count(cluster.closed, "session"));
        let state = if cluster.complete {
            "complete"
        } else {
            "NOT COMPLETE"
        };
        lines.push(format!("  cluster {name}: {closed} closed, {state}"));
        if cluster.shims.is_empty() {
            lines.push("    NO SHIM IS THERE to close the sessions that are known".to_owned());
        }
        lines.extend(cluster.shims.iter().map(shim));
    }
    lines
}

fn shim(shim: &v1::ShimResult) -> String {
    let name = readable(&shim.shim);
    if !shim.answered {
        return format!("    shim {name}: DID NOT ANSWER");
    }
    let mut line = format!("    shim {name}: {} closed in {}", shim.closed, took(shim.took));
    for (sessions, what) in [
        (shim.gone, "gone by themselves or closed by another shim"),
        (shim.spared, "that lose nothing left alone"),
        (shim.pending, "STILL TO BE CLOSED"),
    ] {
        if sessions > 0 {
            line.push_str(&format!(", {sessions} {what}"));
        }
    }
    if !shim.unreachable_servers.is_empty() {
        let servers: Vec<String> = shim
            .unreachable_servers
            .iter()
            .map(|server| readable(server))
            .collect();
        line.push_str(&format!(", SERVERS OUT OF REACH: {}", servers.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_loudly() {
        let answered = v1::ShimResult {
            shim: "one".into(),
            answered: true,
            closed: 2,
            spared: 1,
            pending: 1,
            took: Some(prost_types::Duration {
                seconds: 0,
                nanos: 12_340_000,
            }),
            unreachable_servers: vec!["NA\u{7}".into()],
            ..Default::default()
        };
        let silent = v1::ShimResult {
            shim: "other".into(),
            ..Default::default()
        };
        let told = clusters(&[v1::ClusterResult {
            cluster: "eu-1".into(),
            closed: 2,
            complete: false,
            shims: vec![answered, silent],
        }]);
        assert_eq!(
            told,
            [
                "  cluster eu-1: 2 sessions closed, NOT COMPLETE",
                "    shim one: 2 closed in 12.3 ms, 1 that lose nothing left alone, 1 STILL TO BE CLOSED, SERVERS OUT OF REACH: \
                 NA\\u{7}",
                "    shim other: DID NOT ANSWER",
            ]
        );
        assert_eq!(clusters(&[]).len(), 1, "nobody there is said too");
        let deserted = clusters(&[v1::ClusterResult {
            cluster: "us-1".into(),
            ..Default::default()
        }]);
        assert!(deserted[0].ends_with("NOT COMPLETE") && deserted[1].contains("NO SHIM IS THERE"));
    }
}
