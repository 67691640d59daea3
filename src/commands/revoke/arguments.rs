//! What `natsgate revoke` is told.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use natsgate_core::{Clock, SystemClock};
use natsgate_proto::v1;
use natsgate_proto::v1::selector::Selector;
use rand::Rng;

use crate::client::Api;
use crate::config::Problem;

/// How long the shims are waited for.
const WAIT: Duration = Duration::from_secs(5);

/// What to revoke, and how.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub how: How,
    #[command(flatten)]
    pub direct: Direct,
    #[command(flatten)]
    pub api: Api,
}

/// What to revoke.
#[derive(Subcommand)]
pub enum What {
    /// One principal, in everything
    Principal(Principal),
    /// One principal's memberships in one resource
    Membership {
        #[command(flatten)]
        principal: Principal,
        /// The kind of resource
        #[arg(long)]
        kind: String,
        /// The resource's id
        #[arg(long)]
        id: String,
    },
    /// Everybody's memberships in a resource
    Resource {
        /// The kind of resource
        #[arg(long)]
        kind: String,
        /// The resource's id
        #[arg(long)]
        id: String,
    },
    /// A role in every resource of a kind
    Role {
        /// The kind of resource
        #[arg(long)]
        kind: String,
        /// The role
        #[arg(long)]
        role: String,
    },
    /// What a policy rule gives
    Rule {
        /// The rule's name
        name: String,
    },
    /// One session: it is closed, and may come back with what it should then have
    Session {
        /// The nats-server's id (N…)
        #[arg(long)]
        server: String,
        /// The client's id on that server
        #[arg(long)]
        client: u64,
    },
    /// Every session of a NATS account
    Account {
        /// The account, by the name policies have for it
        name: String,
    },
    /// Everything that a provider vouches for
    Provider {
        /// Its issuer
        issuer: String,
    },
    /// Everything that one of a provider's keys signed
    SigningKey {
        /// The provider's issuer
        #[arg(long)]
        issuer: String,
        /// The key's `kid`
        #[arg(long)]
        key_id: String,
    },
    /// One token
    Token {
        /// The provider's issuer
        #[arg(long)]
        issuer: String,
        /// The token's `jti`
        #[arg(long)]
        token_id: String,
    },
    /// One session at a provider
    ProviderSession {
        /// The provider's issuer
        #[arg(long)]
        issuer: String,
        /// The session's `sid`
        #[arg(long)]
        session_id: String,
    },
    /// With --direct: every session that natsgate let in
    Everyone,
    /// Lift a ban before its time
    Lift {
        /// The ban: the entry that imposed it
        #[arg(value_name = "BAN")]
        entry: String,
    },
    /// List bans
    Bans {
        /// Also those that were lifted or have ended, as long as they are remembered
        #[arg(long)]
        all: bool,
    },
    /// Print what is revoked or changed, as it happens
    Watch {
        /// Begin after this revision instead of now
        #[arg(long, value_name = "REVISION")]
        after: Option<String>,
    },
}

/// A principal.
#[derive(Args)]
pub struct Principal {
    /// The issuer that vouches for them
    #[arg(long)]
    pub issuer: String,
    /// The issuer's name for them
    #[arg(long)]
    pub subject: String,
}

/// How to revoke.
#[derive(Args)]
pub struct How {
    /// Why, for the log and the audit
    #[arg(long, global = true)]
    reason: Option<String>,
    /// Close their sessions over this time (30s) instead of at once, so that not all clients come back at once
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, global = true)]
    pub spread: Option<Duration>,
    /// How long to wait until the shims have closed what it concerns [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, global = true)]
    wait: Option<Duration>,
    /// Do not wait
    #[arg(long, conflicts_with = "wait", global = true)]
    no_wait: bool,
    /// Also refuse, from now on, whoever comes with a token issued until now
    #[arg(long, value_enum, value_name = "WHOM", global = true)]
    ban: Option<Ban>,
    /// Also refuse everybody whom it concerns until then: 2026-12-01T00:00:00Z, or a time from now on, 2h
    #[arg(long, value_name = "WHEN", value_parser = until, conflicts_with = "ban", global = true)]
    ban_until: Option<Until>,
    /// Makes it happen once however often it is asked for; random if not given, and printed
    #[arg(long, value_name = "KEY", global = true)]
    idempotency_key: Option<String>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// Whom a ban refuses.
#[derive(Clone, Copy, ValueEnum)]
enum Ban {
    /// Whoever comes with a token issued until now
    Tokens,
}

/// Until when a ban is.
#[derive(Clone, Copy)]
enum Until {
    At(SystemTime),
    In(Duration),
}

/// Without the API.
#[derive(Args)]
#[command(next_help_heading = "Without the API")]
pub struct Direct {
    /// Close sessions of a principal, session, account or everyone through the nats-servers' system account alone. Nothing else
    /// has to work; nothing is written, so clients come back at once
    #[arg(long, global = true)]
    pub direct: bool,
    /// With --direct: only tell which sessions would be closed
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// With --direct: the configuration file, of which `shim.system`, `shim.eviction` and `shim.accounts` are read
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "natsgate.yaml",
        env = "NATSGATE_CONFIG",
        global = true
    )]
    pub config: PathBuf,
}

