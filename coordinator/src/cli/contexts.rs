//! Contexts: the coordinators and tokens that `espalier login` keeps in a file of the user's, and which of
//! them a command asks. May import the runtime's TLS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use espalier_runtime::tls::{ClientTls, JoinToken, read_private, write_private};
use serde::{Deserialize, Serialize};
use tonic::metadata::{Ascii, MetadataValue};

use super::args::Cli;
use super::error::CliError;

/// Where a coordinator listens when nobody says otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7777";
/// The longest name of a context.
const MAX_NAME: usize = 256;

/// The coordinator that a command asks, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its address, a URL.
    pub(super) url: String,
    /// How to trust it and be trusted; none without TLS.
    pub(super) secured: Option<Secured>,
}

/// What TLS needs.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    /// Whom to trust.
    pub(super) tls: ClientTls,
    /// The token, as it goes with every call. Its `Debug` shows nothing.
    pub(super) bearer: MetadataValue<Ascii>,
}

impl Target {
    /// A coordinator without TLS.
    pub(super) fn plain(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            secured: None,
        }
    }

    /// The coordinator that the command line, the environment or a context names.
    pub(super) fn of(cli: &Cli) -> Result<Self, CliError> {
        let token = cli
            .token
            .read()
            .map_err(|error| CliError::Usage(error.to_string()))?;
        if let Some(address) = &cli.address {
            return Self::new(address, token);
        }
        let contexts = Contexts::load(&contexts_path()?)?;
        match (contexts.find(cli.context.as_deref())?, token) {
            (Some(context), None) => {
                let token = context.token.parse::<JoinToken>().map_err(|error| {
                    CliError::Usage(format!(
                        "the context's token: {error}; use `espalier login` again"
                    ))
                })?;
                Self::new(&context.address, Some(token))
            }
            (Some(context), Some(token)) => Self::new(&context.address, Some(token)),
            (None, token) => Self::new(DEFAULT_ADDRESS, token),
        }
    }

    /// A coordinator at an address. With a token it is asked over TLS, and without over nothing: a token never
    /// travels in the clear.
    pub(super) fn new(address: &str, token: Option<JoinToken>) -> Result<Self, CliError> {
        let usage = |message: String| CliError::Usage(format!("{address}: {message}"));
        let (scheme, host) = match address.split_once("://") {
            Some((scheme, host)) => (Some(scheme), host),
            None => (None, address),
        };
        match (scheme, token) {
            (Some("https"), None) => Err(usage(
                "a coordinator with TLS wants a token: `espalier login` once, or ESPALIER_TOKEN, or \
                 --token-file"
                    .to_owned(),
            )),
            (Some("http"), Some(_)) => Err(usage(
                "a token is sent over TLS only: write https://, or leave the token out".to_owned(),
            )),
            (_, None) => Ok(Self::plain(&format!("http://{host}"))),
            (_, Some(token)) => {
                let failed = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
                let bearer = format!("Bearer {}", token.reveal());
                let mut bearer: MetadataValue<Ascii> =
                    bearer.parse().map_err(|error| failed(&error))?;
                bearer.set_sensitive(true);
                let tls = ClientTls::new(token.authority, None).map_err(|error| failed(&error))?;
                Ok(Self {
                    url: format!("https://{host}"),
                    secured: Some(Secured { tls, bearer }),
                })
            }
        }
    }
}

/// A coordinator and a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    pub(super) address: String,
    pub(super) token: String,
}

/// The file of contexts.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Saved>,
}

impl Contexts {
    /// Reads the file; there may be none.
    pub(super) fn load(path: &Path) -> Result<Self, CliError> {
        let text = read_private(path).map_err(|error| CliError::Usage(error.to_string()))?;
        let Some(text) = text else {
            return Ok(Self::default());
        };
        toml::from_str(&text).map_err(|error| {
            // The message of the parser alone: what it shows of the text may be a token.
            CliError::Usage(format!("{}: {}", path.display(), error.message()))
        })
    }

    /// Keeps a context and makes it the current one.
    pub(super) fn save(mut self, path: &Path, name: &str, saved: Saved) -> Result<(), CliError> {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(CliError::Usage(format!(
                "--name: a context's name has 1 to {MAX_NAME} characters"
            )));
        }
        self.context.insert(name.to_owned(), saved);
        self.current = Some(name.to_owned());
        let text = toml::to_string(&self).map_err(|error| CliError::Failed(error.to_string()))?;
        let text = format!("# Kept by `espalier login`. The tokens are secrets.\n{text}");
        write_private(path, &text).map_err(|error| CliError::Failed(error.to_string()))
    }

    /// The named context, or the current one if there is any.
    fn find(&self, name: Option<&str>) -> Result<Option<&Saved>, CliError> {
        let Some(wanted) = name.or(self.current.as_deref()) else {
            return Ok(None);
        };
        let found = self.context.get(wanted);
        if found.is_none() {
            let known: Vec<&str> = self.context.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "there are none yet".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(CliError::Usage(format!(
                "there is no context {wanted:?}; {known}; `espalier login` makes one"
            )));
        }
        Ok(found)
    }
}

/// The file of contexts: in the user's folder of settings.
pub(super) fn contexts_path() -> Result<PathBuf, CliError> {
    let folder = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_CONFIG_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("espalier/contexts.toml"))
        .ok_or_else(|| {
            CliError::Usage("neither XDG_CONFIG_HOME nor HOME is set; give --address".to_owned())
        })
}

#[cfg(test)]
mod tests {
    use espalier_runtime::tls::{Fingerprint, Secret};

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            authority: Fingerprint::of(b"a"),
            secret: Secret::new().unwrap(),
        }
    }

    fn saved(address: &str) -> Saved {
        Saved {
            address: address.to_owned(),
            token: token().reveal(),
        }
    }

    #[test]
    fn a_token_goes_over_tls_only() {
        let target = Target::new("host:1", Some(token())).unwrap();
        assert_eq!(target.url, "https://host:1");
        assert!(target.secured.is_some());
        let target = Target::new("host:1", None).unwrap();
        assert_eq!(
            (target.url.as_str(), target.secured.is_some()),
            ("http://host:1", false)
        );
        assert!(Target::new("http://host:1", Some(token())).is_err());
        assert!(Target::new("https://host:1", None).is_err());
        let text = token();
        let shown = format!("{:?}", Target::new("host:1", Some(text.clone())).unwrap());
        assert!(!shown.contains(&text.reveal()), "{shown}");
    }

    #[test]
    fn the_context_used_last_is_the_current_one_and_the_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("espalier/contexts.toml");
        let load = || Contexts::load(&path).unwrap();
        assert!(load().find(None).unwrap().is_none());
        load().save(&path, "one", saved("a:1")).unwrap();
        load().save(&path, "two", saved("b:2")).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let contexts = load();
        let address = |name| contexts.find(name).unwrap().unwrap().address.clone();
        assert_eq!(address(None), "b:2");
        assert_eq!(address(Some("one")), "a:1");
        let missing = contexts.find(Some("three")).err().unwrap().to_string();
        assert!(missing.contains("one, two"), "{missing}");
        assert!(load().save(&path, "", saved("a:1")).is_err());
    }

    #[test]
    fn a_damaged_file_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        std::fs::write(&path, "current = 3\ntoken = 'hunter2'\n").unwrap();
        let error = Contexts::load(&path).err().unwrap().to_string();
        assert!(
            error.contains("contexts.toml") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
