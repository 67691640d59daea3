//! Between the gRPC messages and the vocabulary.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use natsgate_core::{
    CertificateChain, Concern, Connection, Denial, Grant, NotARevision, Principal, Revision, Rights,
    TemplateUse,
};
use natsgate_proto::{rights, v1};

/// The connection an authorization request is about.
///
/// # Errors
/// What is missing, for an `INVALID_ARGUMENT`.
pub fn connection(request: &v1::AuthorizeRequest) -> Result<Connection, &'static str> {
    let server = request.server.as_ref().ok_or("the request has no `server`")?;
    let client = request.client.as_ref().ok_or("the request has no `client`")?;
    if server.id.is_empty() {
        return Err("the request's `server.id` is empty");
    }
    if request.user_nkey.is_empty() {
        return Err("the request's `user_nkey` is empty");
    }
    Ok(Connection {
        cluster: request.cluster.clone(),
        server_id: server.id.clone(),
        server_name: server.name.clone(),
        server_version: server.version.clone(),
        server_tags: server.tags.clone(),
        client_id: client.id,
        client_host: client.host.clone(),
        client_name: client.name.clone(),
        client_kind: client.kind.clone(),
        client_type: client.r#type.clone(),
        mqtt_id: client.mqtt_id.clone(),
        user_nkey: request.user_nkey.clone(),
    })
}

/// The chains of the client's certificate that its server verified; what it did not verify is nobody's word.
pub fn verified_chains(tls: Option<&v1::ClientTls>) -> Vec<CertificateChain> {
    let chains = tls.map(|tls| tls.verified_chains.as_slice()).unwrap_or_default();
    let chains = chains.iter().filter(|chain| !chain.certs.is_empty());
    chains
        .map(|chain| CertificateChain(chain.certs.clone()))
        .collect()
}

/// A revision as it stands in a message; empty for none.
///
/// # Errors
/// [`NotARevision`].
pub fn revision(text: &str) -> Result<Option<Revision>, NotARevision> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some)
}

/// What stands in a message beside the grant itself.
#[derive(Debug, Default)]
pub struct Beside {
    /// What it is valid as of.
    pub as_of: Option<Revision>,
    /// The policy's generation.
    pub generation: Option<u64>,
    /// What it rests on and is about.
    pub concerns: Vec<Concern>,
    /// What is needed to look at the session again, sealed.
    pub basis: Vec<u8>,
}

/// A grant as a message, and what stands beside it.
pub fn grant(grant: Grant, beside: Beside) -> v1::Grant {
    let Beside {
        as_of,
        generation,
        concerns,
        basis,
    } = beside;
    let (permissions, template, account_defaults) = match grant.rights {
        Rights::Own(own) => (Some(rights::write_permissions(own)), None, false),
        Rights::Template(used) => (None, Some(template_use(used)), false),
        Rights::AccountDefaults => (None, None, true),
    };
    v1::Grant {
        account: grant.account,
        principal: Some(principal(grant.principal)),
        permissions,
        template,
        account_defaults,
        limits: Some(rights::write_limits(grant.limits)),
        expires_at: Some(timestamp(grant.expires_at)),
        policy_digest: grant.policy_digest,
        as_of: as_of.map(|revision| revision.to_string()).unwrap_or_default(),
        policy_generation: generation.unwrap_or_default(),
        concerns: concerns
            .iter()
            .map(|concern| concern.as_bytes().to_vec())
            .collect(),
        basis,
    }
}

/// A denial as a message.
pub fn denial(denial: Denial) -> v1::Denial {
    v1::Denial {
        reason: denial.reason.code().to_owned(),
        detail: denial.detail,
    }
}

/// `time` in whole seconds, rounded down, so that nothing outlives what it was derived from.
fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: natsgate_core::clock::unix_seconds(time),
        nanos: 0,
    }
}

/// `time` as exactly as a message can have it; times before the epoch become it.
pub(crate) fn exact(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    prost_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

/// Somebody.
pub(crate) fn principal(principal: Principal) -> v1::Principal {
    v1::Principal {
        issuer: principal.issuer,
        subject: principal.subject,
    }
}

fn template_use(used: TemplateUse) -> v1::TemplateUse {
    let tags = used.tags.into_iter().flat_map(|(name, values)| {
        values.into_iter().map(move |value| v1::TemplateTag {
            name: name.to_string(),
            value,
        })
    });
    v1::TemplateUse {
        name: used.template.to_string(),
        tags: tags.collect(),
    }
}
