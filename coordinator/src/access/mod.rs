//! Who may do what: TLS on the listener, tokens and certificates, and one table of methods and callers that
//! every call is held against before it is looked at. May import the runtime's TLS, tonic and tower; of the
//! actors nothing.

mod bounded;
mod guard;
mod incoming;
mod methods;
mod noted;
mod refusal;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use espalier_runtime::tls::{
    Authority, Fingerprint, JoinToken, PeerCertificate, ServerCertificate, TlsError, server_config,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::clock;
use methods::{Caller, Who};

pub(crate) use guard::{CallMeters, GuardLayer};
pub(crate) use incoming::{Link, Peer, incoming};
pub(crate) use refusal::RefusalKind;
use refusal::{Refusal, unknown};
pub use tokens::Role;
pub(crate) use tokens::{Known, MAX_TOKENS, Standing, Token, TokenId, Tokens};

/// How a coordinator's certificate comes about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CertificateSource {
    /// Made at the first start, by an authority of its own.
    #[default]
    Made,
    /// The operator's: files in PEM.
    Own {
        /// The certificate, and issuers between it and the authority.
        certificate: std::path::PathBuf,
        /// Its key.
        key: std::path::PathBuf,
        /// The authority's certificate.
        authority: std::path::PathBuf,
    },
}

/// What TLS needs.
struct Tls {
    authority: Authority,
    /// Of the authority that clients pin: the one above, or the operator's.
    pinned: Fingerprint,
    config: Arc<rustls::ServerConfig>,
}

/// Who is let in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Access {
    tokens: Tokens,
    /// None: no TLS, and whoever reaches the port may do everything. On loopback only.
    tls: Option<Arc<Tls>>,
    /// How long a worker's certificate is valid.
    worker_lifetime: Duration,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Somebody on this machine, of a coordinator without TLS.
    Local,
    /// A probe.
    Anyone,
    /// Whoever has a token.
    Token(TokenId, Role),
    /// A worker that has joined.
    Worker {
        /// Its name.
        name: String,
        /// The token by which it joined.
        token: TokenId,
    },
}

/// A caller that was let in, and until when.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) principal: Principal,
    pub(super) cut: Option<Cut>,
}

/// What ends a call that is under way.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    revoked: CancellationToken,
    expires_in: Option<Duration>,
}

const HOW_TO_JOIN: &str = "users: espalier login ADDRESS --token …; workers: espalier-worker --join ADDRESS \
                           --token …; an admin makes tokens with `espalier token create`";

impl Access {
    /// Without TLS.
    pub(crate) fn open_to_all(tokens: Tokens) -> Self {
        Self {
            tokens,
            tls: None,
            worker_lifetime: Duration::ZERO,
        }
    }

    /// With TLS, by the keys in a folder, which are made when they are not there.
    pub(crate) fn with_tls(
        tokens: Tokens,
        folder: &std::path::Path,
        source: &CertificateSource,
        worker_lifetime: Duration,
    ) -> Result<Self, TlsError> {
        let authority = Authority::open(folder)?;
        let own = match source {
            CertificateSource::Made => authority.server_certificate(folder)?,
            CertificateSource::Own {
                certificate,
                key,
                authority,
            } => ServerCertificate::own(certificate, key, authority)?,
        };
        let pinned = own.authority;
        let config = server_config(own, &authority)?;
        Ok(Self {
            tokens,
            tls: Some(Arc::new(Tls {
                authority,
                pinned,
                config,
            })),
            worker_lifetime,
        })
    }

