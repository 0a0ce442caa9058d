//! `espalier login` and `espalier token`.

use espalier_proto::v1;
use serde::Serialize;

use super::args::{self, LoginArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs};
use super::client::Client;
use super::contexts::{Contexts, Saved, Target, contexts_path};
use super::error::CliError;
use super::output::{stdout, table_width};
use super::render::{clean, finish, table, utc};

/// A token, for machines. Its keys are stable.
#[derive(Serialize)]
struct TokenView<'a> {
    id: &'a str,
    role: &'a str,
    label: &'a str,
    created_ms: u64,
    expires_ms: Option<u64>,
    state: &'a str,
    /// Only of one that was made just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> TokenView<'a> {
    fn new(token: &'a v1::Token, secret: Option<&'a str>) -> Self {
        Self {
            id: &token.id,
            role: &token.role,
            label: &token.label,
            created_ms: token.created_ms,
            expires_ms: Some(token.expires_ms).filter(|&end| end > 0),
            state: &token.state,
            token: secret,
        }
    }
}

/// What `login` has kept, for machines. Its keys are stable.
#[derive(Serialize)]
struct LoginView<'a> {
    context: &'a str,
    address: &'a str,
    role: &'a str,
    file: String,
}

/// `espalier login`.
pub(super) async fn login(
    token: &espalier_runtime::secrets::TokenArgs,
    args: &LoginArgs,
) -> Result<(), CliError> {
    let usage = |message: String| CliError::Usage(message);
    let address = args::address(&args.coordinator)
        .map_err(|error| usage(format!("{}: {error}", args.coordinator)))?;
    let token = token.read().map_err(|error| usage(error.to_string()))?;
    let token = token.ok_or_else(|| {
        usage("give the token: --token, --token-file, or ESPALIER_TOKEN".to_owned())
    })?;
    let target = Target::new(&address, Some(token.clone()))?;
    let role = Client::connect(&target).await?.who_am_i().await?.role;
    if role == "worker" {
        return Err(CliError::Refused(
            "this token is for workers: espalier-worker --join ADDRESS --token …; users need one of an admin \
             or a viewer"
                .to_owned(),
        ));
    }
    let path = contexts_path()?;
    let host = target.url.trim_start_matches("https://");
    let name = args.name.as_deref().unwrap_or(host);
    let saved = Saved {
        address: target.url.clone(),
        token: token.reveal(),
    };
    Contexts::load(&path)?.save(&path, name, saved)?;
    let mut out = stdout();
    if args.output.json() {
        out.json(&LoginView {
            context: name,
            address: &target.url,
            role: &role,
            file: path.display().to_string(),
        })?;
    } else {
        out.line(&format!(
            "context {name} ({role} at {}) is the current one, kept in {}",
            target.url,
            path.display()
        ))?;
    }
    out.flush()
}

/// `espalier token`.
pub(super) async fn token(client: &Client, command: &TokenCommand) -> Result<(), CliError> {
    match command {
        TokenCommand::Create(args) => create(client, args).await,
        TokenCommand::List(args) => list(client, args).await,
        TokenCommand::Revoke(args) => revoke(client, args).await,
    }
}

async fn create(client: &Client, args: &TokenCreateArgs) -> Result<(), CliError> {
    let ttl = args.ttl.0.map_or(0, |ttl| ttl.as_secs() * 1_000);
    let request = v1::CreateTokenRequest {
        role: args.role.word().to_owned(),
        ttl_ms: ttl,
        label: args.label.clone(),
    };
    let reply = client.create_token(request).await?;
    let token = reply.token.unwrap_or_default();
    let mut out = stdout();
    if args.output.json() {
        out.json(&TokenView::new(&token, Some(&reply.secret)))?;
    } else {
        // Alone on stdout, so that it can be sent to a file.
        out.line(&reply.secret)?;
    }
    out.flush()
}

async fn list(client: &Client, args: &TokenListArgs) -> Result<(), CliError> {
    let tokens = client.list_tokens().await?;
    let mut out = stdout();
    if args.output.json() {
        let views: Vec<TokenView> = tokens
            .iter()
            .map(|token| TokenView::new(token, None))
            .collect();
        out.json(&views)?;
    } else {
        let header = ["id", "role", "state", "created", "expires", "label"];
        let mut rows = table(table_width(), &header, &[]);
        for token in &tokens {
            let expires = match token.expires_ms {
                0 => "never".to_owned(),
                end => utc(end),
            };
            rows.add_row([
                token.id.clone(),
                token.role.clone(),
                token.state.clone(),
                utc(token.created_ms),
                expires,
                clean(&token.label, 64),
            ]);
        }
        out.text(&finish(&rows))?;
    }
    out.flush()
}

async fn revoke(client: &Client, args: &TokenRevokeArgs) -> Result<(), CliError> {
    let token = client.revoke_token(&args.id).await?;
    let mut out = stdout();
    if args.output.json() {
        out.json(&TokenView::new(&token, None))?;
    } else {
        out.line(&format!("token {} ({}) is revoked", token.id, token.role))?;
    }
    out.flush()
}
