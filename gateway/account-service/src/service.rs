//! `AccountService`: the gRPC face of the account writer.
//!
//! `request` reads what is asked for, `message` writes what came of it, `refusals` says what a failure is to a caller.

mod message;
mod refusals;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use natsgate_accounts::Operation;
use natsgate_accounts::writer::{Once, Request as Wanted};
use natsgate_api::fields::Fields;
use natsgate_api::idempotency::{MAX_KEY, body_digest, key_digest};
use natsgate_api::{Admitted, Caller, CallerAuthenticator, Gate, Scope, audit, refusal};
use natsgate_core::{Clock, Deadline};
use natsgate_proto::v1;
use natsgate_proto::v1::account_service_server::{AccountService, AccountServiceServer};
use tokio_util::task::TaskTracker;
use tonic::{Code, Extensions, Request, Response, Status};
use tracing::{info, warn};

use crate::keeper::{Keeper, Outcome};

/// The largest request: a thousand templates, with what one account may hold.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The longest reason, in bytes.
const MAX_REASON: usize = 1024;

/// What bounds one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountsLimits {
    /// Calls at once; one more is answered `RESOURCE_EXHAUSTED`.
    pub max_in_flight: usize,
    /// The longest a call may take, whatever the caller allows: pushing, reading back, closing sessions.
    pub max_call_time: Duration,
}

impl Default for AccountsLimits {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_call_time: Duration::from_secs(60),
        }
    }
}

/// What the service works with.
pub struct AccountsParts {
    /// The accounts that are written here.
    pub keepers: Vec<Arc<Keeper>>,
    /// Knows who calls.
    pub callers: Arc<CallerAuthenticator>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: AccountsLimits,
}

/// The service.
#[derive(Clone)]
pub struct Accounts {
    keepers: Arc<BTreeMap<String, Arc<Keeper>>>,
    callers: Arc<CallerAuthenticator>,
    clock: Arc<dyn Clock>,
    longest: Duration,
    gate: Gate,
    /// What is under way. It goes on though its caller does not wait for it.
    tasks: TaskTracker,
}

/// A change that is asked for.
struct Asked {
    method: &'static str,
    account: String,
    key: String,
    reason: String,
    /// A digest of the request, its idempotency key left out.
    body: [u8; 32],
    operations: Vec<Operation>,
    may_reconnect: bool,
}

impl Accounts {
    /// The service over `parts`.
    pub fn new(parts: AccountsParts) -> Self {
        let AccountsParts {
            keepers,
            callers,
            clock,
            limits,
        } = parts;
        let named = keepers
            .into_iter()
            .map(|keeper| (keeper.name().to_owned(), keeper));
        Self {
            keepers: Arc::new(named.collect()),
            gate: Gate::new(
                Arc::clone(&callers),
                "accounts",
                limits.max_in_flight,
                limits.max_call_time,
            ),
            callers,
            clock,
            longest: limits.max_call_time,
            tasks: TaskTracker::new(),
        }
    }

