//! The side of whoever calls a coordinator: trusts the one authority whose fingerprint it knows, for the one
//! name that coordinators have. May import rustls, tokio and tower's trait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme, version,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::ServerCertificate;
use super::identity::Identity;
use super::token::Fingerprint;
use super::{SERVER_NAME, TlsError, provider, utc};

/// Why a coordinator's certificate is not taken.
#[derive(Debug, thiserror::Error)]
enum Untrusted {
    #[error(
        "whoever answers there is not the coordinator of this token: its certificate authority is another one \
         (or the coordinator was set up anew, and then needs new tokens)"
    )]
    OtherAuthority,
    #[error(
        "the clock of this machine is wrong, or that of the coordinator was: it is {now} here, and the \
         coordinator's certificate is valid only from {from}; set the clock (timedatectl set-ntp true)"
    )]
    ClockBehind { now: String, from: String },
    #[error(
        "the coordinator's certificate has expired at {until}, and here it is {now}; set the clock of this \
         machine if that is wrong, else give the coordinator a new certificate"
    )]
    ClockAhead { now: String, until: String },
}

impl From<Untrusted> for Error {
    fn from(error: Untrusted) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// Whether a connection failed because the clock here, or the coordinator's, is wrong: it may be right a moment later, as
/// it is on a machine that has just been started.
#[must_use]
pub fn is_about_the_clock(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let untrusted = inner.and_then(|OtherError(why)| why.downcast_ref());
    matches!(
        untrusted,
        Some(Untrusted::ClockBehind { .. } | Untrusted::ClockAhead { .. })
    )
}

/// How to reach a coordinator over TLS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the authority with this fingerprint, and shows the certificate of `identity` if there is one.
    ///
    /// # Errors
    /// Never in practice: what is built is fixed.
    pub fn new(authority: Fingerprint, identity: Option<&Identity>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { authority }));
        let mut config = match identity {
            Some(identity) => {
                let own = Own(Arc::clone(&identity.certified));
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Opens a connection to `host:port`.
    ///
    /// # Errors
    /// Nobody answers, or somebody who is not to be trusted: then the error is of the kind `InvalidData`.
    pub async fn connect(&self, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(explained)
    }

    /// A connector for HTTP clients.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector(self.clone())
    }
}

/// What rustls says of a certificate, in our words; the rest as it is.
fn explained(error: std::io::Error) -> std::io::Error {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => {
            std::io::Error::new(std::io::ErrorKind::InvalidData, other.clone())
        }
        Some(Error::InvalidMessage(_)) => std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "what answers there speaks no TLS: check the address, or use http:// for a coordinator without TLS",
        ),
        _ => error,
    }
}

/// Connects over TLS, for HTTP clients.
#[derive(Clone, Debug)]
pub struct Connector(ClientTls);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.0.clone();
        Box::pin(async move {
            let address = uri.authority().map(ToString::to_string);
            let address =
                address.ok_or_else(|| std::io::Error::other("an address without host"))?;
            tls.connect(&address).await.map(TokioIo::new)
        })
    }
}

/// The certificate that is shown, whatever the coordinator would like to see.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes certificates of the pinned authority for the fixed name.
#[derive(Debug)]
struct Pinned {
    authority: Fingerprint,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.authority)
            .ok_or(Untrusted::OtherAuthority)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| about_the_clock(error, now))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn about_the_clock(error: Error, now: UnixTime) -> Error {
    let text = |time: UnixTime| utc(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    match error {
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            Untrusted::ClockBehind {
                now: text(now),
                from: text(not_before),
            }
            .into()
        }
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Untrusted::ClockAhead {
                now: text(now),
                until: text(not_after),
            }
            .into()
        }
        other => other,
    }
}

/// Whether a client would take this certificate at a time.
pub(super) fn check(own: &ServerCertificate, now: UnixTime) -> Result<(), String> {
    let pinned = Pinned {
        authority: own.authority,
    };
    let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
    let (first, rest) = own.chain.split_first().ok_or("there is no certificate")?;
    match pinned.verify_server_cert(first, rest, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(CertificateError::Other(other))) => Err(other.0.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
