//! A coordinator's certificate authority: made at the first start, kept in files that only its owner may
//! read. It signs the certificates of workers, and the coordinator's own unless the operator brings one. May
//! import rcgen.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, UnixTime};
use time::{Duration, OffsetDateTime};

use super::files::{private_folder, read, read_private, write_private};
use super::token::Fingerprint;
use super::{BACKDATED_SECONDS, SERVER_NAME, TlsError, random};

/// Ten years. A shorter life would protect nothing: clients pin this authority, and the key of the
/// coordinator's certificate lies beside its own.
const AUTHORITY_DAYS: i64 = 3_653;
const CERTIFICATE_FILE: &str = "authority.pem";
const KEY_FILE: &str = "authority-key.pem";
const SERVER_CERTIFICATE_FILE: &str = "server.pem";
const SERVER_KEY_FILE: &str = "server-key.pem";
/// What the name of a worker's certificate begins with; the token it came by follows.
pub(super) const TOKEN_URI: &str = "espalier:token:";
/// The largest certificate request: a few hundred bytes are needed.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The coordinator's certificate as it is presented: the chain ends with its authority, which clients know by
/// its fingerprint.
#[derive(Debug)]
pub struct ServerCertificate {
    /// The certificate, then its issuers.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The authority at the end of the chain.
    pub authority: Fingerprint,
}

/// A certificate authority with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", Fingerprint::of(&self.certificate))
    }
}

impl Authority {
    /// The authority in a folder, which is made when it is not there.
    ///
    /// # Errors
    /// The folder cannot be used, or holds one half of an authority.
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        private_folder(folder)?;
        let (certificate_path, key_path) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        match (read_private(&certificate_path)?, read_private(&key_path)?) {
            (Some(certificate), Some(key)) => {
                let bad = |what: String| TlsError::BadFile {
                    path: certificate_path.display().to_string(),
                    what,
                };
                let key = KeyPair::from_pem(&key).map_err(|error| TlsError::BadFile {
                    path: key_path.display().to_string(),
                    what: format!("{error}; restore it from a back-up"),
                })?;
                let der = CertificateDer::from_pem_slice(certificate.as_bytes())
                    .map_err(|error| bad(format!("{error}; restore it from a back-up")))?;
                let issuer = Issuer::from_ca_cert_der(&der, key)
                    .map_err(|error| bad(format!("{error}; restore it from a back-up")))?;
                Ok(Self {
                    certificate: der.into_owned(),
                    issuer,
                })
            }
            // The certificate is written last: without it, the key has signed nothing yet.
            (None, _) => Self::create(&certificate_path, &key_path),
            (Some(_), None) => Err(TlsError::BadFile {
                path: key_path.display().to_string(),
                what: "the key of the certificate authority is missing; restore it from a back-up, or \
                       remove the whole folder: then every worker and user needs a new token"
                    .to_owned(),
            }),
        }
    }

    fn create(certificate_path: &Path, key_path: &Path) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // A name of its own: one that is made anew must not be taken for the one before.
        let number = u64::from_be_bytes(random()?);
        params.distinguished_name = named(&format!("Espalier authority {number:016x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, Duration::days(AUTHORITY_DAYS));
        let certificate = params.self_signed(&key)?;
        write_private(key_path, &key.serialize_pem())?;
        write_private(certificate_path, &certificate.pem())?;
        Ok(Self {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The coordinator's certificate by this authority, from the folder; made when it is not there.
    ///
    /// # Errors
    /// The folder cannot be used, or holds something else.
    pub fn server_certificate(&self, folder: &Path) -> Result<ServerCertificate, TlsError> {
        let certificate_path = folder.join(SERVER_CERTIFICATE_FILE);
        let key_path = folder.join(SERVER_KEY_FILE);
        if !(certificate_path.exists() && key_path.exists()) {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new([SERVER_NAME.to_owned()])?;
            params.distinguished_name = named(SERVER_NAME);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.use_authority_key_identifier_extension = true;
            set_validity(&mut params, Duration::days(AUTHORITY_DAYS));
            let certificate = params.signed_by(&key, &self.issuer)?;
            write_private(&key_path, &key.serialize_pem())?;
            write_private(&certificate_path, &certificate.pem())?;
        }
        let mut own = ServerCertificate::read(&certificate_path, &key_path)?;
        own.chain.push(self.certificate.clone());
        own.authority = Fingerprint::of(&self.certificate);
        Ok(own)
    }

    /// Signs a worker's request: its key with a name and a token that the coordinator decides; what the
    /// request says about itself is ignored. PEM.
    ///
    /// # Errors
    /// [`TlsError::BadRequest`]
    pub fn sign_worker(
        &self,
        request: &[u8],
        name: &str,
        token: &str,
        lifetime: std::time::Duration,
    ) -> Result<String, TlsError> {
        let refused = |error: rcgen::Error| TlsError::BadRequest(error.to_string());
        if request.len() > MAX_REQUEST_BYTES {
            let message = format!("it has more than {MAX_REQUEST_BYTES} bytes");
            return Err(TlsError::BadRequest(message));
        }
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request).map_err(refused)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        let uri = format!("{TOKEN_URI}{token}").try_into().map_err(refused)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let lifetime = Duration::try_from(lifetime)
            .map_err(|_| TlsError::BadRequest("the lifetime is too long".to_owned()))?;
        set_validity(&mut params, lifetime);
        let signed = params.signed_by(&request.public_key, &self.issuer);
        Ok(signed.map_err(refused)?.pem())
    }
}

impl ServerCertificate {
    /// A certificate of the operator's own, by an authority of the operator's own.
    ///
    /// # Errors
    /// A file cannot be read, or they do not fit together as clients want them to.
    pub fn own(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, TlsError> {
        let mut own = Self::read(certificate, key)?;
        let authorities = certificates(authority)?;
        let [authority_certificate] = authorities.as_slice() else {
            return Err(TlsError::BadFile {
                path: authority.display().to_string(),
                what: format!(
                    "it holds {} certificates; the one of the authority alone is expected",
                    authorities.len()
                ),
            });
        };
        own.authority = Fingerprint::of(authority_certificate);
        if !own.chain.contains(authority_certificate) {
            own.chain.push(authority_certificate.clone());
        }
        super::client::check(&own, UnixTime::now()).map_err(|reason| {
            TlsError::Unfit(format!(
                "--tls-cert {}: clients would not take it: {reason}. It must be issued by the authority of \
                 --tls-ca for the DNS name {SERVER_NAME}, whatever the machine is called",
                certificate.display()
            ))
        })?;
        Ok(own)
    }

    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let text = read(key)?;
        let key =
            PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| TlsError::BadFile {
                path: key.display().to_string(),
                what: format!("no private key in PEM: {error}"),
            })?;
        Ok(Self {
            authority: Fingerprint::of(chain.last().map_or(&[][..], |last| last)),
            chain,
            key,
        })
    }
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |what: String| TlsError::BadFile {
        path: path.display().to_string(),
        what,
    };
    let text = read(path)?;
    let chain = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("no certificates in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(bad("there is no certificate in it".to_owned()));
    }
    Ok(chain)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// From an hour ago, and for the lifetime from now.
fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::seconds(BACKDATED_SECONDS);
    params.not_after = now.saturating_add(lifetime);
}
