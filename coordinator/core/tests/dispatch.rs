//! The dispatcher's choice: fair, never more than is there, never to a worker that cannot run the job.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::{Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::Abilities;
use espalier_common::job::JobKind::{self, Test, Train};
use espalier_common::labels::Labels;
use espalier_core::dispatch::{
    Demand, Grant, Health, Offer, Retry, Waiting, explain, pick, retry_wait_ms,
};
use proptest::prelude::*;
use uuid::Uuid;

fn offer(id: u128, slots: u32) -> Offer {
    Offer {
        worker: WorkerId(Uuid::from_u128(id)),
        slots,
        unasked: 0,
        evaluators: BTreeMap::from([("trainer".to_owned(), Abilities::of([Train, Test]))]),
        missing: BTreeSet::new(),
        labels: Labels::default(),
        resting: false,
    }
}

fn demand(id: u128, training: u32, running: u32) -> Demand {
    Demand {
        search: SearchId(Uuid::from_u128(id)),
        training,
        test: false,
        retries: Vec::new(),
        running,
        parallel: None,
        weight: 1,
        labels: Labels::default(),
        evaluator: "trainer".to_owned(),
        dataset: None,
    }
}

fn granted_to(grants: &[Grant], search: u128) -> u32 {
    let search = SearchId(Uuid::from_u128(search));
    let of_search = grants.iter().filter(|grant| grant.search == search);
    of_search.map(|grant| grant.slots).sum()
}

#[test]
fn the_search_with_fewer_running_jobs_catches_up_first() {
    let grants = pick(&[offer(1, 4)], &[demand(1, 10, 3), demand(2, 10, 0)]);
    // 0 to 3 for the younger search, then the older one of equals.
    assert_eq!(granted_to(&grants, 2), 3);
    assert_eq!(granted_to(&grants, 1), 1);
}

#[test]
fn a_worker_that_could_serve_others_is_left_to_them() {
    let data = Digest::of(b"images");
    let mut special = demand(1, 1, 0);
    special.dataset = Some(data);
    let plain = demand(2, 1, 0);
    let mut lacking = offer(2, 1);
    lacking.missing.insert(data);
    for offers in [[offer(1, 1), lacking.clone()], [lacking, offer(1, 1)]] {
        for demands in [
            [special.clone(), plain.clone()],
            [plain.clone(), special.clone()],
        ] {
            let grants = pick(&offers, &demands);
            assert_eq!(grants.len(), 2, "{grants:?}");
        }
    }
}

#[test]
fn scarce_jobs_spread_over_workers() {
    let grants = pick(&[offer(1, 4), offer(2, 4)], &[demand(1, 2, 0)]);
    let slots: Vec<u32> = grants.iter().map(|grant| grant.slots).collect();
    assert_eq!(slots, [1, 1]);
}

#[test]
fn the_parallel_limit_is_kept() {
    let mut limited = demand(1, 10, 3);
    limited.parallel = Some(5);
    assert_eq!(granted_to(&pick(&[offer(1, 8)], &[limited]), 1), 2);
}

#[test]
fn a_test_goes_only_to_an_evaluator_that_tests() {
    let mut last = demand(1, 0, 0);
    last.test = true;
    let mut trains_only = offer(1, 1);
    trains_only
        .evaluators
        .insert("trainer".to_owned(), Abilities::of([Train]));
    assert_eq!(
        pick(std::slice::from_ref(&trains_only), &[last.clone()]),
        []
    );
    let grants = pick(&[trains_only, offer(2, 1)], &[last]);
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].worker, WorkerId(Uuid::from_u128(2)));
    assert!(grants[0].can_test);
}

fn id(number: u128) -> WorkerId {
    WorkerId(Uuid::from_u128(number))
}

/// A trial that failed on worker 1.
fn failed_on_1(elsewhere: bool, rested: bool) -> Retry {
    Retry {
        trial: TrialNumber(7),
        test: false,
        failed_on: BTreeSet::from([id(1)]),
        elsewhere,
        rested,
    }
}

#[test]
fn what_failed_on_a_worker_goes_to_another_one_that_is_there_even_if_it_is_busy() {
    let mut search = demand(1, 0, 0);
    search.retries = vec![failed_on_1(true, true)];
    assert_eq!(pick(&[offer(1, 4)], &[search.clone()]), []);
    let reasons = explain(&search, &[offer(1, 4), offer(2, 0)]);
    assert_eq!(reasons, [Waiting::Retries { jobs: 1 }]);

    let grants = pick(&[offer(1, 4), offer(2, 1)], &[search.clone()]);
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].worker, id(2));
    assert_eq!(grants[0].retries, BTreeSet::from([TrialNumber(7)]));

    // The other jobs of the search do not wait for it.
    search.training = 3;
    let grants = pick(&[offer(1, 4)], &[search]);
    assert_eq!(grants[0].slots, 3);
    assert_eq!(grants[0].retries, BTreeSet::new());
}

