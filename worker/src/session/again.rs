//! Registering again, beside everything else of the session: jobs go on meanwhile and their leases are renewed, since
//! the coordinator decides by their attempts and not by who registered when. May import what the session may.

use tokio::time::Instant;

use super::registration::Unknown;
use super::{Ended, Registration, Session, Welcome};
use crate::error::WorkerError;

impl Session {
    /// Begins to register, unless that is under way or the worker ends.
    pub(super) fn register_again(&mut self, why: Unknown) {
        if self.deadline.is_some() {
            return;
        }
        let Some(mut registration) = self.registration.take() else {
            return;
        };
        // What was delivered meanwhile is none any more.
        registration.name_results(self.earlier.keys());
        let registered = self.registered;
        self.calls.push(Box::pin(async move {
            let outcome = registration.register_again(why).await;
            (registered, Ended::Register(Box::new(registration), outcome))
        }));
    }

    /// It is registered again, or was refused: then there is nothing more to do, but for the jobs that it holds.
    pub(super) fn registered_again(
        &mut self,
        registration: Registration,
        outcome: Result<Welcome, WorkerError>,
    ) -> Result<(), WorkerError> {
        self.registration = Some(registration);
        match outcome {
            Ok(welcome) => {
                self.renew.every = welcome.renew_every;
                self.registered += 1;
                let now = Instant::now();
                self.renew.next = now;
                self.lease.not_before = now;
                // A long poll that broke says nothing about the next one.
                self.lease.waits.reset();
                Ok(())
            }
            Err(WorkerError::NameInUse { .. }) if !self.held.is_empty() => {
                self.register_again(Unknown::Displaced);
                Ok(())
            }
            // Its end says what is left to say.
            Err(_) if self.deadline.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
