//! `natsgate revoke --direct`: closes sessions through the system account, with Redis and decision services down.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use natsgate_core::SessionKey;
use natsgate_shim::direct::{Closing, Concerned, Seen, Survey, close, survey};
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
        let found = survey(&system, &config.accounts, &concerned)
            .await
            .map_err(|cause| anyhow::anyhow!("{cause}"))
            .context("asking the nats-servers which sessions there are")?;
        if arguments.direct.dry_run {
            return dry_run(&found, arguments.how.json);
        }
        let evictor = match &config.eviction {
            Some(eviction) => connect_now(eviction, "direct, eviction").await?,
            None => system,
        };
        let begun = Instant::now();
        let Survey { concerned, .. } = &found;
        let closing = close(&Evictor::new(evictor), concerned.clone()).await;
        let took = begun.elapsed();
        if arguments.how.json {
            say(in_json(&found, Some(&closing)))?;
        } else {
            tell(&found)?;
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
        }
        note(NO_BAN);
        Ok(code(&found, &closing))
    })
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

fn code(found: &Survey, closing: &Closing) -> ExitCode {
    if found.unanswered.is_empty() && closing.open.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_INCOMPLETE)
    }
}

fn dry_run(found: &Survey, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        say(in_json(found, None))?;
    } else {
        for session in &found.concerned {
            say(line(session))?;
        }
        tell(found)?;
        say("nothing was closed: --dry-run")?;
    }
    Ok(code(found, &Closing::default()))
}

fn tell(found: &Survey) -> anyhow::Result<()> {
    say(format!(
        "{} answered (are these all there are?), with {} that natsgate let in; {} concerned",
        words::count(found.servers as u64, "server"),
        words::count(found.sessions as u64, "session"),
        found.concerned.len()
    ))?;
    for server in &found.unanswered {
        let (id, cause) = (words::readable(&server.server_id), &server.cause);
        say(format!("SERVER {id} DID NOT LIST ITS CONNECTIONS: {cause}"))?;
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

fn in_json(found: &Survey, closing: Option<&Closing>) -> Value {
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
        "servers": found.servers,
        "sessions": found.sessions,
        "concerned": found.concerned.iter().map(session).collect::<Vec<_>>(),
        "unanswered": unanswered.collect::<Vec<_>>(),
        "closing": closing,
    })
}
