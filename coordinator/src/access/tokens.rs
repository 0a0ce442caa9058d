//! The tokens of a cluster: what the events of its stream say about them. May import the runtime's TLS.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use espalier_runtime::tls::Secret;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// The most tokens of one cluster, those that have ended included: bounds the coordinator's memory.
pub(crate) const MAX_TOKENS: usize = 10_000;

/// What whoever has a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything that users do.
    Admin,
    /// Look at everything, and change nothing.
    Viewer,
    /// Join as a worker.
    Worker,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Viewer, Self::Worker];

    /// Its word on the wire and in commands.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.word() == text);
        role.ok_or_else(|| format!("{text:?} is no role; there are admin, viewer and worker"))
    }
}

/// What a token is called. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TokenId(pub(crate) String);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token as the coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: TokenId,
    pub(crate) role: Role,
    /// What people call it.
    pub(crate) label: String,
    /// The hash of its secret.
    pub(crate) hash: String,
    pub(crate) created_ms: u64,
    /// None: it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_ms: Option<u64>,
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Valid,
    Expired,
    Revoked,
}

impl Standing {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A token, and whether it has been revoked.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) token: Token,
    /// Cancelled when the token is revoked.
    pub(crate) revoked: CancellationToken,
}

impl Known {
    pub(crate) fn standing(&self, now_ms: u64) -> Standing {
        if self.revoked.is_cancelled() {
            Standing::Revoked
        } else if self.token.expires_ms.is_some_and(|end| end <= now_ms) {
            Standing::Expired
        } else {
            Standing::Valid
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    tokens: BTreeMap<TokenId, Known>,
    by_hash: BTreeMap<String, TokenId>,
}

/// Every token. Written by whoever writes the cluster's stream; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Arc<RwLock<Book>>);

impl Tokens {
    /// A token was made.
    pub(crate) fn created(&self, token: Token) {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        book.by_hash.insert(token.hash.clone(), token.id.clone());
        let known = Known {
            revoked: CancellationToken::new(),
            token,
        };
        book.tokens.insert(known.token.id.clone(), known);
    }

    /// A token was revoked: whoever uses it now is cut off.
    pub(crate) fn revoked(&self, id: &TokenId) {
        if let Some(known) = self.find(id) {
            known.revoked.cancel();
        }
    }

    /// Whether a token was revoked, or never was.
    pub(crate) fn is_revoked(&self, id: &TokenId) -> bool {
        self.find(id)
            .is_none_or(|known| known.revoked.is_cancelled())
    }

    /// A token by its id.
    pub(crate) fn find(&self, id: &TokenId) -> Option<Known> {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        book.tokens.get(id).cloned()
    }

    /// The token of a secret.
    pub(crate) fn of_secret(&self, secret: &Secret) -> Option<Known> {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let id = book.by_hash.get(&secret.hash())?;
        book.tokens.get(id).cloned()
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<Known> {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Known> = book.tokens.values().cloned().collect();
        all.sort_by(|a, b| {
            let key = |known: &Known| (known.token.created_ms, known.token.id.clone());
            key(a).cmp(&key(b))
        });
        all
    }

    pub(crate) fn len(&self) -> usize {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        book.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, secret: &Secret, expires_ms: Option<u64>) -> Token {
        Token {
            id: TokenId(id.to_owned()),
            role: Role::Viewer,
            label: String::new(),
            hash: secret.hash(),
            created_ms: 1,
            expires_ms,
        }
    }

    #[test]
    fn a_token_is_found_by_its_secret_and_ends_by_time_or_by_revocation() {
        let tokens = Tokens::default();
        let (one, other) = (Secret::new().unwrap(), Secret::new().unwrap());
        tokens.created(token("a", &one, Some(100)));
        assert!(tokens.of_secret(&other).is_none());
        let known = tokens.of_secret(&one).unwrap();
        assert_eq!(known.standing(99), Standing::Valid);
        assert_eq!(known.standing(100), Standing::Expired);
        tokens.revoked(&TokenId("b".to_owned())); // nothing is known of it
        tokens.revoked(&known.token.id);
        assert_eq!(known.standing(99), Standing::Revoked);
    }

    #[test]
    fn the_hash_of_a_secret_is_all_that_is_written() {
        let secret = Secret::new().unwrap();
        let json = serde_json::to_string(&token("a", &secret, None)).unwrap();
        assert!(
            json.contains(&secret.hash()) && !json.contains("secret"),
            "{json}"
        );
    }
}
