//! The searches that may want workers, in the order in which they were created. Plain data with time as an
//! argument; the dispatcher owns it. A search that has ended is not kept: thousands of them cost nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use espalier_common::ids::{SearchId, TrialNumber};
use espalier_core::dispatch::{self, Demand, Grant, Retry};
use espalier_core::search::WaitingRetry;
use tokio::time::Instant;

use super::{Answered, SearchSummary};
use crate::actors::search::SearchLink;

/// A search as the dispatcher sees it.
#[derive(Debug)]
pub(super) struct OpenSearch {
    pub(super) link: SearchLink,
    pub(super) summary: SearchSummary,
    /// Slots of Lease requests that the search has not answered yet.
    promised: u32,
    /// The retries among them.
    promised_retries: BTreeSet<TrialNumber>,
    /// When a retry may go where it failed before, with the failures it had when that was decided.
    rested_at: BTreeMap<TrialNumber, (u32, Instant)>,
    /// A slot that it could have used went to another search, since it had nothing ready.
    outrun: bool,
}

impl OpenSearch {
    /// What the search could have leased now, on top of what is promised.
    pub(super) fn demand(&self, retry: impl Fn(&WaitingRetry) -> Retry) -> Demand {
        let profile = &self.link.profile;
        let waiting = &self.summary.waiting;
        Demand {
            search: profile.id,
            training: self.training(),
            test: waiting.test && self.promised == 0,
            retries: self.retries().map(retry).collect(),
            running: self.summary.running.saturating_add(self.promised),
            parallel: self.summary.parallel,
            weight: self.summary.weight,
            labels: profile.definition.spec.worker.labels.clone(),
            evaluator: profile.evaluator.clone(),
            dataset: profile.dataset,
        }
    }

    /// Training jobs that any worker may get and that are not promised.
    fn training(&self) -> u32 {
        // Trials are numbered in 32 bits, so there are no more retries.
        let again = u32::try_from(self.promised_retries.len()).unwrap_or(u32::MAX);
        let promised = self.promised.saturating_sub(again);
        self.summary.waiting.training.saturating_sub(promised)
    }

    /// Retries that are not promised.
    fn retries(&self) -> impl Iterator<Item = &WaitingRetry> {
        let retries = self.summary.waiting.retries.iter();
        retries.filter(|retry| !self.promised_retries.contains(&retry.trial))
    }

    pub(super) fn has_work(&self) -> bool {
        let test = self.summary.waiting.test && self.promised == 0;
        self.training() > 0 || test || self.retries().next().is_some()
    }

    /// Whether it is to have a proposal ready though no slot waits for it. Between two that share workers, each slot
    /// would else go to the one that was quicker the last time, and so for ever.
    pub(super) fn is_to_be_ready(&self) -> bool {
        self.outrun && self.summary.would_ask
    }

    /// Whether it may use slots, now or later.
    fn competes(&self) -> bool {
        self.summary.would_ask || self.has_work()
    }

    /// Whether something of it is to run and nothing does.
    pub(super) fn stands_still(&self) -> bool {
        self.summary.running == 0 && (self.has_work() || self.summary.would_ask)
    }

    /// Whether a retry has waited long enough to go where it failed before.
    pub(super) fn is_rested(&self, trial: TrialNumber, now: Instant) -> bool {
        let rested = self.rested_at.get(&trial);
        rested.is_none_or(|(_, rested)| *rested <= now)
    }

    /// When the next retry has waited long enough.
    pub(super) fn next_rested(&self, now: Instant) -> Option<Instant> {
        let times = self.rested_at.values().map(|(_, rested)| *rested);
        times.filter(|rested| *rested > now).min()
    }

    /// Notes what a Lease request promises.
    pub(super) fn promise(&mut self, grant: &Grant) {
        self.promised = self.promised.saturating_add(grant.slots);
        self.promised_retries.extend(&grant.retries);
    }

    fn change(&mut self, summary: SearchSummary, answered: &[Answered], now: Instant) {
        self.summary = summary;
        for answered in answered {
            self.promised = self.promised.saturating_sub(answered.slots);
            for trial in &answered.retries {
                self.promised_retries.remove(trial);
            }
        }
        self.note_retries(now);
    }

    /// A retry waits from when it is heard of, and anew when it has failed once more.
    fn note_retries(&mut self, now: Instant) {
        let before = std::mem::take(&mut self.rested_at);
        for retry in &self.summary.waiting.retries {
            let known = before.get(&retry.trial).copied();
            let known = known.filter(|(failures, _)| *failures == retry.failures);
            let wait = Duration::from_millis(dispatch::retry_wait_ms(retry.failures));
            let rested = known.unwrap_or((retry.failures, now + wait));
            self.rested_at.insert(retry.trial, rested);
        }
    }
}

/// The searches that have not ended.
#[derive(Debug, Default)]
pub(super) struct OpenSearches {
    by_age: BTreeMap<u64, OpenSearch>,
    ages: HashMap<SearchId, u64>,
    next_age: u64,
}

impl OpenSearches {
    /// A search is there, unless it has ended already.
    pub(super) fn open(&mut self, link: SearchLink, summary: SearchSummary, now: Instant) {
        if summary.finished {
            return;
        }
        self.ages.insert(link.profile.id, self.next_age);
        let mut open = OpenSearch {
            link,
            summary,
            promised: 0,
            promised_retries: BTreeSet::new(),
            rested_at: BTreeMap::new(),
            outrun: false,
        };
        open.note_retries(now);
        self.by_age.insert(self.next_age, open);
        self.next_age += 1;
    }

