//! Who calls, as the guard has found it out, and whether the worker that a message names is the caller.

use espalier_common::ids::WorkerId;
use tonic::Request;

use super::convert::worker;
use crate::access::{Principal, TokenId};
use crate::actors::{CallError, Registration, WorkerNames};

/// The caller and the message of a request.
pub(super) fn opened<T>(request: Request<T>) -> Result<(Principal, T), CallError> {
    let caller = request.extensions().get::<Principal>().cloned();
    let caller =
        caller.ok_or_else(|| CallError::Internal("a call that passed no guard".to_owned()))?;
    Ok((caller, request.into_inner()))
}

/// Under this a client says which user of which machine it works for.
const USER: &str = "espalier-user";
/// The longest name of a user that is taken.
const MAX_USER: usize = 96;

/// The message of a request, and who sent it as far as that is known: the token, and what the client says of its
/// user, which nobody has checked.
pub(super) fn said_by<T>(request: Request<T>) -> Result<(Option<String>, T), CallError> {
    let user = request.metadata().get(USER);
    let user = user.and_then(|value| value.to_str().ok());
    let user = user.map(|user| user.chars().take(MAX_USER).collect::<String>());
    let user = user.filter(|user| !user.is_empty());
    let (caller, message) = opened(request)?;
    let by = match (user, caller) {
        (Some(user), Principal::Token(token, _)) => Some(format!("{user}, token {token}")),
        (None, Principal::Token(token, _)) => Some(format!("token {token}")),
        (user, _) => user,
    };
    Ok((by, message))
}

/// The instance that a message names, if it is the caller's: one that registered under the name that the
/// caller's certificate has. Without TLS whoever calls is believed.
pub(super) fn worker_of(
    names: &WorkerNames,
    caller: &Principal,
    bytes: &[u8],
) -> Result<WorkerId, CallError> {
    let worker = worker(bytes)?;
    let Principal::Worker { name, .. } = caller else {
        return Ok(worker);
    };
    match names.known(worker) {
        Some(known) if *known == **name => Ok(worker),
        Some(known) => Err(other_worker(name, &known)),
        None => Err(CallError::NotRegistered),
    }
}

/// Whether the caller may register so, and the token by which it joined.
pub(super) fn check_worker(
    names: &WorkerNames,
    caller: &Principal,
    registration: &Registration,
) -> Result<Option<TokenId>, CallError> {
    let Principal::Worker { name, token } = caller else {
        return Ok(None);
    };
    if registration.name != *name {
        return Err(other_worker(name, &registration.name));
    }
    match names.known(registration.worker) {
        Some(known) if *known != **name => Err(other_worker(name, &known)),
        _ => Ok(Some(token.clone())),
    }
}

fn other_worker(certificate: &str, claimed: &str) -> CallError {
    CallError::OtherWorker {
        certificate: certificate.to_owned(),
        claimed: claimed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use espalier_common::labels::Labels;
    use uuid::Uuid;

    use super::*;

    fn certificate(name: &str) -> Principal {
        Principal::Worker {
            name: name.to_owned(),
            token: TokenId("t".to_owned()),
        }
    }

    fn registration(worker: u128, name: &str) -> Registration {
        Registration {
            worker: WorkerId(Uuid::from_u128(worker)),
            name: name.to_owned(),
            slots: 1,
            evaluators: BTreeMap::new(),
            device: "cpu".to_owned(),
            version: String::new(),
            labels: Labels::default(),
            token: None,
            home: None,
            results: std::collections::BTreeSet::new(),
        }
    }

    #[test]
    fn a_worker_registers_under_the_name_of_its_certificate_only() {
        let names = WorkerNames::default();
        let mine = registration(1, "a");
        let token = check_worker(&names, &certificate("a"), &mine).unwrap();
        assert_eq!(token, Some(TokenId("t".to_owned())));
        let refused = check_worker(&names, &certificate("b"), &mine).unwrap_err();
        assert!(
            matches!(refused, CallError::OtherWorker { .. }),
            "{refused}"
        );
        assert_eq!(
            check_worker(&names, &Principal::Local, &mine).unwrap(),
            None
        );
    }

    #[test]
    fn a_worker_speaks_for_no_instance_of_another_one() {
        let names = WorkerNames::default();
        names.learn_for_tests(WorkerId(Uuid::from_u128(1)), "a");
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        worker_of(&names, &certificate("a"), one.as_bytes()).unwrap();
        worker_of(&names, &Principal::Local, two.as_bytes()).unwrap();
        let refused = worker_of(&names, &certificate("b"), one.as_bytes()).unwrap_err();
        assert!(
            matches!(refused, CallError::OtherWorker { .. }),
            "{refused}"
        );
        let unknown = worker_of(&names, &certificate("a"), two.as_bytes()).unwrap_err();
        assert!(matches!(unknown, CallError::NotRegistered), "{unknown}");
        // An instance is not taken over by registering it again.
        let stolen = check_worker(&names, &certificate("b"), &registration(1, "b"));
        assert!(
            matches!(stolen, Err(CallError::OtherWorker { .. })),
            "{stolen:?}"
        );
    }
}
