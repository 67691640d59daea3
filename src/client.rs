//! A client of the gRPC API, for the commands that use it: where it is, as whom, and what a failure means to a person.

pub mod json;
pub mod words;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::config::nats::content;
use crate::config::{Problem, load, shim, tls};
use crate::lifecycle;

/// The variable that holds the access token.
const TOKEN: &str = "NATSGATE_TOKEN";

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How long a call may take, beyond what it is asked to wait for.
const CALL_TIME: Duration = Duration::from_secs(10);

/// How often a call is made whose outcome is not known.
const ATTEMPTS: usize = 5;

/// Pause before the second attempt; doubled for every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How to reach the API. The access token is in a file or in the environment's `NATSGATE_TOKEN`: a command line is for
/// everybody on the machine to read.
#[derive(Args)]
#[command(
    next_help_heading = "The API (its access token: --token-file, or NATSGATE_TOKEN in the environment)"
)]
pub struct Api {
    /// Where it is
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:7222",
        env = "NATSGATE_ENDPOINT",
        global = true
    )]
    endpoint: String,
    /// A file that holds the access token
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The authority of the API's certificate, a PEM file; otherwise the system's are trusted
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// The caller's own certificate, a PEM file; --key goes with it
    #[arg(long, value_name = "FILE", global = true)]
    cert: Option<PathBuf>,
    /// The key of the caller's own certificate, a PEM file
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
    /// The name in the API's certificate, if it is not the URL's host
    #[arg(long, value_name = "NAME", global = true)]
    server_name: Option<String>,
}

/// A connection to the API, made when it is first used.
pub struct Client {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

impl Api {
    /// A client.
    ///
    /// # Errors
    /// A [`Problem`] with what was given.
    pub fn client(&self) -> Result<Client, Problem> {
        let problem = |error: tonic::transport::Error| Problem::new("--endpoint", chain(&error));
        let mut endpoint = Endpoint::from_shared(self.endpoint.clone())
            .map_err(problem)?
            .connect_timeout(CONNECT_TIME)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        if shim::is_tls("--endpoint", &self.endpoint)? {
            endpoint = endpoint.tls_config(self.tls()?).map_err(problem)?;
        } else if let Some(unused) = self.tls_argument() {
            return Err(Problem::new(
                unused,
                "is for an https:// endpoint; this one is http",
            ));
        }
        Ok(Client {
            channel: endpoint.connect_lazy(),
            token: self.token()?,
        })
    }

    fn tls(&self) -> Result<ClientTlsConfig, Problem> {
        let mut config = match &self.ca {
            Some(path) => {
                let authorities = tls::authorities("--ca", path)?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some(name) = &self.server_name {
            config = config.domain_name(name.clone());
        }
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = tls::identity(("--cert", cert), ("--key", key))?;
                Ok(config.identity(Identity::from_pem(cert, key)))
            }
            (None, None) => Ok(config),
            (Some(_), None) => Err(Problem::new("--cert", "goes with --key; give both or neither")),
            (None, Some(_)) => Err(Problem::new("--key", "goes with --cert; give both or neither")),
        }
    }

