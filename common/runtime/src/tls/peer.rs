//! What a worker's certificate says. May import x509-parser.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::TOKEN_URI;
use super::utc;

/// The names in a certificate that this cluster's authority has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The worker's name.
    pub name: String,
    /// The token by which the worker joined.
    pub token: String,
    /// From when it is valid, in Unix seconds.
    pub not_before: i64,
    /// Until when it is valid, in Unix seconds.
    pub not_after: i64,
}

impl PeerCertificate {
    /// Reads a certificate whose signature was checked. `None`: it is none of a worker.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        let name = name.as_str().ok()?.to_owned();
        let names = certificate.subject_alternative_name().ok()??;
        let token = names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(TOKEN_URI),
                _ => None,
            })?;
        Some(Self {
            name,
            token: token.to_owned(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// What is wrong with its time of validity, by this machine's clock.
    ///
    /// # Errors
    /// It has expired, or is not valid yet.
    pub fn check_now(&self) -> Result<(), String> {
        self.check_time(time::OffsetDateTime::now_utc().unix_timestamp())
    }

    /// What is wrong with its time of validity at `now`, in Unix seconds.
    ///
    /// # Errors
    /// It has expired, or is not valid yet.
    pub(super) fn check_time(&self, now: i64) -> Result<(), String> {
        if now > self.not_after {
            return Err(format!(
                "the worker's certificate has expired at {}; here it is {}",
                utc(self.not_after),
                utc(now)
            ));
        }
        if now < self.not_before {
            return Err(format!(
                "the worker's certificate is valid from {}, and here it is {}: the coordinator's clock is \
                 wrong, or was when it signed",
                utc(self.not_before),
                utc(now)
            ));
        }
        Ok(())
    }
}

/// When a certificate is valid, in Unix seconds.
pub(super) fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}
