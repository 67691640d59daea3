//! The configured callers: how each proves who it is, what it may call, and what it may speak for.

use std::collections::BTreeSet;

use natsgate_core::{Names, Reach};
use schemars::JsonSchema;
use serde::Deserialize;

use super::scope::Scope;

/// The name of a part of this process.
pub(super) const LOCAL: &str = "local";
/// The name of whoever calls where no callers are configured.
pub(super) const ANYONE: &str = "anyone";

/// What stands for everything in a list of what a caller may speak for.
const EVERYTHING: &str = "*";

/// A caller of the gRPC API: a shim, a backend, a tool of the operators'.
///
/// It proves who it is by `certificate` or by `token`; with both configured, either does. A call that carries both a
/// certificate and a token must carry known ones, and the token's caller is the one who calls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerSettings {
    /// Its name, in the log, the audit, and beside everything it writes: letters, digits, `-`, `_` and `.`, 64 at most.
    pub name: String,
    /// The name in its client certificate, which must be one of an authority in `decision.tls.client_ca_file`.
    #[serde(default)]
    pub certificate: Option<CertificateBinding>,
    /// Whose access token it calls with.
    #[serde(default)]
    pub token: Option<TokenBinding>,
    /// What it may call. With a token, only what the token's `scope` (or `scp`) names too.
    pub scopes: Vec<Scope>,
    /// The issuers whose people's memberships it may read and write, whom it may revoke, and whose sessions it may see. None if
    /// left out; `"*"` for all. What reaches everybody (a resource, a role, a policy's rule, a session, a NATS account) may be
    /// revoked with `"*"` only.
    #[serde(default)]
    pub issuers: Vec<String>,
    /// The kinds of resources whose memberships it may read, write and revoke. None if left out; `"*"` for all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// How the ids of resources begin whose memberships it may read, write and revoke. None if left out; `"*"` for all. No
    /// pattern: `eu-` stands for every id that begins so.
    #[serde(default)]
    pub id_prefixes: Vec<String>,
    /// The roles in which it may read and write memberships, and that it may revoke. None if left out; `"*"` for all.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The NATS accounts, by the names that are configured for them, that it may see and change. None if left out; `"*"` for all.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// The clusters whose system connection it may lend the account writer. None if left out; `"*"` for all.
    #[serde(default)]
    pub clusters: Vec<String>,
}

/// A name in a client certificate. Exactly one of the three is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateBinding {
    /// A URI among its subject alternative names, such as a SPIFFE id: `spiffe://example.com/backend`.
    #[serde(default)]
    pub san_uri: Option<String>,
    /// A DNS name among its subject alternative names.
    #[serde(default)]
    pub san_dns: Option<String>,
    /// The common name of its subject. For certificates without alternative names.
    #[serde(default)]
    pub common_name: Option<String>,
}

/// Whose access token. What is given must all be right, and at least one of `subject` and `client_id` is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBinding {
    /// The token's subject (`sub`).
    #[serde(default)]
    pub subject: Option<String>,
    /// The client it was issued to (`client_id`; `azp` where there is none).
    #[serde(default)]
    pub client_id: Option<String>,
    /// The provider that vouches for it. Needed where the API accepts tokens of more than one.
    #[serde(default)]
    pub provider: Option<String>,
}

/// A caller cannot be configured so. Names the key; the text says what is wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct CallerSettingsError {
    /// The setting: `callers[2].token`.
    pub key: String,
    /// What is wrong with it, and the mend.
    pub problem: String,
}

/// A configured caller, fit for use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) certificate: Option<CertificateName>,
    pub(super) token: Option<TokenBinding>,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) reach: Reach,
    pub(super) accounts: Names,
    pub(super) clusters: Names,
}

/// The one name a certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CertificateName {
    Uri(String),
    /// In lower case.
    Dns(String),
    Common(String),
}

/// Makes the callers of `settings` ready. `providers` are the names of those whose tokens the API accepts.
pub(super) fn known(
    settings: &[CallerSettings],
    providers: &[String],
) -> Result<Vec<Known>, CallerSettingsError> {
    let mut callers: Vec<Known> = Vec::with_capacity(settings.len());
    for (index, one) in settings.iter().enumerate() {
        let at = format!("callers[{index}]");
        let caller = ready(&at, one, providers)?;
        for other in &callers {
            let same = |key: &str, what: &str| {
                wrong(
                    &format!("{at}{key}"),
                    format!(
                        "the same {what} as that of caller `{}`: each must be told from all others",
                        other.name
                    ),
                )
            };
            if other.name == caller.name {
                return Err(same(".name", "name"));
            }
            if caller.certificate.is_some() && other.certificate == caller.certificate {
                return Err(same(".certificate", "certificate"));
            }
            if caller.token.is_some() && other.token == caller.token {
                return Err(same(".token", "token"));
            }
        }
        callers.push(caller);
    }
    Ok(callers)
}

