//! The tokens that a coordinator makes without being asked: at its first start one for each role, one for admins
//! when none is left, or those that a folder of tokens lacks.

use std::path::Path;

use espalier_runtime::tls::{JoinToken, read_private, write_private};

use super::ServerError;
use crate::access::{Role, Standing};
use crate::clock::now_ms;
use crate::grpc::{AccessApi, NewToken};

/// What people read in the list of tokens.
const LABEL: &str = "made by espalier serve";

/// Makes what is missing. The texts of tokens that are in no folder are the answer: they are nowhere else.
pub(super) async fn first_tokens(
    api: &AccessApi,
    folder: Option<&Path>,
) -> Result<Vec<(Role, String)>, ServerError> {
    if api.access.pinned().is_none() {
        return Ok(Vec::new());
    }
    let Some(folder) = folder else {
        // Without a valid token for admins nobody could ever make another one: whoever starts the coordinator
        // may.
        let roles = match (api.access.tokens().len(), has_admin(api)) {
            (0, _) => &Role::ALL[..],
            (_, false) => &[Role::Admin],
            (_, true) => &[],
        };
        let mut made = Vec::new();
        for &role in roles {
            made.push((role, create(api, role).await?));
        }
        return Ok(made);
    };
    for role in Role::ALL {
        let path = folder.join(format!("{role}.token"));
        let kept = read_private(&path)?;
        if kept.is_none_or(|text| !is_valid(api, role, &text)) {
            write_private(&path, &format!("{}\n", create(api, role).await?))?;
            tracing::info!(path = %path.display(), role = %role, "token written to a file");
        }
    }
    Ok(Vec::new())
}

fn has_admin(api: &AccessApi) -> bool {
    let now = now_ms();
    let all = api.access.tokens().all();
    all.iter()
        .any(|known| known.token.role == Role::Admin && known.standing(now) == Standing::Valid)
}

/// Whether a text is a token of this coordinator with this role.
fn is_valid(api: &AccessApi, role: Role, text: &str) -> bool {
    let Ok(token) = text.parse::<JoinToken>() else {
        return false;
    };
    let known = api.access.tokens().of_secret(&token.secret);
    Some(token.authority) == api.access.pinned()
        && known.is_some_and(|known| {
            known.token.role == role && known.standing(now_ms()) == Standing::Valid
        })
}

async fn create(api: &AccessApi, role: Role) -> Result<String, ServerError> {
    let new = NewToken {
        role,
        ttl: None,
        label: LABEL.to_owned(),
    };
    let made = api.create(new).await;
    let (_, text) = made.map_err(|error| ServerError::Failed(error.to_string()))?;
    Ok(text)
}