    fn tls_argument(&self) -> Option<&'static str> {
        let given = [
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
            ("--key", self.key.is_some()),
            ("--server-name", self.server_name.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn token(&self) -> Result<Option<MetadataValue<Ascii>>, Problem> {
        let (key, token) = match &self.token_file {
            Some(path) => ("--token-file", SecretString::from(content("--token-file", path)?)),
            None => match load::look_up(&lifecycle::variables()?, TOKEN) {
                Some(token) => (TOKEN, SecretString::from(token)),
                None => return Ok(None),
            },
        };
        let bearer = SecretString::from(format!("Bearer {}", token.expose_secret().trim()));
        let mut value: MetadataValue<Ascii> = bearer
            .expose_secret()
            .parse()
            .map_err(|_| Problem::new(key, "holds no access token: it has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Client {
    /// The channel, for a service's generated client.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A call with `message`, which is given up some time after `wait`.
    pub fn call<T>(&self, message: T, wait: Duration) -> Request<T> {
        let mut request = self.stream(message);
        request.set_timeout(CALL_TIME.saturating_add(wait));
        request
    }

    /// A call with `message` that may last.
    pub fn stream<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

/// Makes a call that may be repeated, a few times if it does not come through.
///
/// # Errors
/// What the last attempt brought.
pub async fn repeated<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let mut pause = FIRST_PAUSE;
    let mut attempts = ATTEMPTS;
    loop {
        attempts = attempts.saturating_sub(1);
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if attempts > 0 && is_passing(&status) => {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
            Err(status) => return Err(status),
        }
    }
}

/// Whether the same call may come through a moment later: nobody was there, or nobody had the time. A connection that broke
/// shows as several codes, always with what broke it.
pub fn is_passing(status: &Status) -> bool {
    let broke = status.source().is_some() && status.code() != Code::Cancelled;
    broke || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// Whether it is not known what became of a call.
fn is_in_doubt(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::ResourceExhausted
    )
}

/// A call that failed, for a person to read.
#[derive(Debug)]
pub struct Failed {
    /// What was being done.
    doing: &'static str,
    /// The idempotency key it can be repeated with.
    key: Option<String>,
    status: Box<Status>,
}

impl Failed {
    /// `doing` failed with `status`.
    pub fn new(doing: &'static str, status: Status) -> Self {
        Self {
            doing,
            key: None,
            status: Box::new(status),
        }
    }

    /// The same for a call that can be repeated with `key`.
    #[must_use]
    pub fn repeatable(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }
}

impl Error for Failed {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &*self.status;
        let details = status.get_error_details();
        write!(f, "{}: ", self.doing)?;
        match details.error_info() {
            Some(info) => write!(f, "{}: ", words::readable(&info.reason))?,
            None => write!(f, "{:?}: ", status.code())?,
        }
        let said = caused(status.message().to_owned(), status.source());
        f.write_str(&words::readable(&said))?;
        for violation in details.bad_request().iter().flat_map(|one| &one.field_violations) {
            write!(
                f,
                "\n  {}: {}",
                words::readable(&violation.field),
                words::readable(&violation.description)
            )?;
        }
        if let Some(mend) = mend(status) {
            write!(f, "\n{mend}")?;
        }
        if let Some(key) = self.key.as_ref().filter(|_| is_in_doubt(status)) {
            write!(
                f,
                "\nwhether it was done is not known: call again as before, with --idempotency-key {key}"
            )?;
        }
        Ok(())
    }
}

/// What can be done about `status`, where the API does not say it itself.
fn mend(status: &Status) -> Option<&'static str> {
    match status.code() {
        Code::Unauthenticated => Some(
            "the caller shows who it is by an access token (--token-file, or NATSGATE_TOKEN in the environment) or a \
             certificate (--cert, --key)",
        ),
        Code::Unimplemented => Some("the natsgate at this endpoint does not serve that: --endpoint"),
        _ if status.source().is_some() => Some(
            "is natsgate's gRPC API there? See --endpoint, and --ca for its certificate. Without it: natsgate revoke --direct",
        ),
        _ => None,
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    caused(error.to_string(), error.source())
}

/// `text` and what caused it, in one line that says nothing twice.
fn caused(mut text: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    while let Some(error) = cause {
        let more = error.to_string();
        if more != "transport error" && !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn a_refusal_says_its_reason_and_every_field() {
        let mut details = ErrorDetails::new();
        details.set_error_info("OUT_OF_REACH", "natsgate", std::collections::HashMap::new());
        details.add_bad_request_violation("selector.principal.issuer", "not one of the caller's");
        let status = Status::with_error_details(Code::PermissionDenied, "not yours\u{1b}[2J", details);
        let said = Failed::new("revoking", status).repeatable("k1").to_string();
        assert_eq!(
            said,
            "revoking: OUT_OF_REACH: not yours\\u{1b}[2J\n  selector.principal.issuer: not one of the caller's"
        );
    }

    #[test]
    fn what_is_in_doubt_tells_how_to_ask_again() {
        for (code, in_doubt) in [
            (Code::Unavailable, true),
            (Code::DeadlineExceeded, true),
            (Code::Internal, true),
            (Code::PermissionDenied, false),
            (Code::InvalidArgument, false),
        ] {
            let failed = Failed::new("revoking", Status::new(code, "x")).repeatable("k1");
            assert_eq!(
                failed.to_string().contains("--idempotency-key k1"),
                in_doubt,
                "{code:?}"
            );
        }
    }
}
