//! Secrets that are given to a program: from a flag, the environment or a file, and out of the list of
//! processes. May import std and clap.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::tls::{JoinToken, TokenError};

/// The variable that holds a token.
pub const TOKEN_VARIABLE: &str = "ESPALIER_TOKEN";
/// The variable that names a file with a token.
pub const TOKEN_FILE_VARIABLE: &str = "ESPALIER_TOKEN_FILE";
const TOKEN_FLAG: &str = "--token";
/// The largest file of a token.
const MAX_FILE_BYTES: u64 = 4_096;

/// The options that bring a token; flatten them into a command's own.
#[derive(Clone, Default, clap::Args)]
pub struct TokenArgs {
    /// The token by which the coordinator knows this program; it does not stay in the list of processes
    #[arg(long, global = true, env = TOKEN_VARIABLE, hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A file with the token; `-` is stdin
    #[arg(long, global = true, env = TOKEN_FILE_VARIABLE, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
}

impl std::fmt::Debug for TokenArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenArgs")
            .field("token", &self.token.is_some())
            .field("token_file", &self.token_file)
            .finish()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The text is none.
    #[error("--token: {0}")]
    Token(TokenError),
    /// The file cannot be read, or holds something else.
    #[error("--token-file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl TokenArgs {
    /// The token that was given, if one was.
    ///
    /// # Errors
    /// [`SecretError`], which never holds the text.
    pub fn read(&self) -> Result<Option<JoinToken>, SecretError> {
        // A variable that is set to nothing is as good as none.
        if let Some(text) = self.token.as_deref().filter(|text| !text.trim().is_empty()) {
            return text.parse().map(Some).map_err(SecretError::Token);
        }
        let Some(path) = self.token_file.as_deref() else {
            return Ok(None);
        };
        let refused = |reason: String| SecretError::File {
            path: path.to_owned(),
            reason,
        };
        let text = read_file(path).map_err(|error| refused(error.to_string()))?;
        let token = text.parse::<JoinToken>();
        token.map(Some).map_err(|error| refused(error.to_string()))
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;

    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path)?;
        file.take(MAX_FILE_BYTES).read_to_string(&mut text)
    };
    read.map(|_| text)
}

/// Starts this program once more, in this process, when a token stands in its command line: with the token in
/// the environment, which other users of the machine cannot read. To be called early in `main`.
///
/// # Errors
/// The program cannot be started again.
pub fn hide_from_process_list() -> std::io::Result<()> {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let Some((token, rest)) = without_token(arguments.collect()) else {
        return Ok(());
    };
    Err(start_again(name, rest, &token))
}

#[cfg(unix)]
fn start_again(name: Option<OsString>, arguments: Vec<OsString>, token: &OsStr) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;

    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error,
    };
    let mut command = std::process::Command::new(own);
    if let Some(name) = name {
        command.arg0(name);
    }
    command
        .args(arguments)
        .env(TOKEN_VARIABLE, token)
        .env_remove(TOKEN_FILE_VARIABLE)
        .exec()
}

/// The last token of a command line, and the line without tokens. None: there is none.
fn without_token(arguments: Vec<OsString>) -> Option<(OsString, Vec<OsString>)> {
    let (mut token, mut rest) = (None, Vec::with_capacity(arguments.len()));
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments);
            break;
        }
        let inline = argument
            .to_str()
            .and_then(|text| text.strip_prefix(TOKEN_FLAG)?.strip_prefix('='));
        if let Some(inline) = inline {
            token = Some(OsString::from(inline));
        } else if argument == TOKEN_FLAG {
            // Without a value it is the parser's to say so.
            token = Some(arguments.next()?);
        } else {
            rest.push(argument);
        }
    }
    token.map(|token| (token, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Option<(String, String)> {
        let arguments = line.split_whitespace().map(OsString::from).collect();
        let (token, rest) = without_token(arguments)?;
        let rest: Vec<_> = rest.iter().map(|word| word.to_string_lossy()).collect();
        Some((token.to_string_lossy().into_owned(), rest.join(" ")))
    }

    #[test]
    fn a_token_is_taken_out_of_a_command_line() {
        let found = |token: &str, rest: &str| Some((token.to_owned(), rest.to_owned()));
        assert_eq!(
            split("--join a --token t --slots 2"),
            found("t", "--join a --slots 2")
        );
        assert_eq!(split("login a --token=t"), found("t", "login a"));
        assert_eq!(split("--token t --token u"), found("u", ""));
        assert_eq!(split("--join a --token-file t"), None);
        assert_eq!(split("list -- --token t"), None);
        assert_eq!(split("list --token"), None);
    }

    #[test]
    fn an_error_about_a_token_does_not_show_it() {
        let args = TokenArgs {
            token: Some("hunter2".to_owned()),
            token_file: None,
        };
        let error = args.read().unwrap_err().to_string();
        assert!(
            error.contains("--token") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(!format!("{args:?}").contains("hunter2"));
        let empty = TokenArgs {
            token: Some(" ".to_owned()),
            token_file: None,
        };
        assert!(empty.read().unwrap().is_none());
    }

    #[test]
    fn a_token_comes_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = JoinToken {
            authority: crate::tls::Fingerprint::of(b"a"),
            secret: crate::tls::Secret::new().unwrap(),
        };
        std::fs::write(&path, format!("{}\n", token.reveal())).unwrap();
        let args = TokenArgs {
            token: None,
            token_file: Some(path),
        };
        assert_eq!(args.read().unwrap(), Some(token));
        let missing = TokenArgs {
            token: None,
            token_file: Some(folder.path().join("none")),
        };
        assert!(missing.read().unwrap_err().to_string().contains("none"));
    }
}
