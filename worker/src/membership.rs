//! This worker as a member of a cluster with TLS: it joins by its token, gets a certificate, keeps it on disk
//! for the next start, and renews it. May import the runtime's TLS, proto and tonic.

use std::path::{Path, PathBuf};
use std::time::Duration;

use espalier_proto::v1;
use espalier_proto::v1::access_service_client::AccessServiceClient;
use espalier_runtime::backoff::Waits;
use espalier_runtime::logging::millis;
use espalier_runtime::tls::{
    ClientTls, Fingerprint, Identity, JoinToken, KeyRequest, TlsError, is_about_the_clock,
    read_private, write_private,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::client::{is_transient, within};
use crate::config::WorkerConfig;
use crate::error::WorkerError;

/// Connecting, with TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// A certificate is renewed after this part of its life; what is left is for a coordinator that is away.
const RENEW_AFTER: f64 = 0.5;
/// A renewal that failed is tried again within these.
const RETRY_BOUNDS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(600));
/// Tries between two warnings while the coordinator is away.
const WARN_EVERY: u64 = 10;
const FILE: &str = "identity.json";

/// Where a worker keeps what it is known by.
pub(crate) fn file(work_dir: &Path) -> PathBuf {
    work_dir.join(FILE)
}

/// What is on disk, for the next start: tokens may have ended by then.
#[derive(Serialize, Deserialize)]
struct Saved {
    name: String,
    authority: String,
    certificate: String,
    key: String,
}

/// What this worker is known by now.
struct Current {
    identity: Option<Identity>,
}

/// A worker's membership. One task at a time changes it.
pub(crate) struct Membership {
    url: String,
    name: String,
    token: Option<JoinToken>,
    authority: Fingerprint,
    path: PathBuf,
    current: Mutex<Current>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Membership({} at {})", self.name, self.url)
    }
}

/// Why a certificate was not given.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nobody answers, or not yet.
    Away(String),
    /// Trying again is of no use.
    Final(String),
    /// The certificate that was shown is not taken (any more).
    Unidentified(String),
    /// A clock is wrong.
    Clock(String),
}

impl Refused {
    /// What a worker ends with that is refused for good.
    pub(crate) fn error(self, address: &str) -> WorkerError {
        let address = address.to_owned();
        match self {
            Self::Clock(reason) => WorkerError::Clock { address, reason },
            Self::Away(status) | Self::Final(status) | Self::Unidentified(status) => {
                WorkerError::Refused {
                    address,
                    status,
                    lasting: true,
                }
            }
        }
    }
}

/// A certificate that was given just now.
#[derive(Debug)]
pub(crate) struct Given {
    /// How to connect with it.
    pub(crate) tls: ClientTls,
    /// When to renew it.
    pub(crate) renew_after: Duration,
}

impl Membership {
    /// The membership that a configuration asks for; none of a coordinator without TLS.
    pub(crate) fn of(config: &WorkerConfig) -> Result<Option<Self>, WorkerError> {
        if config.join.starts_with("http://") {
            return Ok(None);
        }
        let path = file(&config.work_dir);
        let unusable = |error: &dyn std::fmt::Display| WorkerError::Refused {
            address: config.join.clone(),
            status: format!(
                "{}: {error}; remove the file and join by a token",
                path.display()
            ),
            lasting: true,
        };
        let text = read_private(&path).map_err(|error| unusable(&error))?;
        let saved: Option<Saved> = match text {
            Some(text) => {
                // What the parser shows of the text may be the key.
                let read = serde_json::from_str(&text);
                Some(read.map_err(|_| unusable(&"it is damaged"))?)
            }
            None => None,
        };
        let known = match &saved {
            Some(saved) => saved.authority.parse::<Fingerprint>().ok(),
            None => None,
        };
        let token = config.token.clone();
        let authority = token.as_ref().map(|token| token.authority).or(known);
        let authority = authority.ok_or_else(|| WorkerError::Refused {
            address: config.join.clone(),
            status:
                "a coordinator with TLS wants a token from a worker that it does not know yet: \
                     ESPALIER_TOKEN, --token-file, or --token"
                    .to_owned(),
            lasting: true,
        })?;
        let own = saved.filter(|saved| saved.name == config.name && known == Some(authority));
        let identity = match own {
            Some(own) => {
                Some(Identity::read(&own.certificate, &own.key).map_err(|error| unusable(&error))?)
            }
            None => None,
        };
        Ok(Some(Self {
            url: config.join.clone(),
            name: config.name.clone(),
            token,
            authority,
            path,
            current: Mutex::new(Current { identity }),
        }))
    }

