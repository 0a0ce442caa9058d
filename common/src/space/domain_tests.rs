//! Tests of domains: members, neighbours, sampling.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

fn tenths() -> Domain {
    Domain::Real {
        low: 0.0,
        high: 0.4,
        scale: Scale::Linear,
        step: Some(0.1),
    }
}

#[test]
fn a_grid_of_reals_has_both_ends_and_tidy_points() {
    let domain = tenths();
    assert_eq!(domain.count(), Some(5));
    let points: Vec<_> = (0..5).filter_map(|index| domain.nth(index)).collect();
    assert_eq!(points, [0.0, 0.1, 0.2, 0.3, 0.4].map(Value::Real));
    assert_eq!(domain.nth(5), None);
    assert!(domain.contains(&Value::Real(0.1 + 0.2)));
    assert!(!domain.contains(&Value::Real(0.15)));
}

#[test]
fn whole_numbers_respect_their_step() {
    let domain = Domain::Integer {
        low: 8,
        high: 64,
        step: 8,
        scale: Scale::Linear,
    };
    assert_eq!(domain.count(), Some(8));
    assert!(domain.contains(&Value::Integer(64)));
    assert!(!domain.contains(&Value::Integer(12)));
    assert!(!domain.contains(&Value::Integer(0)));
}

#[test]
fn a_neighbour_is_another_member() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let continuous = Domain::Real {
        low: 1e-4,
        high: 1.0,
        scale: Scale::Log,
        step: None,
    };
    let choice = Domain::Choice(vec![Value::Integer(1), Value::Text("a".to_owned())]);
    for domain in [tenths(), continuous, choice] {
        let mut value = domain.first();
        for _ in 0..500 {
            let other = domain.neighbour(&value, &mut rng);
            assert!(domain.contains(&other), "{other:?} in {domain:?}");
            assert_ne!(other, value, "{domain:?}");
            value = other;
        }
    }
}

#[test]
fn a_log_range_is_sampled_evenly_in_the_logarithm() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let domain = Domain::Real {
        low: 1e-4,
        high: 1.0,
        scale: Scale::Log,
        step: None,
    };
    let below = (0..2000)
        .filter(|_| real(&domain.sample(&mut rng)).is_some_and(|number| number < 1e-2))
        .count();
    assert!((900..1100).contains(&below), "{below}");
}

#[test]
fn a_weight_is_how_often_a_value_is_sampled_but_not_how_often_it_is_a_neighbour() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let values: Vec<_> = (0..3).map(Value::Integer).collect();
    let domain = Domain::Weighted {
        values: values.clone(),
        weights: vec![3.0, 1.0, 0.5],
    };
    let mut counts = [0; 3];
    let mut neighbours = [0; 3];
    for _ in 0..4500 {
        let index = domain.index_of(&domain.sample(&mut rng)).unwrap();
        counts[index as usize] += 1;
        let other = domain
            .index_of(&domain.neighbour(&values[0], &mut rng))
            .unwrap();
        neighbours[other as usize] += 1;
    }
    assert!((2850..3150).contains(&counts[0]), "{counts:?}");
    assert!((900..1100).contains(&counts[1]), "{counts:?}");
    assert!(
        neighbours[0] == 0 && (2100..2400).contains(&neighbours[2]),
        "{neighbours:?}"
    );
}

#[test]
fn damaged_domains_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let nan = f64::NAN;
    let real = |low, high, step| Domain::Real {
        low,
        high,
        scale: Scale::Log,
        step,
    };
    let integer = |low, high, step| Domain::Integer {
        low,
        high,
        step,
        scale: Scale::Log,
    };
    for domain in [
        Domain::Choice(vec![]),
        Domain::Weighted {
            values: vec![Value::Integer(1), Value::Integer(2)],
            weights: vec![nan],
        },
        real(nan, 1.0, None),
        real(1.0, 0.0, Some(0.0)),
        real(0.0, 1.0, Some(0.0)),
        real(-1.0, f64::INFINITY, Some(-1.0)),
        integer(i64::MIN, i64::MAX, 1),
        integer(1, i64::MAX, 0),
        integer(5, -5, -5),
    ] {
        for _ in 0..50 {
            let value = domain.sample(&mut rng);
            let _ = domain.neighbour(&value, &mut rng);
            let _ = (domain.canonical(&value), domain.log10_size(), domain.nth(3));
        }
    }
}
