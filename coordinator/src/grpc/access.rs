//! The service by which workers join and admins make tokens.

use std::time::Duration;

use espalier_common::ids::ClusterId;
use espalier_proto::v1::access_service_server::AccessService;
use espalier_proto::{uuid_to_wire, v1};
use espalier_runtime::tls::Secret;
use tonic::{Request, Response, Status};

use super::caller::opened;
use crate::access::{Access, Principal, Role, Standing, Token, TokenId};
use crate::actors::{CallError, DispatcherHandle};
use crate::clock::{millis, now_ms};

/// The longest label of a token, in bytes.
const MAX_LABEL: usize = 64;
/// The longest name of a worker in a certificate: the standard's bound for such names.
const MAX_NAME: usize = 64;
/// The longest life of a token that ends: a hundred years.
const MAX_TTL_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;

/// The access service.
#[derive(Clone)]
pub(crate) struct AccessApi {
    pub(crate) access: Access,
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) cluster: ClusterId,
}

/// A token that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) role: Role,
    /// None: it does not expire.
    pub(crate) ttl: Option<Duration>,
    pub(crate) label: String,
}

impl AccessApi {
    /// Makes a token, and the text to hand out, which is nowhere else.
    pub(crate) async fn create(&self, new: NewToken) -> Result<(Token, String), CallError> {
        let secret = Secret::new()?;
        let text = self.access.token_text(&secret).ok_or(CallError::NoTls)?;
        let created_ms = now_ms();
        let token = Token {
            id: TokenId(uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()),
            role: new.role,
            label: new.label,
            hash: secret.hash(),
            created_ms,
            expires_ms: new.ttl.map(|ttl| created_ms.saturating_add(millis(ttl))),
        };
        self.dispatcher.create_token(token.clone()).await?;
        Ok((token, text))
    }

    fn require_tls(&self) -> Result<(), CallError> {
        self.access.pinned().map(|_| ()).ok_or(CallError::NoTls)
    }
}

fn token_to_wire(token: Token, standing: Standing) -> v1::Token {
    v1::Token {
        id: token.id.0,
        role: token.role.word().to_owned(),
        label: token.label,
        created_ms: token.created_ms,
        expires_ms: token.expires_ms.unwrap_or_default(),
        state: standing.word().to_owned(),
    }
}

/// Names of workers, as `espalier-worker` takes them.
fn check_name(name: &str) -> Result<(), CallError> {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(letters) {
        return Err(CallError::Invalid(format!(
            "name: a worker's name has 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"
        )));
    }
    Ok(())
}

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolReply>, Status> {
        let (caller, request) = opened(request)?;
        check_name(&request.name)?;
        let token = match caller {
            Principal::Token(token, _) => token,
            Principal::Worker { name, token } if name == request.name => token,
            Principal::Worker { name, .. } => {
                return Err(CallError::OtherWorker {
                    certificate: name,
                    claimed: request.name,
                }
                .into());
            }
            Principal::Local | Principal::Anyone => return Err(CallError::NoTls.into()),
        };
        let signed = self.access.sign(&request.request, &request.name, &token);
        let certificate = signed.ok_or(CallError::NoTls)?.map_err(CallError::from)?;
        tracing::info!(worker = request.name, %token, "certificate given to a worker");
        Ok(Response::new(v1::EnrolReply {
            certificate,
            lifetime_ms: millis(self.access.worker_lifetime()),
        }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenReply>, Status> {
        let request = request.into_inner();
        let role = request.role.parse().map_err(CallError::Invalid)?;
        if request.label.len() > MAX_LABEL || request.label.chars().any(char::is_control) {
            let message = format!("label: at most {MAX_LABEL} bytes of text are taken");
            return Err(CallError::Invalid(message).into());
        }
        if request.ttl_ms > MAX_TTL_MS {
            let message = "ttl: at most a hundred years; or none at all".to_owned();
            return Err(CallError::Invalid(message).into());
        }
        let ttl = (request.ttl_ms > 0).then(|| Duration::from_millis(request.ttl_ms));
        let label = request.label;
        let (token, secret) = self.create(NewToken { role, ttl, label }).await?;
        Ok(Response::new(v1::CreateTokenReply {
            token: Some(token_to_wire(token, Standing::Valid)),
            secret,
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensReply>, Status> {
        self.require_tls()?;
        let now = now_ms();
        let wire = |known: crate::access::Known| {
            let standing = known.standing(now);
            token_to_wire(known.token, standing)
        };
        let tokens = self.access.tokens().all().into_iter().map(wire).collect();
        Ok(Response::new(v1::ListTokensReply { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenReply>, Status> {
        self.require_tls()?;
        let id = TokenId(request.into_inner().id);
        let known = self.access.tokens().find(&id);
        let known = known.ok_or_else(|| CallError::UnknownToken(id.0.clone()))?;
        // Said twice, done once.
        if !known.revoked.is_cancelled() {
            self.dispatcher.revoke_token(id).await?;
        }
        Ok(Response::new(v1::RevokeTokenReply {
            token: Some(token_to_wire(known.token, Standing::Revoked)),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIReply>, Status> {
        let (caller, _) = opened(request)?;
        let role = match caller {
            Principal::Token(_, role) => role.word(),
            Principal::Worker { .. } => Role::Worker.word(),
            Principal::Local | Principal::Anyone => "local",
        };
        Ok(Response::new(v1::WhoAmIReply {
            role: role.to_owned(),
            cluster: uuid_to_wire(self.cluster.0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}