#[test]
fn what_failed_on_the_only_worker_goes_there_again_after_a_while() {
    let mut search = demand(1, 0, 0);
    search.retries = vec![failed_on_1(false, false)];
    assert_eq!(pick(&[offer(1, 1)], &[search.clone()]), []);
    search.retries = vec![failed_on_1(false, true)];
    assert_eq!(pick(&[offer(1, 1)], &[search])[0].slots, 1);
    assert!(retry_wait_ms(1) > 0);
    assert!(retry_wait_ms(2) > retry_wait_ms(1));
    assert_eq!(retry_wait_ms(30), retry_wait_ms(1_000), "bounded");
}

#[test]
fn a_paused_worker_gets_nothing_and_is_named_as_the_reason() {
    let mut paused = offer(1, 2);
    paused.resting = true;
    let search = demand(1, 3, 0);
    let (offers, demands) = ([paused], [search]);
    assert_eq!(pick(&offers, &demands), []);
    let ([paused], [search]) = (offers, demands);
    let reasons = explain(&search, &[paused, offer(2, 0)]);
    assert_eq!(reasons, [Waiting::Resting { workers: 1 }]);
}

#[test]
fn a_worker_on_which_jobs_keep_failing_is_paused_longer_each_time() {
    let mut health = Health::default();
    assert_eq!(
        health.fault(1_000),
        None,
        "one crash may be the candidate's"
    );
    assert_eq!(health.pause_left_ms(1_000), None);
    let mut now = 2_000;
    let mut pauses = Vec::new();
    for _ in 0..20 {
        let pause = health.fault(now).unwrap();
        assert_eq!(health.fault(now + 1), None, "it began before the pause");
        assert_eq!(health.pause_left_ms(now + 1), Some(pause - 1));
        now += pause;
        assert_eq!(health.pause_left_ms(now), None);
        pauses.push(pause);
    }
    assert!(pauses[1] > pauses[0] && pauses.is_sorted());
    assert_eq!(pauses[19], pauses[18], "bounded");
    assert!(!health.is_forgotten(now + 60_000));
    assert!(health.is_forgotten(now + 24 * 3_600_000));
}

#[test]
fn the_reason_why_jobs_wait_is_named() {
    let data = Digest::of(b"images");
    let mut search = demand(1, 5, 2);
    search.dataset = Some(data);
    assert_eq!(explain(&search, &[]), [Waiting::NoWorker]);

    let mut other = offer(1, 1);
    other.evaluators = BTreeMap::from([("mine".to_owned(), Abilities::of([Train]))]);
    let reasons = explain(&search, &[other]);
    assert_eq!(
        reasons[0].to_string(),
        "no worker offers evaluator 'trainer'"
    );

    let mut lacking = offer(2, 1);
    lacking.missing.insert(data);
    let busy = offer(3, 0);
    let reasons = explain(&search, &[lacking.clone(), busy.clone()]);
    assert_eq!(
        reasons[0].to_string(),
        "all slots of the 1 worker that fits are busy"
    );
    assert_eq!(
        reasons[1].to_string(),
        format!(
            "1 of 2 workers lack the data set (fingerprint {}); put it under their --data-root",
            data.short()
        )
    );
    // As one whose job was dropped a moment ago.
    let mut ending = offer(5, 0);
    ending.unasked = 1;
    assert_eq!(
        explain(&search, &[busy.clone(), ending]),
        [Waiting::NotReady { workers: 1 }]
    );
    assert_eq!(explain(&search, &[lacking, busy, offer(4, 1)]), []);

    search.parallel = Some(2);
    assert_eq!(
        explain(&search, &[offer(4, 1)])[0].to_string(),
        "parallel limit 2 reached"
    );

    let mut last = demand(1, 0, 0);
    last.test = true;
    let mut trains_only = offer(1, 1);
    trains_only
        .evaluators
        .insert("trainer".to_owned(), Abilities::of([Train]));
    assert_eq!(
        explain(&last, &[trains_only]),
        [Waiting::NoTest("trainer".to_owned())]
    );
    assert_eq!(explain(&demand(1, 0, 0), &[]), []);
}

const NAMES: [&str; 3] = ["trainer", "mine", "other"];

fn fingerprint(index: u8) -> Digest {
    Digest::of(&[index])
}

