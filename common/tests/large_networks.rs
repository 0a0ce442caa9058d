//! How long the identity of a large network takes, whatever its form.

use std::time::{Duration, Instant};

#[path = "../benches/space/large.rs"]
mod large;

/// Far above the 50 ms that are meant, for builds without optimisation on machines that are busy; `make
/// bench-space` measures.
const LONG: Duration = Duration::from_secs(15);

#[test]
fn networks_of_the_greatest_size_are_identified_in_good_time_whatever_their_form() {
    for (form, network) in large::networks() {
        assert!(network.nodes.len() > 9_000, "{form}");
        let start = Instant::now();
        let id = network.network_id();
        assert!(start.elapsed() < LONG, "{form}: {:?}", start.elapsed());
        assert_eq!(network.simplified().network_id(), id, "{form}");
    }
}