    /// Settings of the listener; none without TLS.
    pub(crate) fn listener_config(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// The tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// How long a worker's certificate is valid.
    pub(crate) fn worker_lifetime(&self) -> Duration {
        self.worker_lifetime
    }

    /// The text of a token for its secret; none without TLS.
    pub(crate) fn token_text(&self, secret: &espalier_runtime::tls::Secret) -> Option<String> {
        let tls = self.tls.as_ref()?;
        let token = JoinToken {
            authority: tls.pinned,
            secret: secret.clone(),
        };
        Some(token.reveal())
    }

    /// The authority that clients pin; none without TLS.
    pub(crate) fn pinned(&self) -> Option<Fingerprint> {
        self.tls.as_ref().map(|tls| tls.pinned)
    }

    /// A certificate for a worker that joins by a token; none without TLS.
    pub(crate) fn sign(
        &self,
        request: &[u8],
        name: &str,
        token: &TokenId,
    ) -> Option<Result<String, TlsError>> {
        let tls = self.tls.as_ref()?;
        let lifetime = self.worker_lifetime;
        Some(tls.authority.sign_worker(request, name, &token.0, lifetime))
    }

    /// Lets a call in, or says why not.
    pub(super) fn admit(
        &self,
        path: &str,
        peer: Option<&Peer>,
        bearer: Option<&http::HeaderValue>,
    ) -> Result<Admitted, Refusal> {
        let Some(who) = methods::who(path) else {
            return Err(Refusal {
                kind: RefusalKind::NoSuchMethod,
                status: Status::unimplemented(format!(
                    "this coordinator has no method {path:?}; run programs of one version"
                )),
            });
        };
        match peer.map(|peer| &peer.link) {
            _ if self.tls.is_none() => return Ok(Admitted::always(Principal::Local)),
            Some(Link::Tls(_)) => {}
            Some(Link::Plain) | None => {
                let message = format!(
                    "this coordinator speaks TLS only: use https://HOST:PORT and a token ({HOW_TO_JOIN})"
                );
                return Err(unknown(RefusalKind::PlainConnection, message));
            }
        }
        let Who::Only(callers) = who else {
            return Ok(Admitted::always(Principal::Anyone));
        };
        let certificate = peer.and_then(Peer::certificate);
        let (caller, admitted) = match (bearer, certificate) {
            (Some(bearer), _) => self.by_token(bearer)?,
            (None, Some(certificate)) => self.by_certificate(certificate)?,
            (None, None) => {
                let message = format!("there is no token with this call ({HOW_TO_JOIN})");
                return Err(unknown(RefusalKind::NoToken, message));
            }
        };
        if callers.contains(&caller) {
            return Ok(admitted);
        }
        let method = path.rsplit('/').next().unwrap_or(path);
        Err(Refusal {
            kind: RefusalKind::WrongRole,
            status: Status::permission_denied(format!("{caller} does not allow {method}")),
        })
    }

    fn by_token(&self, bearer: &http::HeaderValue) -> Result<(Caller, Admitted), Refusal> {
        let text = bearer.to_str().ok();
        let text = text.and_then(|text| text.strip_prefix("Bearer "));
        let token = text.and_then(|text| text.parse::<JoinToken>().ok());
        let token = token.ok_or_else(|| {
            unknown(
                RefusalKind::DamagedToken,
                "what came as a token is none: copy all of it",
            )
        })?;
        let known = self.tokens.of_secret(&token.secret).ok_or_else(|| {
            let message = "this token is not known here: it was made by another coordinator, or by this one \
                           before its data folder was replaced; make a new one with `espalier token create`";
            unknown(RefusalKind::UnknownToken, message)
        })?;
        let (id, role) = (&known.token.id, known.token.role);
        let now = clock::now_ms();
        match known.standing(now) {
            Standing::Valid => {}
            Standing::Expired => {
                let message = format!(
                    "the token {id} has expired; make a new one with `espalier token create --role {role}`"
                );
                return Err(unknown(RefusalKind::ExpiredToken, message));
            }
            Standing::Revoked => {
                return Err(unknown(
                    RefusalKind::RevokedToken,
                    format!("the token {id} was revoked"),
                ));
            }
        }
        let expires_in = known.token.expires_ms.map(|end| end.saturating_sub(now));
        let cut = Cut {
            revoked: known.revoked,
            expires_in: expires_in.map(Duration::from_millis),
        };
        let admitted = Admitted {
            principal: Principal::Token(id.clone(), role),
            cut: Some(cut),
        };
        Ok((Caller::Token(role), admitted))
    }

    fn by_certificate(&self, peer: &PeerCertificate) -> Result<(Caller, Admitted), Refusal> {
        if let Err(reason) = peer.check_now() {
            return Err(unknown(RefusalKind::CertificateOutOfTime, reason));
        }
        let token = TokenId(peer.token.clone());
        let known = self.tokens.find(&token);
        // The token may have expired since: that ends joining by it, not being a member.
        let known = known.filter(|known| !known.revoked.is_cancelled());
        let known = known.ok_or_else(|| {
            let message = format!("the token {token} by which this worker joined was revoked");
            unknown(RefusalKind::RevokedToken, message)
        })?;
        let cut = Cut {
            revoked: known.revoked,
            expires_in: None,
        };
        let admitted = Admitted {
            principal: Principal::Worker {
                name: peer.name.clone(),
                token,
            },
            cut: Some(cut),
        };
        Ok((Caller::Worker, admitted))
    }
}

impl Admitted {
    fn always(principal: Principal) -> Self {
        Self {
            principal,
            cut: None,
        }
    }
}

impl Cut {
    /// Waits until the call must end, and says why.
    pub(super) async fn wait(self) -> Status {
        let expired = async {
            match self.expires_in {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.revoked.cancelled() => Status::unauthenticated("the token of this call was revoked"),
            () = expired => Status::unauthenticated("the token of this call has expired"),
        }
    }
}
