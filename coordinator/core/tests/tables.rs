//! Searches whose results come from a table: when two candidates are one, what a lease carries, and that
//! rows which are missing end no search.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{Digest, SearchId};
use espalier_common::table::TableInfo;
use espalier_core::search::{Command, Definition, Event, Phase, Reply, Search, step};
use espalier_core::searcher::Proposer;
use support::{definition, worker};
use uuid::Uuid;

/// Two candidates that build one network.
const TWINS: &str = "
name: twins
network:
  - choice:
      nothing: []
      nothing_else: [{repeat: {times: 1, block: []}}]
  - flatten
  - linear: {features: classes}
evaluator:
  table:
    path: t.csv
    input: [1, 8, 8]
    classes: 10
    decisions: {c: \"network[0].choice\"}
    metrics: {accuracy: a}
objectives: [{maximize: accuracy}]
budget: {trials: 10}
";

fn with_table(text: &str) -> Arc<Definition> {
    let mut definition = definition(text);
    let of = Arc::make_mut(&mut definition);
    of.dataset = of.spec.evaluator.table().unwrap().described_data();
    of.table = Some(TableInfo {
        path: "t.csv".to_owned(),
        fingerprint: Digest::of(b"t"),
        rows: 2,
    });
    definition
}

fn created(definition: &Arc<Definition>) -> Search {
    let event = Event::SearchCreated {
        definition: Box::new(definition.as_ref().clone()),
    };
    Search::from_first_event(SearchId(Uuid::from_u128(1)), &event, 0).unwrap()
}

/// Everything that is proposed until nothing is left.
fn proposed(definition: &Arc<Definition>, search: &mut Search) -> Vec<Digest> {
    let mut proposer = Proposer::new(definition);
    let mut candidates = Vec::new();
    for ask in 1.. {
        let answer = proposer.ask(ask);
        let Ok(proposal) = &answer.outcome else { break };
        candidates.push(proposal.candidate_id);
        let step = step(search, answer.into(), 0).unwrap();
        step.events
            .iter()
            .for_each(|event| proposer.recorded(event));
    }
    candidates
}

#[test]
fn with_repeat_by_decisions_two_ways_to_write_one_network_are_two_candidates() {
    let once = with_table(TWINS);
    assert_eq!(proposed(&once, &mut created(&once)).len(), 1);
    let both = with_table(&format!("{TWINS}repeat: by-decisions\n"));
    let both = proposed(&both, &mut created(&both));
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1]);
}

#[test]
fn a_lease_carries_the_cells_of_the_row_and_no_data_set() {
    let definition = with_table(TWINS);
    assert_eq!(definition.evaluator(), "table");
    assert_eq!(definition.needs(), Some(Digest::of(b"t")));
    let mut search = created(&definition);
    proposed(&definition, &mut search);
    let lease = Command::LeaseJobs {
        worker: worker(1),
        slots: 1,
        can_test: false,
        can_resume: false,
        retries: Default::default(),
    };
    let Reply::Leased(jobs) = step(&mut search, lease, 0).unwrap().reply else {
        panic!("a lease is answered with jobs");
    };
    assert_eq!(jobs[0].dataset, None);
    let table = jobs[0].table.as_ref().unwrap();
    assert_eq!(table.info.fingerprint, Digest::of(b"t"));
    assert!(table.row.contains_key("c"), "{:?}", table.row);
}

#[test]
fn rows_that_are_missing_fail_their_candidates_and_do_not_pause_the_search() {
    const MANY: &str = "
name: many
hyperparameters: {k: {range: [1, 20]}}
evaluator: {table: {path: t.csv, decisions: {k: k}, metrics: {accuracy: a}}}
objectives: [{maximize: accuracy}]
budget: {trials: 12}
";
    let definition = with_table(MANY);
    let mut search = created(&definition);
    let mut proposer = Proposer::new(&definition);
    for ask in 1..=12 {
        step(&mut search, proposer.ask(ask).into(), 0)
            .unwrap()
            .events
            .iter()
            .for_each(|event| proposer.recorded(event));
        let lease = Command::LeaseJobs {
            worker: worker(1),
            slots: 1,
            can_test: false,
            can_resume: false,
            retries: Default::default(),
        };
        let Reply::Leased(jobs) = step(&mut search, lease, 0).unwrap().reply else {
            panic!("a lease is answered with jobs");
        };
        let (domain, kind) = (FailureDomain::Candidate, FailureKind::Data);
        let fail = Command::FailJob {
            trial: jobs[0].trial,
            attempt: jobs[0].attempt,
            failure: Failure::new(domain, kind, "the table has no row for this candidate"),
        };
        step(&mut search, fail, 0).unwrap();
    }
    assert_eq!(search.counts().failed, 12);
    assert!(
        matches!(search.phase(), Phase::Finished(_)),
        "{:?}",
        search.phase()
    );
}
