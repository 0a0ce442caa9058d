//! The dispatcher's choice: fair, never more than is there, never to a worker that cannot run the job.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::{Digest, SearchId, WorkerId};
use espalier_common::job::JobKind::{self, Test, Train};
use espalier_core::dispatch::{Demand, Grant, Offer, Waiting, explain, pick};
use proptest::prelude::*;
use uuid::Uuid;

fn offer(id: u128, slots: u32) -> Offer {
    Offer {
        worker: WorkerId(Uuid::from_u128(id)),
        slots,
        evaluators: BTreeMap::from([("trainer".to_owned(), BTreeSet::from([Train, Test]))]),
        missing: BTreeSet::new(),
    }
}

fn demand(id: u128, training: u32, running: u32) -> Demand {
    Demand {
        search: SearchId(Uuid::from_u128(id)),
        training,
        test: false,
        running,
        parallel: None,
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
        .insert("trainer".to_owned(), BTreeSet::from([Train]));
    assert_eq!(
        pick(std::slice::from_ref(&trains_only), &[last.clone()]),
        []
    );
    let grants = pick(&[trains_only, offer(2, 1)], &[last]);
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].worker, WorkerId(Uuid::from_u128(2)));
    assert!(grants[0].can_test);
}

#[test]
fn the_reason_why_jobs_wait_is_named() {
    let data = Digest::of(b"images");
    let mut search = demand(1, 5, 2);
    search.dataset = Some(data);
    assert_eq!(explain(&search, &[]), [Waiting::NoWorker]);

    let mut other = offer(1, 1);
    other.evaluators = BTreeMap::from([("mine".to_owned(), BTreeSet::from([Train]))]);
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
        .insert("trainer".to_owned(), BTreeSet::from([Train]));
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
            prop::collection::btree_set(prop::sample::select(&[Train, Test][..]), 0..3),
            0..3,
        ),
        missing in prop::collection::btree_set((0_u8..3).prop_map(fingerprint), 0..3),
    ) -> Offer {
        let evaluators = evaluators
            .into_iter()
            .map(|(name, kinds): (&str, BTreeSet<JobKind>)| (name.to_owned(), kinds))
            .collect();
        Offer { worker: WorkerId(Uuid::nil()), slots, evaluators, missing }
    }
}

prop_compose! {
    fn any_demand()(
        training in 0_u32..6,
        test in any::<bool>(),
        running in 0_u32..5,
        parallel in prop::option::of(1_u32..6),
        evaluator in prop::sample::select(&NAMES[..2]),
        dataset in prop::option::of((0_u8..3).prop_map(fingerprint)),
    ) -> Demand {
        Demand {
            search: SearchId(Uuid::nil()),
            training,
            test,
            running,
            parallel,
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
        .any(|(name, kinds)| *name == demand.evaluator && kinds.contains(&Train));
    has_data && trains
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
            prop_assert_eq!(grant.can_test, offer.evaluators[&demand.evaluator].contains(&Test));
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
            prop_assert!(slots <= demand.training + tests);
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
            let slots: u32 = grants
                .iter()
                .filter(|grant| grant.search == demand.search)
                .map(|grant| grant.slots)
                .sum();
            left.training = demand.training.saturating_sub(slots);
            left.test = demand.test && slots <= demand.training;
            left.running += slots;
            if left.parallel.is_some_and(|limit| left.running >= limit) {
                continue;
            }
            for offer in &offers {
                let of_worker = grants.iter().filter(|grant| grant.worker == offer.worker);
                let idle = of_worker.map(|grant| grant.slots).sum::<u32>() < offer.slots;
                let may_test = offer
                    .evaluators
                    .get(&demand.evaluator)
                    .is_some_and(|kinds| kinds.contains(&Test));
                let wanted = left.training > 0 || (left.test && may_test);
                prop_assert!(!(idle && wanted && fits(offer, demand)), "{offer:?} idles beside {left:?}");
            }
        }
    }

    #[test]
    fn a_search_that_a_free_worker_fits_has_no_reason_to_wait((offers, demands) in a_cluster()) {
        for demand in &demands {
            let alone = pick(&offers, std::slice::from_ref(demand));
            let wants = demand.training > 0 || demand.test;
            let reasons = explain(demand, &offers);
            prop_assert_eq!(reasons.is_empty(), !wants || !alone.is_empty(), "{:?}", reasons);
        }
    }
}