    /// A search is somewhere else; one that has ended is forgotten.
    pub(super) fn change(
        &mut self,
        id: SearchId,
        summary: SearchSummary,
        answered: &[Answered],
        now: Instant,
    ) {
        if summary.finished {
            if let Some(age) = self.ages.remove(&id) {
                self.by_age.remove(&age);
            }
        } else if let Some(open) = self.get_mut(id) {
            open.change(summary, answered, now);
        }
    }

    pub(super) fn get(&self, id: SearchId) -> Option<&OpenSearch> {
        self.by_age.get(self.ages.get(&id)?)
    }

    pub(super) fn get_mut(&mut self, id: SearchId) -> Option<&mut OpenSearch> {
        self.by_age.get_mut(self.ages.get(&id)?)
    }

    /// A slot went to `winner`; `could` says who else could have used it.
    pub(super) fn note_outrun(&mut self, winner: SearchId, could: impl Fn(&OpenSearch) -> bool) {
        for open in self.by_age.values_mut() {
            let had_nothing_ready = open.summary.would_ask && !open.has_work();
            if had_nothing_ready && !open.outrun && open.link.profile.id != winner {
                open.outrun = could(open);
            }
        }
    }

    /// Nobody is outrun by none.
    pub(super) fn forget_outrun(&mut self) {
        let competing = self.by_age.values().filter(|open| open.competes());
        if competing.take(2).count() < 2 {
            for open in self.by_age.values_mut() {
                open.outrun = false;
            }
        }
    }

    /// The oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenSearch> {
        self.by_age.values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use espalier_common::ids::WorkerId;
    use espalier_core::search::{Definition, Event, Search, WaitingJobs};
    use tokio::sync::{mpsc, watch};
    use uuid::Uuid;

    use super::*;
    use crate::actors::search::SearchProfile;

    const SPEC: &str = "
name: some
hyperparameters: {x: {range: [0.0, 1.0]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 9}
";

    fn link(number: u128) -> SearchLink {
        let spec = espalier_common::spec::read(SPEC, "spec.yaml").unwrap();
        let definition = Box::new(Definition::new(spec, SPEC.to_owned(), None, None));
        let id = SearchId(Uuid::from_u128(number));
        let search = Search::from_first_event(id, &Event::SearchCreated { definition }, 0);
        SearchLink {
            profile: Arc::new(SearchProfile::of(&search.unwrap())),
            mailbox: mpsc::channel(1).0,
            demand: watch::channel(0).0,
        }
    }

    fn summary(training: u32, retry_failures: Option<u32>) -> SearchSummary {
        let retry = |failures| WaitingRetry {
            trial: TrialNumber(7),
            test: false,
            failures,
            failed_on: BTreeSet::from([WorkerId(Uuid::from_u128(1))]),
        };
        SearchSummary {
            waiting: WaitingJobs {
                training,
                test: false,
                retries: retry_failures.map(retry).into_iter().collect(),
            },
            ..SearchSummary::default()
        }
    }

    fn id(number: u128) -> SearchId {
        SearchId(Uuid::from_u128(number))
    }

    #[test]
    fn searches_that_have_ended_are_not_kept() {
        let now = Instant::now();
        let mut searches = OpenSearches::default();
        let finished = SearchSummary {
            finished: true,
            ..SearchSummary::default()
        };
        for number in 0..100 {
            searches.open(link(number), summary(1, None), now);
            searches.open(link(1_000 + number), finished.clone(), now);
        }
        assert_eq!(searches.iter().count(), 100);
        for number in 0..99 {
            searches.change(id(number), finished.clone(), &[], now);
        }
        let left: Vec<SearchId> = searches.iter().map(|open| open.link.profile.id).collect();
        assert_eq!(left, [id(99)]);
        assert_eq!(searches.ages.len(), 1);
    }

    #[test]
    fn what_is_promised_is_not_promised_twice() {
        let now = Instant::now();
        let mut searches = OpenSearches::default();
        searches.open(link(1), summary(2, Some(1)), now);
        let open = searches.get_mut(id(1)).unwrap();
        open.promise(&Grant {
            worker: WorkerId(Uuid::from_u128(2)),
            search: id(1),
            slots: 2,
            can_test: false,
            can_resume: false,
            retries: BTreeSet::from([TrialNumber(7)]),
        });
        assert_eq!(open.training(), 1);
        assert_eq!(open.retries().count(), 0);
        let answered = Answered {
            slots: 2,
            retries: BTreeSet::from([TrialNumber(7)]),
        };
        searches.change(id(1), summary(1, None), &[answered], now);
        let open = searches.get(id(1)).unwrap();
        assert_eq!(open.training(), 1);
        assert!(open.has_work());
    }

    #[test]
    fn a_retry_rests_longer_after_each_failure() {
        let now = Instant::now();
        let mut searches = OpenSearches::default();
        searches.open(link(1), summary(0, Some(1)), now);
        let open = searches.get(id(1)).unwrap();
        assert!(!open.is_rested(TrialNumber(7), now));
        let first = open.next_rested(now).unwrap();
        assert!(open.is_rested(TrialNumber(7), first));
        // The same failure told once more does not begin the wait anew; a new one does.
        let later = first + Duration::from_secs(100);
        searches.change(id(1), summary(5, Some(1)), &[], later);
        let open = searches.get(id(1)).unwrap();
        assert!(open.is_rested(TrialNumber(7), later));
        searches.change(id(1), summary(5, Some(2)), &[], later);
        let open = searches.get(id(1)).unwrap();
        assert!(open.next_rested(later).unwrap() - later > first - now);
    }
}
