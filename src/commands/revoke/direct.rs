//! `natsgate revoke --direct`: closes sessions through the system account, with Redis and decision services down.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use natsgate_core::SessionKey;
use natsgate_shim::direct::{Closing, Concerned, Heartbeats, Seen, Survey, close, survey};
use natsgate_shim::evict::Evictor;
use natsgate_shim::nats::connect_now;
use serde_json::{Value, json};

use super::EXIT_INCOMPLETE;
use super::arguments::{Arguments, What};
use crate::client::words;
use crate::commands::{note, say};
use crate::config::{self, Problem};
use crate::lifecycle;

/// What has to be known by whoever closes sessions by hand.
const NO_BAN: &str = "\
NOTHING WAS WRITTEN, AND NOBODY IS BANNED: clients come back at once, and get whatever natsgate, where it runs, still lets them
have. To keep them out, change the truth first (the provider's account, the membership), and revoke over the API with --ban as
soon as it is there.";

/// Runs.
///
/// # Errors
/// Arguments that do not go with `--direct`, a configuration that does not say how to reach the system account, or no server
/// that answers.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.how.refuse("--direct, which writes nothing", &[])?;
    let concerned = concerned(&arguments.what)?;
    let config = config::direct::load(&arguments.direct.config, &lifecycle::variables()?)?;
    if let Concerned::Account(name) = &concerned
        && !config.names.contains(name)
    {
        let what = format!("is none of shim.accounts: {}", config.names.join(", "));
        return Err(Problem::new("account", what).into());
    }
    lifecycle::block_on(async {
        let system = connect_now(&config.system, "direct").await?;
        let asking = || "asking the nats-servers which sessions there are";
        let heartbeats = Heartbeats::listen(&system)
            .await
            .map_err(anyhow::Error::msg)
            .with_context(asking)?;
        let found = survey(&system, &config.accounts, &concerned)
            .await
            .map_err(anyhow::Error::msg)
            .with_context(asking)?;
        let closing = if arguments.direct.dry_run {
            None
        } else {
            let evictor = match &config.eviction {
                Some(eviction) => connect_now(eviction, "direct, eviction").await?,
                None => system,
            };
            let begun = Instant::now();
            let closing = close(&Evictor::new(evictor), found.concerned.clone()).await;
            Some((closing, begun.elapsed()))
        };
        let in_json = arguments.how.json;
        if !in_json {
            tell(&found, closing.as_ref())?;
        }
        note("waiting for a server to say how many there are, some seconds; nothing more is closed");
        let servers = Servers {
            answered: found.servers,
            there: heartbeats.servers().await,
        };
        if in_json {
            say(as_json(
                &found,
                closing.as_ref().map(|(closing, _took)| closing),
                &servers,
            ))?;
        } else {
            say(&servers)?;
        }
        if closing.is_some() {
            note(NO_BAN);
        }
        let open = closing.is_some_and(|(closing, _took)| !closing.open.is_empty());
        let complete = found.unanswered.is_empty() && servers.are_all() && !open;
        Ok(if complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_INCOMPLETE)
        })
    })
}

/// How many servers there are.
struct Servers {
    /// How many listed their connections.
    answered: usize,
    /// How many there are, as one of them says.
    there: Option<usize>,
}

impl Servers {
    /// Whether none is known to be missing.
    fn are_all(&self) -> bool {
        self.there.is_none_or(|there| there <= self.answered)
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = words::count(self.answered as u64, "server");
        match self.there {
            Some(_) if self.are_all() => write!(f, "that is every server there is: {answered}"),
            Some(there) => write!(
                f,
                "ONLY {} OF {there} SERVERS ANSWERED: the others hang, are cut off, or died some minutes ago at most; sessions \
                 on them are as they were",
                self.answered
            ),
            None => write!(
                f,
                "WHETHER THERE ARE MORE SERVERS THAN {} IS NOT KNOWN",
                self.answered
            ),
        }
    }
}

/// Whose sessions, if a session's name tells.
fn concerned(what: &What) -> anyhow::Result<Concerned> {
    Ok(match what {
        What::Principal(principal) => Concerned::Principal(natsgate_core::Principal::new(
            &principal.issuer,
            &principal.subject,
        )),
        What::Session { server, client } => Concerned::Session(SessionKey {
            server_id: server.clone(),
            client_id: *client,
        }),
        What::Account { name } => Concerned::Account(name.clone()),
        What::Everyone => Concerned::Everyone,
        What::Lift { .. } | What::Bans { .. } | What::Watch { .. } => {
            bail!(Problem::new("--direct", "is for revoking; this needs the API"))
        }
        _ => bail!(Problem::new(
            "--direct",
            "cannot tell whom that concerns: the nats-servers know a session's principal and account, not what it rests on. \
             Close each principal concerned, the account, or everyone"
        )),
    })
}

fn tell(found: &Survey, closing: Option<&(Closing, Duration)>) -> anyhow::Result<()> {
    say(format!(
        "{} answered, with {} that natsgate let in; {} concerned",
        words::count(found.servers as u64, "server"),
        words::count(found.sessions as u64, "session"),
        found.concerned.len()
    ))?;
    for server in &found.unanswered {
        let (id, cause) = (words::readable(&server.server_id), &server.cause);
        say(format!("SERVER {id} DID NOT LIST ITS CONNECTIONS: {cause}"))?;
    }
    let Some((closing, took)) = closing else {
        for session in &found.concerned {
            say(format!("would close: {}", line(session)))?;
        }
        return Ok(());
    };
    let gone = match closing.gone {
        0 => String::new(),
        gone => format!(", {gone} gone by themselves"),
    };
    say(format!(
        "closed {} in {:.1} ms{gone}",
        words::count(closing.closed as u64, "session"),
        took.as_secs_f64() * 1000.0
    ))?;
    for (session, cause) in &closing.open {
        say(format!("MAY STILL BE OPEN: {}: {cause}", line(session)))?;
    }
    Ok(())
}

fn line(session: &Seen) -> String {
    format!(
        "{} on {} ({}), client {}, account {}, from {}",
        words::readable(&session.name.readable),
        words::readable(&session.server_name),
        words::readable(&session.key.server_id),
        session.key.client_id,
        words::readable(&session.account),
        words::readable(&session.client_host)
    )
}

fn as_json(found: &Survey, closing: Option<&Closing>, servers: &Servers) -> Value {
    let session = |session: &Seen| {
        json!({
            "server_id": session.key.server_id,
            "server_name": session.server_name,
            "client_id": session.key.client_id,
            "account": session.account,
            "name": session.name.readable,
            "principal_digest": session.name.principal_digest,
            "client_host": session.client_host,
        })
    };
    let unanswered = found
        .unanswered
        .iter()
        .map(|server| json!({ "server_id": server.server_id, "cause": server.cause }));
    let closing = closing.map(|closing| {
        let open = closing
            .open
            .iter()
            .map(|(one, cause)| json!({ "session": session(one), "cause": cause }));
        json!({ "closed": closing.closed, "gone": closing.gone, "open": open.collect::<Vec<_>>() })
    });
    json!({
        "servers": { "answered": servers.answered, "there": servers.there },
        "sessions": found.sessions,
        "concerned": found.concerned.iter().map(session).collect::<Vec<_>>(),
        "unanswered": unanswered.collect::<Vec<_>>(),
        "closing": closing,
    })
}