prop_compose! {
    fn any_offer()(
        slots in 0_u32..5,
        evaluators in prop::collection::btree_map(
            prop::sample::select(&NAMES[..]),
            (prop::collection::btree_set(prop::sample::select(&[Train, Test][..]), 0..3), any::<bool>()),
            0..3,
        ),
        missing in prop::collection::btree_set((0_u8..3).prop_map(fingerprint), 0..3),
        resting in prop::bool::weighted(0.2),
    ) -> Offer {
        let evaluators = evaluators
            .into_iter()
            .map(|(name, (jobs, checkpoints)): (&str, (BTreeSet<JobKind>, bool))| {
                (name.to_owned(), Abilities { jobs, checkpoints })
            })
            .collect();
        let labels = Labels::default();
        Offer { worker: WorkerId(Uuid::nil()), slots, unasked: 0, evaluators, missing, labels, resting }
    }
}

prop_compose! {
    fn any_retry()(
        trial in 1_u32..9,
        test in any::<bool>(),
        // As `a_cluster` numbers its workers.
        failed_on in prop::collection::btree_set(0_u128..4, 1..3),
        elsewhere in any::<bool>(),
        rested in any::<bool>(),
    ) -> Retry {
        let failed_on = failed_on.into_iter().map(|id| WorkerId(Uuid::from_u128(id))).collect();
        Retry { trial: TrialNumber(trial), test, failed_on, elsewhere, rested }
    }
}

prop_compose! {
    fn any_demand()(
        training in 0_u32..6,
        test in any::<bool>(),
        retries in prop::collection::vec(any_retry(), 0..3),
        running in 0_u32..5,
        parallel in prop::option::of(1_u32..6),
        weight in 1_u32..4,
        evaluator in prop::sample::select(&NAMES[..2]),
        dataset in prop::option::of((0_u8..3).prop_map(fingerprint)),
    ) -> Demand {
        Demand {
            search: SearchId(Uuid::nil()),
            training,
            test,
            retries,
            running,
            parallel,
            weight,
            labels: Labels::default(),
            evaluator: evaluator.to_owned(),
            dataset,
        }
    }
}

prop_compose! {
    fn a_cluster()(
        mut offers in prop::collection::vec(any_offer(), 0..6),
        mut demands in prop::collection::vec(any_demand(), 0..6),
    ) -> (Vec<Offer>, Vec<Demand>) {
        for (index, offer) in offers.iter_mut().enumerate() {
            offer.worker = WorkerId(Uuid::from_u128(index as u128));
        }
        for (index, demand) in demands.iter_mut().enumerate() {
            let mut seen = BTreeSet::new();
            demand.retries.retain(|retry| seen.insert(retry.trial));
            demand.search = SearchId(Uuid::from_u128(index as u128));
        }
        (offers, demands)
    }
}

/// Whether the worker may get a job of the search, written down once more and differently.
fn fits(offer: &Offer, demand: &Demand) -> bool {
    let has_data = match demand.dataset {
        Some(fingerprint) => !offer.missing.contains(&fingerprint),
        None => true,
    };
    let trains = offer
        .evaluators
        .iter()
        .any(|(name, able)| *name == demand.evaluator && able.runs(Train));
    has_data && trains
}

/// Whether the retry may go to this worker, written down once more and differently.
fn takes(offer: &Offer, demand: &Demand, retry: &Retry) -> bool {
    let tests = offer
        .evaluators
        .get(&demand.evaluator)
        .is_some_and(|able| able.runs(Test));
    if retry.test && !tests {
        return false;
    }
    match (retry.failed_on.contains(&offer.worker), retry.elsewhere) {
        (false, _) => true,
        (true, true) => false,
        (true, false) => retry.rested,
    }
}

