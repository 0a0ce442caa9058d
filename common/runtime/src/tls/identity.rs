//! A worker's key and certificate. The key never leaves the machine. May import rcgen, rustls.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};

/// A new key, and the request for a certificate of it.
pub struct KeyRequest {
    key: KeyPair,
    request: Vec<u8>,
}

impl KeyRequest {
    /// Makes a key.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        // The coordinator decides what the certificate says.
        let request = CertificateParams::default().serialize_request(&key)?;
        Ok(Self {
            request: request.der().to_vec(),
            key,
        })
    }

    /// The request, in DER.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The key with the certificate that was made for it.
    ///
    /// # Errors
    /// It is no certificate, or one of another key.
    pub fn with_certificate(self, certificate: &str) -> Result<Identity, TlsError> {
        Identity::read(certificate, &self.key.serialize_pem())
    }
}

/// A key with its certificate.
#[derive(Clone)]
pub struct Identity {
    certificate: String,
    key: String,
    pub(super) certified: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// From PEM.
    ///
    /// # Errors
    /// They are no certificate and key, or do not belong together.
    pub fn read(certificate: &str, key: &str) -> Result<Self, TlsError> {
        let unfit = |reason: String| TlsError::Unfit(format!("a worker's certificate: {reason}"));
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unfit(error.to_string()))?;
        let private = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unfit(error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, private, &provider())
            .map_err(|error| unfit(error.to_string()))?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            certified: Arc::new(certified),
        })
    }

    /// The certificate, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key, in PEM: for a file that only its owner may read.
    #[must_use]
    pub fn reveal_key(&self) -> &str {
        &self.key
    }
}