    /// To be served.
    pub fn server(&self) -> AccountServiceServer<Self> {
        AccountServiceServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// The accounts.
    pub fn keepers(&self) -> Vec<Arc<Keeper>> {
        self.keepers.values().cloned().collect()
    }

    /// Waits until nothing is under way any more. No call is to come after this.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The account `name`, if `caller` may see and change it.
    fn keeper(&self, caller: &Caller, extensions: &Extensions, name: &str) -> Result<Arc<Keeper>, Status> {
        if !caller.may_account(name) {
            let why = format!(
                "caller `{}` may neither see nor change the account {}: it must be in `accounts` of its entry of `callers`",
                caller.name(),
                audit::short(name).escape_debug()
            );
            self.callers.note_denied(extensions, caller, &why);
            return Err(refusal::refusal(Code::PermissionDenied, "OUT_OF_REACH", why));
        }
        let keeper = self.keepers.get(name).cloned();
        keeper.ok_or_else(|| {
            refusal::refusal(
                Code::NotFound,
                "ACCOUNT_NOT_CONFIGURED",
                format!(
                    "no account {} is written here: name one that is configured (accounts.accounts, or shim.accounts)",
                    audit::short(name).escape_debug()
                ),
            )
        })
    }

    /// Does what is asked, if the caller may.
    async fn change(
        &self,
        admitted: Admitted,
        extensions: &Extensions,
        mut fields: Fields,
        asked: Asked,
    ) -> Result<Outcome, Status> {
        fields.text("idempotency_key", &asked.key, MAX_KEY);
        fields.optional_text("reason", &asked.reason, MAX_REASON);
        fields.check()?;
        let keeper = self.keeper(&admitted.caller, extensions, &asked.account)?;
        let once = Once {
            key: key_digest(admitted.caller.name(), asked.method, &asked.key),
            body: asked.body,
        };
        let wanted = Wanted {
            operations: asked.operations,
            may_reconnect: asked.may_reconnect,
            once: Some(once),
            ..Wanted::default()
        };
        let Admitted { caller, place, .. } = admitted;
        // However long the caller waits: it is not to end between storing, pushing and closing.
        let deadline = Deadline::after(self.longest);
        let (method, reason) = (asked.method, asked.reason);
        let done = self.tasks.spawn(async move {
            // The place is taken until the work is over.
            let _place = place;
            let done = keeper.push(wanted, deadline).await;
            note(method, &caller, keeper.name(), &reason, &done);
            done
        });
        match done.await {
            Ok(done) => done.map_err(refusals::status),
            Err(_) => Err(refusal::refusal(
                Code::Internal,
                "STOPPED",
                "the call was stopped half-way: call again with the same idempotency key",
            )),
        }
    }
}

/// Writes down what came of a change.
fn note(
    method: &'static str,
    caller: &Caller,
    account: &str,
    reason: &str,
    done: &Result<Outcome, natsgate_accounts::WriterError>,
) {
    let (caller, reason) = (caller.name(), audit::short(reason));
    match done {
        Ok(outcome) => {
            let changed = outcome.report.plan.as_ref().map(ToString::to_string);
            info!(
                target: audit::TARGET,
                outcome = "account_changed",
                method,
                caller,
                account,
                reason,
                revision = outcome.report.revision,
                repeated = outcome.report.repeated,
                complete = outcome.is_complete(),
                changed,
                "an account was written",
            );
        }
        Err(error) => warn!(
            target: audit::TARGET,
            outcome = "account_not_changed",
            method,
            caller,
            account,
            reason,
            detail = audit::short(&error.to_string()),
            "an account was not written",
        ),
    }
}

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn put_template(
        &self,
        request: Request<v1::PutTemplateRequest>,
    ) -> Result<Response<v1::PutTemplateResponse>, Status> {
        let admitted = self.gate.admit(Scope::AccountsWrite, &request).await?;
        let (_, extensions, request) = request.into_parts();
        let mut fields = Fields::default();
        let template = request::template("template", request.template.as_ref(), &mut fields);
        let body = body_digest(&v1::PutTemplateRequest {
            idempotency_key: String::new(),
            ..request.clone()
        });
        let asked = Asked {
            method: "PutTemplate",
            account: request.account,
            key: request.idempotency_key,
            reason: request.reason,
            body,
            operations: template.into_iter().collect(),
            may_reconnect: false,
        };
        let done = self.change(admitted, &extensions, fields, asked).await?;
        Ok(Response::new(v1::PutTemplateResponse {
            revision: done.report.revision,
            repeated: done.report.repeated,
            outcome: Some(message::outcome(done)),
        }))
    }

