//! The options of commands about who may do what: `login`, `token`, and what `serve` takes for TLS.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use espalier_common::spec::time_ms;
use espalier_coordinator::{CertificateSource, Role, TlsMode};

use crate::cli::output::OutputArgs;

/// The shortest life of a worker's certificate: it is renewed well before its end.
const MIN_CERTIFICATE_MS: u64 = 1_000;
/// The longest one: thirty days.
const MAX_CERTIFICATE_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// The shortest life of a token.
const MIN_TTL: Duration = Duration::from_secs(1);

/// When TLS is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Tls {
    /// Beyond loopback, and not on it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never; refused beyond loopback.
    Off,
}

impl Tls {
    pub(in crate::cli) fn mode(self) -> TlsMode {
        match self {
            Self::Auto => TlsMode::Auto,
            Self::On => TlsMode::On,
            Self::Off => TlsMode::Off,
        }
    }
}

/// What `serve` takes for TLS.
#[derive(Debug, Args)]
pub(in crate::cli) struct TlsArgs {
    /// Whether connections are encrypted and callers need a token
    #[arg(long, env = "ESPALIER_TLS", value_enum, default_value_t)]
    pub(in crate::cli) tls: Tls,
    /// A certificate of your own, in PEM, for the DNS name espalier-coordinator [default: one that is made]
    #[arg(long, env = "ESPALIER_TLS_CERT", value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub(in crate::cli) tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, in PEM
    #[arg(
        long,
        env = "ESPALIER_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub(in crate::cli) tls_key: Option<PathBuf>,
    /// The certificate of the authority that issued --tls-cert, in PEM; clients trust no other
    #[arg(
        long,
        env = "ESPALIER_TLS_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub(in crate::cli) tls_ca: Option<PathBuf>,
    /// Keep a token for each role in this folder, as admin.token, viewer.token and worker.token, instead of
    /// printing them at the first start
    #[arg(long, env = "ESPALIER_TOKEN_DIR", value_name = "DIR")]
    pub(in crate::cli) token_dir: Option<PathBuf>,
    /// How long a worker's certificate is valid; workers renew it well before [default: 86400000]
    #[arg(long, env = "ESPALIER_WORKER_CERTIFICATE_MS", value_name = "MS", value_parser = clap::value_parser!(u64).range(MIN_CERTIFICATE_MS..=MAX_CERTIFICATE_MS))]
    pub(in crate::cli) worker_certificate_ms: Option<u64>,
}

impl TlsArgs {
    /// Where the certificate comes from.
    pub(in crate::cli) fn certificate(&self) -> Result<CertificateSource, String> {
        match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (Some(certificate), Some(key), Some(authority)) => Ok(CertificateSource::Own {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: authority.clone(),
            }),
            (None, None, None) => Ok(CertificateSource::Made),
            // Of flags clap says so; this is about a file.
            _ => Err(
                "tls_cert, tls_key and tls_ca belong together: give all three, or none".to_owned(),
            ),
        }
    }
}

/// Keep a coordinator and a token as a context, so that other commands need neither
///
/// Asks the coordinator first. The context becomes the current one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier login coordinator.example.org:7777 --token espalier1_…
  espalier login 10.0.0.5:7777 --token-file admin.token --name lab
  espalier list --context lab")]
pub(in crate::cli) struct LoginArgs {
    /// The coordinator: host:port
    #[arg(value_name = "ADDRESS")]
    pub(in crate::cli) coordinator: String,
    /// What the context is called [default: ADDRESS]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Make, list and revoke tokens; for admins
#[derive(Debug, Args)]
pub(in crate::cli) struct TokensArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: TokenCommand,
}

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    Create(TokenCreateArgs),
    /// List tokens, those that have ended included; their secrets are kept nowhere
    List(TokenListArgs),
    Revoke(TokenRevokeArgs),
}

/// Make a token and print it, this once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier token create --role worker --ttl 1h
  espalier token create --role viewer --ttl never --label dashboard > viewer.token")]
pub(in crate::cli) struct TokenCreateArgs {
    /// What whoever has it may do: admin, viewer (looks only), or worker (joins)
    #[arg(long, value_name = "ROLE")]
    pub(in crate::cli) role: Role,
    /// How long it can be used: 90s, 10m, 8h, 30d, or never. A worker that has joined stays
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = ttl)]
    pub(in crate::cli) ttl: Ttl,
    /// What it is for, to be read in the list
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(in crate::cli) label: String,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// List tokens.
#[derive(Debug, Args)]
pub(in crate::cli) struct TokenListArgs {
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// End a token now, and cut off whoever uses it
///
/// Workers that joined by it are cut off within a heartbeat, and their trials run elsewhere.
#[derive(Debug, Args)]
pub(in crate::cli) struct TokenRevokeArgs {
    /// The token's id, as `token list` shows it
    #[arg(value_name = "ID")]
    pub(in crate::cli) id: String,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// How long a token can be used; none: without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Ttl(pub(in crate::cli) Option<Duration>);

fn ttl(text: &str) -> Result<Ttl, String> {
    if text == "never" {
        return Ok(Ttl(None));
    }
    let ms = time_ms(text).map_err(|error| format!("{error}; or never"))?;
    let ttl = Duration::from_millis(ms);
    if ttl < MIN_TTL {
        return Err("a token is good for at least a second".to_owned());
    }
    Ok(Ttl(Some(ttl)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_tokens_have_units() {
        let seconds = |text| ttl(text).unwrap().0.map(|ttl| ttl.as_secs());
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("8h"), Some(28_800));
        assert_eq!(seconds("30d"), Some(2_592_000));
        assert_eq!(seconds("never"), None);
        for wrong in [
            "",
            "5",
            "h",
            "0s",
            "-1h",
            "1w",
            "99999999999999999999d",
            "999999d",
        ] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }
}
