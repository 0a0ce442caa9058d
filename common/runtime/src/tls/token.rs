//! Join tokens: what a machine needs to know of a coordinator before it trusts it (the fingerprint of its
//! certificate authority), and what makes the coordinator trust the machine (a secret). May import ring.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::{TlsError, random};

/// What a token begins with: people and secret scanners know it by that, and a later kind can differ.
const PREFIX: &str = "espalier1_";
/// Bytes of a checksum: a token that was not copied whole is told from one that was never valid.
const CHECK_BYTES: usize = 4;
const FINGERPRINT_BYTES: usize = 32;
const SECRET_BYTES: usize = 32;
/// Longer than any token.
const MAX_TEXT: usize = 256;

/// Why a text is no token. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as tokens do.
    #[error("this is no token: tokens begin with {PREFIX}")]
    OtherText,
    /// Something is missing or differs.
    #[error("the token is damaged: copy all of it, and nothing else")]
    Damaged,
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(sha256(certificate))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut bytes = [0; FINGERPRINT_BYTES];
        // Not left to the reader of numbers, which takes `+f` for one.
        let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() != 2 * FINGERPRINT_BYTES || !is_hexadecimal {
            return Err(TokenError::Damaged);
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| TokenError::Damaged)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret part of a token. Its `Debug` shows nothing, so that no log can.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self(random()?))
    }

    /// The hash by which a coordinator knows it. Secrets are random and long, so a plain hash cannot be
    /// turned back.
    #[must_use]
    pub fn hash(&self) -> String {
        let hash = sha256(&self.0);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A token: whom to trust, and why to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The authority of the coordinator's certificate.
    pub authority: Fingerprint,
    /// What the coordinator knows the hash of.
    pub secret: Secret,
}

impl JoinToken {
    /// The whole token as text: for the operator who asked for it, and never for a log.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(FINGERPRINT_BYTES + SECRET_BYTES + CHECK_BYTES);
        bytes.extend_from_slice(&self.authority.0);
        bytes.extend_from_slice(&self.secret.0);
        let check = sha256(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::OtherText)?;
        if encoded.len() > MAX_TEXT {
            return Err(TokenError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded);
        let bytes = bytes.map_err(|_| TokenError::Damaged)?;
        let (said, check) = bytes
            .split_at_checked(FINGERPRINT_BYTES + SECRET_BYTES)
            .ok_or(TokenError::Damaged)?;
        if sha256(said)[..CHECK_BYTES] != *check {
            return Err(TokenError::Damaged);
        }
        let (authority, secret) = said.split_at(FINGERPRINT_BYTES);
        let whole = |part: &[u8]| part.try_into().map_err(|_| TokenError::Damaged);
        Ok(Self {
            authority: Fingerprint(whole(authority)?),
            secret: Secret(whole(secret)?),
        })
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