fn wrong(key: &str, problem: impl Into<String>) -> CallerSettingsError {
    CallerSettingsError {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

fn ready(at: &str, one: &CallerSettings, providers: &[String]) -> Result<Known, CallerSettingsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if one.name.is_empty() || one.name.len() > 64 || !one.name.bytes().all(plain) {
        return Err(wrong(
            &format!("{at}.name"),
            "must be letters, digits, `-`, `_` and `.`, 64 at most",
        ));
    }
    if [LOCAL, ANYONE].contains(&one.name.as_str()) {
        return Err(wrong(
            &format!("{at}.name"),
            "has a meaning of its own: choose another",
        ));
    }
    if one.certificate.is_none() && one.token.is_none() {
        return Err(wrong(
            at,
            "must have `certificate` or `token`: without, nobody could prove to be this caller",
        ));
    }
    if one.scopes.is_empty() {
        return Err(wrong(
            &format!("{at}.scopes"),
            "must name at least one: without, the caller may do nothing",
        ));
    }
    let certificate = one.certificate.as_ref();
    let certificate = certificate.map(|binding| certificate_name(&format!("{at}.certificate"), binding));
    if let Some(token) = &one.token {
        check_token(&format!("{at}.token"), token, providers)?;
    }
    let scopes: BTreeSet<Scope> = one.scopes.iter().copied().collect();
    let reach = Reach {
        issuers: names(&format!("{at}.issuers"), &one.issuers)?,
        kinds: names(&format!("{at}.kinds"), &one.kinds)?,
        id_prefixes: names(&format!("{at}.id_prefixes"), &one.id_prefixes)?,
        roles: names(&format!("{at}.roles"), &one.roles)?,
    };
    let about_memberships = [Scope::MembershipsRead, Scope::MembershipsWrite];
    if about_memberships.iter().any(|scope| scopes.contains(scope)) {
        for (key, names) in [
            ("issuers", &reach.issuers),
            ("kinds", &reach.kinds),
            ("id_prefixes", &reach.id_prefixes),
            ("roles", &reach.roles),
        ] {
            if *names == Names::none() {
                return Err(wrong(
                    &format!("{at}.{key}"),
                    "must name what the caller may speak for, since it has a scope for memberships; \"*\" for all",
                ));
            }
        }
    }
    let about_sessions = [Scope::Revoke, Scope::SessionsRead];
    if about_sessions.iter().any(|scope| scopes.contains(scope)) && reach.issuers == Names::none() {
        return Err(wrong(
            &format!("{at}.issuers"),
            "must name whose people the caller may revoke and see the sessions of, since it has a scope for that; \"*\" for all",
        ));
    }
    let accounts = names(&format!("{at}.accounts"), &one.accounts)?;
    let about_accounts = [Scope::AccountsRead, Scope::AccountsWrite];
    if about_accounts.iter().any(|scope| scopes.contains(scope)) && accounts == Names::none() {
        return Err(wrong(
            &format!("{at}.accounts"),
            "must name the accounts the caller may see and change, since it has a scope for that; \"*\" for all",
        ));
    }
    let clusters = names(&format!("{at}.clusters"), &one.clusters)?;
    if scopes.contains(&Scope::AccountsLink) && clusters == Names::none() {
        return Err(wrong(
            &format!("{at}.clusters"),
            "must name the clusters whose system connection the caller may lend, since it has the scope for that; \"*\" for all",
        ));
    }
    Ok(Known {
        name: one.name.clone(),
        certificate: certificate.transpose()?,
        token: one.token.clone(),
        scopes,
        reach,
        accounts,
        clusters,
    })
}

fn certificate_name(at: &str, binding: &CertificateBinding) -> Result<CertificateName, CallerSettingsError> {
    let CertificateBinding {
        san_uri,
        san_dns,
        common_name,
    } = binding;
    let name = match (san_uri, san_dns, common_name) {
        (Some(uri), None, None) => CertificateName::Uri(uri.clone()),
        (None, Some(dns), None) => CertificateName::Dns(dns.to_ascii_lowercase()),
        (None, None, Some(name)) => CertificateName::Common(name.clone()),
        _ => {
            return Err(wrong(
                at,
                "must have exactly one of `san_uri`, `san_dns` and `common_name`",
            ));
        }
    };
    let (CertificateName::Uri(text) | CertificateName::Dns(text) | CertificateName::Common(text)) = &name;
    if text.trim().is_empty() || text.contains(EVERYTHING) {
        return Err(wrong(at, "must be one name, not a pattern"));
    }
    Ok(name)
}

fn check_token(at: &str, token: &TokenBinding, providers: &[String]) -> Result<(), CallerSettingsError> {
    let TokenBinding {
        subject,
        client_id,
        provider,
    } = token;
    if subject.is_none() && client_id.is_none() {
        return Err(wrong(at, "must have `subject` or `client_id`, or both"));
    }
    if [subject, client_id]
        .into_iter()
        .flatten()
        .any(|text| text.trim().is_empty())
    {
        return Err(wrong(at, "`subject` and `client_id` must not be empty"));
    }
    match (provider, providers) {
        (_, []) => Err(wrong(
            at,
            "no provider is configured whose tokens the API accepts: configure one, or use `certificate`",
        )),
        (None, [_]) => Ok(()),
        (None, _) => Err(wrong(
            at,
            "must have `provider`, since the API accepts tokens of more than one: they may name different people alike",
        )),
        (Some(name), known) if known.contains(name) => Ok(()),
        (Some(_), known) => Err(wrong(
            &format!("{at}.provider"),
            format!("must be one of {}", known.join(", ")),
        )),
    }
}

fn names(at: &str, list: &[String]) -> Result<Names, CallerSettingsError> {
    if list == [EVERYTHING] {
        return Ok(Names::All);
    }
    for name in list {
        if name.is_empty() {
            return Err(wrong(at, "must have no empty entry; \"*\" stands for all"));
        }
        if name == EVERYTHING {
            return Err(wrong(at, "has \"*\" beside others: it stands for all, alone"));
        }
        if name.ends_with(EVERYTHING) {
            return Err(wrong(
                at,
                "has an entry that ends with `*`: these are no patterns (ids are matched by how they begin)",
            ));
        }
    }
    Ok(Names::Only(list.iter().cloned().collect()))
}

#[cfg(test)]
mod tests;
