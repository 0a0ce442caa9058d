//! Why a call is not let in. May import tonic's status.

use tonic::Status;

/// The kinds of reasons, as they are logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RefusalKind {
    NoSuchMethod,
    PlainConnection,
    NoToken,
    DamagedToken,
    UnknownToken,
    ExpiredToken,
    RevokedToken,
    CertificateOutOfTime,
    WrongRole,
}

impl RefusalKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::NoSuchMethod,
        Self::PlainConnection,
        Self::NoToken,
        Self::DamagedToken,
        Self::UnknownToken,
        Self::ExpiredToken,
        Self::RevokedToken,
        Self::CertificateOutOfTime,
        Self::WrongRole,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoSuchMethod => "no such method",
            Self::PlainConnection => "plain connection",
            Self::NoToken => "no token",
            Self::DamagedToken => "damaged token",
            Self::UnknownToken => "unknown token",
            Self::ExpiredToken => "expired token",
            Self::RevokedToken => "revoked token",
            Self::CertificateOutOfTime => "certificate out of time",
            Self::WrongRole => "wrong role",
        }
    }
}

/// Why a call was refused: in short, for the log, and in full, for the caller.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(super) kind: RefusalKind,
    pub(super) status: Status,
}

/// Nobody knows who calls.
pub(super) fn unknown(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal {
        kind,
        status: Status::unauthenticated(message),
    }
}
