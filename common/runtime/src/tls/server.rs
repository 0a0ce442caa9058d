//! The coordinator's side of TLS: it shows its certificate and asks for one, and takes those who have none
//! too, since a worker joins without. May import rustls.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    version,
};

use super::authority::{Authority, ServerCertificate};
use super::peer::validity;
use super::{TlsError, provider};

/// Settings for the coordinator's connections: TLS 1.3, HTTP/2, its certificate, and workers' certificates by
/// `workers`.
///
/// # Errors
/// The certificate and its key do not fit together.
pub fn server_config(
    own: ServerCertificate,
    workers: &Authority,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(workers.certificate().clone())?;
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Library(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(AtAnyTime(inner)))
        .with_single_cert(own.chain, own.key)
        .map_err(|error| {
            TlsError::Unfit(format!(
                "the coordinator's certificate and key: {error}; give the key that belongs to the certificate"
            ))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Checks everything but the time, which is checked at every call: a connection outlives certificates, and an
/// answer can say what is wrong with the clock, where a broken handshake cannot.
#[derive(Debug)]
struct AtAnyTime(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AtAnyTime {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = match validity(end_entity) {
            Some((from, until)) => {
                let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
                let seconds = seconds.min(until).max(from);
                let seconds = u64::try_from(seconds).unwrap_or_default();
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
            }
            None => now,
        };
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
