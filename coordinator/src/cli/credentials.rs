//! What every call carries: the token, and which user of which machine it is of. May import tonic.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Under this a call says which user of which machine it is of; the coordinator writes it beside what users change.
const USER: &str = "espalier-user";
/// The longest name of a user and a machine.
const MAX_USER: usize = 90;

/// What every call carries.
#[derive(Clone)]
pub(super) struct Credentials {
    bearer: Option<MetadataValue<Ascii>>,
    user: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    /// Those of this user, with a token or without one.
    pub(super) fn of(bearer: Option<MetadataValue<Ascii>>) -> Self {
        Self {
            bearer,
            user: user().parse().ok(),
        }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(user) = &self.user {
            request.metadata_mut().insert(USER, user.clone());
        }
        if let Some(bearer) = &self.bearer {
            request
                .metadata_mut()
                .insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// This user and machine, as `alice@node-1`: what is not plain letters is left out.
fn user() -> String {
    let plain = |text: String| -> String {
        let letters = text.chars().filter(|c| c.is_ascii_graphic());
        letters.take(MAX_USER / 2).collect()
    };
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|name| name.into_string().ok());
    let (user, host) = (
        user.map(plain).unwrap_or_default(),
        host.map(plain).unwrap_or_default(),
    );
    format!(
        "{}@{host}",
        if user.is_empty() { "somebody" } else { &user }
    )
}