    /// Gets a certificate, waiting for the coordinator without limit.
    pub(crate) async fn join(&self) -> Result<Given, WorkerError> {
        let (mut waits, mut tries) = (Waits::default(), 0_u64);
        loop {
            let reason = match self.identify().await {
                Ok(given) => return Ok(given),
                Err(Refused::Away(reason)) => reason,
                Err(refused) => return Err(refused.error(&self.url)),
            };
            let wait = waits.next_wait();
            if tries.is_multiple_of(WARN_EVERY) {
                tracing::warn!(
                    worker = self.name,
                    coordinator = self.url,
                    reason,
                    wait_ms = millis(wait),
                    tries,
                    "cannot join yet; trying again until the coordinator is there"
                );
            }
            tries += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// Gets a certificate: by the one that there is, or by the token.
    pub(crate) async fn identify(&self) -> Result<Given, Refused> {
        let mut current = self.current.lock().await;
        let mut refusal = None;
        if let Some(identity) = &current.identity {
            match self.enrol(Some(identity), None).await {
                Ok((identity, given)) => {
                    current.identity = Some(identity);
                    return Ok(given);
                }
                Err(Refused::Unidentified(reason)) => refusal = Some(reason),
                Err(other) => return Err(other),
            }
        }
        let Some(token) = &self.token else {
            let reason = refusal.unwrap_or_default();
            return Err(Refused::Final(format!(
                "{reason}; start this worker with a token to join again"
            )));
        };
        let (identity, given) = self.enrol(None, Some(token)).await?;
        current.identity = Some(identity);
        Ok(given)
    }

    async fn enrol(
        &self,
        identity: Option<&Identity>,
        token: Option<&JoinToken>,
    ) -> Result<(Identity, Given), Refused> {
        let broken = |error: TlsError| Refused::Final(error.to_string());
        let tls = ClientTls::new(self.authority, identity).map_err(broken)?;
        let endpoint = Endpoint::from_shared(self.url.clone());
        let endpoint = endpoint.map_err(|error| Refused::Final(error.to_string()))?;
        let endpoint = endpoint.connect_timeout(CONNECT_LIMIT);
        let connected = endpoint.connect_with_connector(tls.connector()).await;
        let channel = connected.map_err(|error| not_connected(&error))?;
        let key = KeyRequest::new().map_err(broken)?;
        let mut request = Request::new(v1::EnrolRequest {
            name: self.name.clone(),
            request: key.request().to_vec(),
        });
        if let Some(token) = token {
            let bearer = format!("Bearer {}", token.reveal()).parse();
            let mut bearer: tonic::metadata::MetadataValue<_> =
                bearer.map_err(|_| Refused::Final("the token cannot be sent".to_owned()))?;
            bearer.set_sensitive(true);
            request.metadata_mut().insert("authorization", bearer);
        }
        let mut service = AccessServiceClient::new(channel);
        let reply = within(CALL_LIMIT, service.enrol(request)).await;
        let reply = reply.map_err(|status| not_enrolled(&status))?;
        let identity = key.with_certificate(&reply.certificate).map_err(broken)?;
        self.save(&identity);
        let lifetime = Duration::from_millis(reply.lifetime_ms);
        tracing::info!(
            worker = self.name,
            coordinator = self.url,
            lifetime_ms = reply.lifetime_ms,
            "certificate received"
        );
        let given = Given {
            tls: ClientTls::new(self.authority, Some(&identity)).map_err(broken)?,
            renew_after: lifetime.mul_f64(RENEW_AFTER),
        };
        Ok((identity, given))
    }

    /// Keeps the certificate for the next start. A worker that cannot is a member all the same.
    fn save(&self, identity: &Identity) {
        let saved = Saved {
            name: self.name.clone(),
            authority: self.authority.to_string(),
            certificate: identity.certificate().to_owned(),
            key: identity.reveal_key().to_owned(),
        };
        let written = serde_json::to_string(&saved)
            .map_err(|error| error.to_string())
            .and_then(|text| write_private(&self.path, &text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(
                error,
                "the certificate cannot be kept for the next start of this worker"
            );
        }
    }
}

/// The longest and the shortest wait after a renewal that failed.
pub(crate) fn retry_after(renew_after: Duration) -> Duration {
    let (least, most) = RETRY_BOUNDS;
    (renew_after / 20).clamp(least, most)
}

fn not_connected(error: &tonic::transport::Error) -> Refused {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    let (mut untrusted, mut clock) = (false, false);
    loop {
        let io = deepest.downcast_ref::<std::io::Error>();
        untrusted |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData);
        clock |= io.is_some_and(is_about_the_clock);
        match deepest.source() {
            Some(source) => deepest = source,
            None => break,
        }
    }
    if clock {
        Refused::Clock(deepest.to_string())
    } else if untrusted {
        Refused::Final(deepest.to_string())
    } else {
        Refused::Away(deepest.to_string())
    }
}

fn not_enrolled(status: &Status) -> Refused {
    let reason = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated => Refused::Unidentified(reason),
        _ if is_transient(status) => Refused::Away(reason),
        _ => Refused::Final(reason),
    }
}