impl What {
    /// Whom or what it concerns; `None` for what is not for the API, or no revocation.
    pub fn selector(&self) -> Option<v1::Selector> {
        let selector = match self {
            Self::Principal(principal) => Selector::Principal(principal.proto()),
            Self::Membership { principal, kind, id } => Selector::Membership(v1::MembershipSelector {
                principal: Some(principal.proto()),
                kind: kind.clone(),
                id: id.clone(),
            }),
            Self::Resource { kind, id } => Selector::Resource(v1::ResourceSelector {
                kind: kind.clone(),
                id: id.clone(),
            }),
            Self::Role { kind, role } => Selector::Role(v1::RoleSelector {
                kind: kind.clone(),
                role: role.clone(),
            }),
            Self::Rule { name } => Selector::Rule(name.clone()),
            Self::Session { server, client } => Selector::Session(v1::SessionSelector {
                server_id: server.clone(),
                client_id: *client,
            }),
            Self::Account { name } => Selector::Account(name.clone()),
            Self::Provider { issuer } => Selector::Provider(issuer.clone()),
            Self::SigningKey { issuer, key_id } => Selector::SigningKey(v1::SigningKeySelector {
                issuer: issuer.clone(),
                key_id: key_id.clone(),
            }),
            Self::Token { issuer, token_id } => Selector::Token(v1::TokenSelector {
                issuer: issuer.clone(),
                token_id: token_id.clone(),
            }),
            Self::ProviderSession { issuer, session_id } => {
                Selector::ProviderSession(v1::ProviderSessionSelector {
                    issuer: issuer.clone(),
                    session_id: session_id.clone(),
                })
            }
            Self::Everyone | Self::Lift { .. } | Self::Bans { .. } | Self::Watch { .. } => return None,
        };
        Some(v1::Selector {
            selector: Some(selector),
        })
    }
}

impl Principal {
    fn proto(&self) -> v1::Principal {
        v1::Principal {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
        }
    }
}

impl How {
    /// Why.
    pub fn reason(&self) -> String {
        self.reason.clone().unwrap_or_default()
    }

    /// How long to wait for the shims; `None` for not at all.
    pub fn wait(&self) -> Option<Duration> {
        let wait = self.wait.unwrap_or(WAIT);
        (!self.no_wait && !wait.is_zero()).then_some(wait)
    }

    /// The given idempotency key, or one that nobody else has.
    pub fn key(&self) -> String {
        self.idempotency_key.clone().unwrap_or_else(|| {
            data_encoding::BASE32_NOPAD
                .encode(&rand::rng().random::<[u8; 15]>())
                .to_lowercase()
        })
    }

    /// The ban asked for.
    ///
    /// # Errors
    /// A [`Problem`] for a time that is none.
    pub fn ban(&self) -> Result<Option<v1::BanRequest>, Problem> {
        let scope = match (self.ban, self.ban_until) {
            (Some(Ban::Tokens), _) => v1::ban_request::Scope::TokensIssuedUntilNow(true),
            (None, Some(until)) => {
                let at = match until {
                    Until::At(at) => Some(at),
                    Until::In(time) => SystemClock.now().checked_add(time),
                };
                let at = at.ok_or_else(|| Problem::new("--ban-until", "lies beyond all time"))?;
                let mut at = prost_types::Timestamp::from(at);
                // To the second, so that it can be repeated as it is printed.
                at.nanos = 0;
                v1::ban_request::Scope::EveryoneUntil(at)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(v1::BanRequest { scope: Some(scope) }))
    }

    /// Refuses whatever was given and is neither `--json` nor `allowed`: it would be ignored.
    ///
    /// # Errors
    /// A [`Problem`] that names it.
    pub fn refuse(&self, what: &str, allowed: &[&str]) -> Result<(), Problem> {
        let given = [
            ("--reason", self.reason.is_some()),
            ("--spread", self.spread.is_some()),
            ("--wait", self.wait.is_some()),
            ("--no-wait", self.no_wait),
            ("--ban", self.ban.is_some()),
            ("--ban-until", self.ban_until.is_some()),
            ("--idempotency-key", self.idempotency_key.is_some()),
        ];
        let unused = given
            .into_iter()
            .find(|(name, given)| *given && !allowed.contains(name));
        match unused {
            Some((name, _)) => Err(Problem::new(
                name,
                format!("does not go with {what}; leave it out"),
            )),
            None => Ok(()),
        }
    }
}

impl Direct {
    /// Refuses what only goes with `--direct`.
    ///
    /// # Errors
    /// A [`Problem`] that names it.
    pub fn refuse(&self) -> Result<(), Problem> {
        match self.dry_run {
            true => Err(Problem::new("--dry-run", "goes with --direct; leave it out")),
            false => Ok(()),
        }
    }
}

fn until(text: &str) -> Result<Until, String> {
    if let Ok(at) = humantime::parse_rfc3339(text) {
        return Ok(Until::At(at));
    }
    humantime::parse_duration(text)
        .map(Until::In)
        .map_err(|_| "write 2026-12-01T00:00:00Z, or a time from now on, such as 2h".to_owned())
}
