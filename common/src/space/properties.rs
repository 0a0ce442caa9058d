//! Properties that hold for every space: what the operations give stays inside it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::testing::spaces;
use super::work::Work;
use super::*;
use crate::candidate::{Candidate, DecisionPath, Value};
use crate::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use crate::ids::Digest;
use crate::network::Shape;

pub(crate) fn fashion_mnist() -> DatasetInfo {
    DatasetInfo {
        reference: DatasetReference {
            format: DatasetFormat::Idx,
            path: "fashion-mnist".to_owned(),
            train: None,
            validation: 5000,
            split_seed: 0,
        },
        fingerprint: Digest::of(b"images"),
        input: Shape::image(1, 28, 28),
        classes: 10,
        vocabulary: None,
        train: 55_000,
        validation: 5_000,
        test: 10_000,
    }
}

/// A candidate belongs to its space, with exactly the active decisions.
fn assert_inside(space: &Space, candidate: &Candidate) -> Resolved {
    let resolved = space
        .resolve(candidate)
        .unwrap_or_else(|bad| panic!("{bad}: {candidate:?}"));
    assert_eq!(&resolved.candidate, candidate);
    resolved
}

proptest! {
    #[test]
    fn what_is_sampled_mutated_or_crossed_stays_inside(space in spaces(true), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (a, b) = (space.sample(&mut rng), space.sample(&mut rng));
        assert_inside(&space, &a);
        assert_inside(&space, &space.first());
        let child = space.crossover(&a, &b, &mut rng);
        assert_inside(&space, &child);
        for (path, value) in &child.0 {
            let inherited = [&a, &b].map(|parent| parent.get(path));
            if inherited.iter().any(Option::is_some) {
                prop_assert!(inherited.contains(&Some(value)), "{} is of neither parent", path);
            }
        }
        match space.mutate(&a, &mut rng) {
            None => prop_assert!(space.open_decisions(&a).is_empty()),
            Some((child, target)) => {
                assert_inside(&space, &child);
                prop_assert_ne!(child.get(&target), a.get(&target));
                // What is active in both and was not the target has not changed.
                for (path, value) in child.0.iter().filter(|(path, _)| **path != target) {
                    prop_assert!(a.get(path).is_none_or(|old| old == value), "{} changed too", path);
                }
            }
        }
    }

    #[test]
    fn every_open_decision_is_reached_by_mutation(space in spaces(true), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let parent = space.sample(&mut rng);
        let open: BTreeSet<DecisionPath> =
            space.open_decisions(&parent).into_iter().map(|(path, _)| path).collect();
        // 30 draws for each: the chance to miss one is (1 - 1/n)^30n < e^-30.
        let reached: BTreeSet<DecisionPath> = (0..open.len() * 30)
            .filter_map(|_| space.mutate(&parent, &mut rng))
            .map(|(_, target)| target)
            .collect();
        prop_assert_eq!(reached, open);
    }

    #[test]
    fn a_candidate_survives_its_json(space in spaces(true), seed: u64) {
        let candidate = space.sample(&mut ChaCha8Rng::seed_from_u64(seed));
        let json = serde_json::to_string(&candidate).unwrap();
        let back: Candidate = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&back, &candidate);
        prop_assert_eq!(assert_inside(&space, &back), assert_inside(&space, &candidate));
    }

    #[test]
    fn a_space_survives_its_json(space in spaces(true)) {
        let json = serde_json::to_string(&space).unwrap();
        prop_assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
    }

    #[test]
    fn the_size_is_the_number_of_candidates(space in spaces(false)) {
        let size = space.size();
        prop_assert_eq!(size.continuous, 0);
        let Some(all) = space.enumerate(500) else {
            prop_assert!(size.log10 > 500_f64.log10() - 1e-6, "{}", size.log10);
            return Ok(());
        };
        let distinct: BTreeSet<String> =
            all.iter().map(|candidate| serde_json::to_string(candidate).unwrap()).collect();
        prop_assert_eq!(distinct.len(), all.len());
        if size.at_most {
            prop_assert!(size.log10 > (all.len() as f64).log10() - 1e-6, "{} for {}", size.log10, all.len());
            return Ok(());
        }
        prop_assert!((size.log10 - (all.len() as f64).log10()).abs() < 1e-6, "{} for {}", size.log10, all.len());
        prop_assert_eq!(size.candidates, Some(all.len() as u128));
        for candidate in &all {
            assert_inside(&space, candidate);
            prop_assert!(space.open_decisions(candidate).len() as u64 <= space.count().decisions);
        }
        // The bound is exact.
        prop_assert!(space.enumerate(all.len()).is_some());
        prop_assert!(space.enumerate(all.len() - 1).is_none());
    }

    #[test]
    fn a_size_is_no_less_when_the_work_for_it_runs_out(space in spaces(false), work in 0_u64..200) {
        let (whole, bound) = (space.size(), space.size_within(&Work::of(work)));
        prop_assert_eq!(bound.continuous, whole.continuous);
        if !bound.at_most {
            prop_assert_eq!(bound, whole);
        } else if !whole.at_most {
            prop_assert!(bound.log10 > whole.log10 - 1e-6, "{} for {}", bound.log10, whole.log10);
        }
    }

    #[test]
    fn a_candidate_that_was_tampered_with_is_refused(space in spaces(true), seed: u64, which: prop::sample::Index) {
        let candidate = space.sample(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut extra = candidate.clone();
        let nowhere = DecisionPath("network.nowhere".to_owned());
        extra.0.insert(nowhere.clone(), Value::Boolean(true));
        prop_assert_eq!(space.resolve(&extra), Err(BadCandidate::Extra { path: nowhere }));
        if candidate.0.is_empty() {
            return Ok(());
        }
        let (path, _) = candidate.0.iter().nth(which.index(candidate.0.len())).unwrap();
        let mut wrong = candidate.clone();
        let value = Value::Text("no such value".to_owned());
        wrong.0.insert(path.clone(), value.clone());
        prop_assert_eq!(space.resolve(&wrong), Err(BadCandidate::NotInDomain { path: path.clone(), value }));
        let mut missing = candidate.clone();
        missing.0.remove(path);
        prop_assert_eq!(space.resolve(&missing), Err(BadCandidate::Missing { path: path.clone() }));
    }

    #[test]
    fn a_built_network_is_valid_and_names_its_blocks(space in spaces(true), seed: u64) {
        let mut space = space;
        // An end that fits every image, so that most of these spaces can be built.
        if let Some(blocks) = &mut space.network {
            let ends = [Layer::GlobalAvgPool, Layer::Linear {
                features: Width::Plain(Setting::Fixed(Features::Classes)),
                bias: Setting::Fixed(true),
            }];
            blocks.extend(ends.map(|layer| Block { name: None, kind: BlockKind::Layer(Box::new(layer)) }));
        }
        let data = fashion_mnist();
        let candidate = space.sample(&mut ChaCha8Rng::seed_from_u64(seed));
        match space.build(&candidate, Some(&data)) {
            Ok(built) => {
                prop_assert_eq!(built.network.is_some(), space.network.is_some());
                if let Some(network) = &built.network {
                    prop_assert!(network.validate().is_ok());
                    prop_assert!(network.nodes.iter().skip(1).all(|node| node.name.starts_with("network")));
                }
                prop_assert_eq!(space.build(&candidate, Some(&data)).unwrap(), built);
            }
            Err(infeasible) => prop_assert!(infeasible.block.starts_with("network"), "{}", infeasible),
        }
    }
}