    async fn retire_template(
        &self,
        request: Request<v1::RetireTemplateRequest>,
    ) -> Result<Response<v1::RetireTemplateResponse>, Status> {
        let admitted = self.gate.admit(Scope::AccountsWrite, &request).await?;
        let (_, extensions, request) = request.into_parts();
        let mut fields = Fields::default();
        let retire = request::retire("name", &request.name, &mut fields);
        let body = body_digest(&v1::RetireTemplateRequest {
            idempotency_key: String::new(),
            ..request.clone()
        });
        let asked = Asked {
            method: "RetireTemplate",
            account: request.account,
            key: request.idempotency_key,
            reason: request.reason,
            body,
            operations: retire.into_iter().collect(),
            may_reconnect: false,
        };
        let done = self.change(admitted, &extensions, fields, asked).await?;
        Ok(Response::new(v1::RetireTemplateResponse {
            revision: done.report.revision,
            repeated: done.report.repeated,
            outcome: Some(message::outcome(done)),
        }))
    }

    async fn push_account(
        &self,
        request: Request<v1::PushAccountRequest>,
    ) -> Result<Response<v1::PushAccountResponse>, Status> {
        let admitted = self.gate.admit(Scope::AccountsWrite, &request).await?;
        let (_, extensions, request) = request.into_parts();
        let mut fields = Fields::default();
        let operations = request::changes(request.changes.as_ref(), self.clock.unix_seconds(), &mut fields);
        let body = body_digest(&v1::PushAccountRequest {
            idempotency_key: String::new(),
            ..request.clone()
        });
        let asked = Asked {
            method: "PushAccount",
            account: request.account,
            key: request.idempotency_key,
            reason: request.reason,
            body,
            operations,
            may_reconnect: request.changes.is_some_and(|changes| changes.may_reconnect),
        };
        let done = self.change(admitted, &extensions, fields, asked).await?;
        Ok(Response::new(v1::PushAccountResponse {
            revision: done.report.revision,
            repeated: done.report.repeated,
            outcome: Some(message::outcome(done)),
        }))
    }

    async fn plan_account(
        &self,
        request: Request<v1::PlanAccountRequest>,
    ) -> Result<Response<v1::PlanAccountResponse>, Status> {
        let admitted = self.gate.admit(Scope::AccountsRead, &request).await?;
        let (_, extensions, request) = request.into_parts();
        let mut fields = Fields::default();
        let operations = request::changes(request.changes.as_ref(), self.clock.unix_seconds(), &mut fields);
        fields.check()?;
        let keeper = self.keeper(&admitted.caller, &extensions, &request.account)?;
        let wanted = Wanted {
            operations,
            may_reconnect: request.changes.is_some_and(|changes| changes.may_reconnect),
            ..Wanted::default()
        };
        let Admitted { deadline, place, .. } = admitted;
        // It takes the account's lease, which is given back whether the caller waits or not.
        let planned = self.tasks.spawn(async move {
            let _place = place;
            keeper.plan(wanted, deadline).await
        });
        let (planned, missing) = planned.await.map_err(|_| {
            refusal::refusal(
                Code::Internal,
                "STOPPED",
                "the call was stopped half-way: call again",
            )
        })?;
        let result = match planned {
            Ok(plan) => v1::plan_account_response::Result::Plan(message::plan(&plan)),
            Err(error) => v1::plan_account_response::Result::Refusal(refusals::told(error)?),
        };
        Ok(Response::new(v1::PlanAccountResponse {
            result: Some(result),
            missing: missing.into_iter().map(message::cluster).collect(),
        }))
    }

    async fn get_account(
        &self,
        request: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        let admitted = self.gate.admit(Scope::AccountsRead, &request).await?;
        let (_, extensions, request) = request.into_parts();
        let keeper = self.keeper(&admitted.caller, &extensions, &request.account)?;
        let (view, clusters) = keeper.view(admitted.deadline).await.map_err(refusals::status)?;
        Ok(Response::new(message::account(&request.account, &view, clusters)))
    }
}
