//! Tokens as the dispatcher has to do with them: it writes the cluster's stream, and it holds what workers lose
//! when their token is revoked.

use std::collections::BTreeSet;

use espalier_common::ids::WorkerId;
use espalier_core::search::ReleaseReason;
use tokio::sync::oneshot;

use super::task::Dispatcher;
use crate::access::{MAX_TOKENS, Token, TokenId};
use crate::actors::cluster::{ClusterEvent, Departure};
use crate::actors::error::CallError;

type Reply = oneshot::Sender<Result<(), CallError>>;

impl Dispatcher {
    pub(super) fn create_token(&mut self, token: Token, reply: Reply) {
        if self.cluster.tokens().len() >= MAX_TOKENS {
            let message = format!("there are {MAX_TOKENS} tokens, which is the most there can be");
            let _ = reply.send(Err(CallError::TooMany(message)));
            return;
        }
        let event = ClusterEvent::TokenCreated { token };
        self.events.push((event, Some(reply)));
    }

    /// Its calls are refused from now on; what its workers hold runs elsewhere.
    pub(super) fn revoke_token(&mut self, token: TokenId, reply: Reply) {
        let names = self.cluster.names();
        let registered = self.registry.iter().map(|one| one.registration.worker);
        let workers: BTreeSet<WorkerId> = registered
            .chain(self.leases.holders())
            .filter(|worker| names.joined_by(*worker, &token))
            .collect();
        let event = ClusterEvent::TokenRevoked { token };
        self.events.push((event, Some(reply)));
        for worker in workers {
            self.part(worker, ReleaseReason::WorkerLeft);
            self.registry.remove(worker);
            let event = ClusterEvent::left(worker, Departure::CutOff);
            self.events.push((event, None));
        }
    }
}