proptest! {
    #[test]
    fn no_grant_exceeds_slots_jobs_or_limits_and_none_goes_to_an_unfit_worker(
        (offers, demands) in a_cluster()
    ) {
        let grants = pick(&offers, &demands);
        let mut pairs = BTreeSet::new();
        for grant in &grants {
            let offer = offers.iter().find(|offer| offer.worker == grant.worker).unwrap();
            let demand = demands.iter().find(|demand| demand.search == grant.search).unwrap();
            prop_assert!(grant.slots > 0);
            prop_assert!(fits(offer, demand));
            prop_assert!(!offer.resting, "a paused worker gets a job");
            prop_assert!(grant.retries.len() as u32 <= grant.slots);
            for trial in &grant.retries {
                let retry = demand.retries.iter().find(|retry| retry.trial == *trial).unwrap();
                prop_assert!(takes(offer, demand, retry), "{retry:?} on {offer:?}");
            }
            let able = &offer.evaluators[&demand.evaluator];
            prop_assert_eq!(grant.can_test, able.runs(Test));
            prop_assert_eq!(grant.can_resume, able.checkpoints);
            prop_assert!(pairs.insert((grant.worker, grant.search)), "granted twice");
        }
        for offer in &offers {
            let of_worker = grants.iter().filter(|grant| grant.worker == offer.worker);
            prop_assert!(of_worker.map(|grant| grant.slots).sum::<u32>() <= offer.slots);
        }
        for demand in &demands {
            let of_search: Vec<_> =
                grants.iter().filter(|grant| grant.search == demand.search).collect();
            let slots: u32 = of_search.iter().map(|grant| grant.slots).sum();
            let tests = u32::from(demand.test && of_search.iter().any(|grant| grant.can_test));
            let retries: usize = of_search.iter().map(|grant| grant.retries.len()).sum();
            prop_assert!(retries <= demand.retries.len(), "a retry is granted twice");
            prop_assert!(slots - retries as u32 <= demand.training + tests);
            prop_assert!(
                demand.parallel.is_none_or(|limit| slots <= limit.saturating_sub(demand.running))
            );
        }
    }

    #[test]
    fn nothing_that_fits_is_left_over((offers, demands) in a_cluster()) {
        let grants = pick(&offers, &demands);
        for demand in &demands {
            let mut left = demand.clone();
            let of_search: Vec<&Grant> =
                grants.iter().filter(|grant| grant.search == demand.search).collect();
            let slots: u32 = of_search.iter().map(|grant| grant.slots).sum();
            let again: BTreeSet<TrialNumber> =
                of_search.iter().flat_map(|grant| grant.retries.clone()).collect();
            let fresh = slots - again.len() as u32;
            left.training = demand.training.saturating_sub(fresh);
            left.test = demand.test && fresh <= demand.training;
            left.retries.retain(|retry| !again.contains(&retry.trial));
            left.running += slots;
            if left.parallel.is_some_and(|limit| left.running >= limit) {
                continue;
            }
            for offer in &offers {
                let of_worker = grants.iter().filter(|grant| grant.worker == offer.worker);
                let slots = of_worker.map(|grant| grant.slots).sum::<u32>();
                let idle = slots < offer.slots && !offer.resting;
                let may_test = offer
                    .evaluators
                    .get(&demand.evaluator)
                    .is_some_and(|able| able.runs(Test));
                let retry = left.retries.iter().any(|retry| takes(offer, demand, retry));
                let wanted = left.training > 0 || (left.test && may_test) || retry;
                prop_assert!(!(idle && wanted && fits(offer, demand)), "{offer:?} idles beside {left:?}");
            }
        }
    }

    #[test]
    fn a_search_that_a_free_worker_fits_has_no_reason_to_wait((offers, demands) in a_cluster()) {
        for demand in &demands {
            let alone = pick(&offers, std::slice::from_ref(demand));
            let wants = demand.training > 0 || demand.test || !demand.retries.is_empty();
            let reasons = explain(demand, &offers);
            prop_assert_eq!(reasons.is_empty(), !wants || !alone.is_empty(), "{:?}", reasons);
        }
    }
}

#[test]
fn a_search_of_three_times_the_weight_gets_three_times_the_slots() {
    let mut heavy = demand(2, 100, 0);
    heavy.weight = 3;
    let grants = pick(&[offer(1, 20)], &[demand(1, 100, 0), heavy.clone()]);
    assert_eq!((granted_to(&grants, 1), granted_to(&grants, 2)), (5, 15));
    // What runs already counts.
    heavy.running = 30;
    let grants = pick(&[offer(1, 20)], &[demand(1, 100, 0), heavy]);
    assert_eq!((granted_to(&grants, 1), granted_to(&grants, 2)), (12, 8));
}

#[test]
fn a_job_goes_to_a_worker_with_the_labels_that_its_spec_asks_for() {
    let label = |value| {
        let mut labels = Labels::default();
        labels.add("gpu", value).unwrap();
        labels
    };
    let mut wanting = demand(1, 5, 0);
    wanting.labels = label("h100");
    let (mut other, mut right) = (offer(1, 2), offer(2, 2));
    other.labels = label("a100");
    right.labels = label("h100");
    let plain = offer(3, 2);
    let grants = pick(
        &[other.clone(), right, plain.clone()],
        std::slice::from_ref(&wanting),
    );
    let workers: Vec<WorkerId> = grants.iter().map(|grant| grant.worker).collect();
    assert_eq!(workers, [WorkerId(Uuid::from_u128(2))]);
    assert_eq!(granted_to(&grants, 1), 2);
    let why = explain(&wanting, &[other, plain]);
    assert_eq!(
        why.iter().map(Waiting::to_string).collect::<Vec<_>>(),
        ["none of 2 workers has the labels gpu=h100; start one with --label"]
    );
}
