//! The golden files: candidates of every space, and what PyTorch says about them.
#![allow(dead_code, unreachable_pub)] // Every test binary uses another part.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

#[path = "../../goldens/spaces.rs"]
pub mod spaces;

use espalier_common::candidate::Candidate;
use espalier_common::network::Network;
use serde::Deserialize;
use spaces::{GoldenSpace, folder};

/// Candidates of each space.
pub const CANDIDATES: usize = 20;

#[derive(Deserialize)]
struct Golden {
    torch: String,
    candidates: Vec<GoldenCandidate>,
}

/// A candidate and what PyTorch says.
#[derive(Deserialize)]
pub struct GoldenCandidate {
    pub decisions: Candidate,
    pub shape: Vec<u64>,
    pub parameters: u64,
    pub macs: u64,
    pub kept_bytes: u64,
}

/// The golden candidates of a space with their networks.
pub fn goldens(space: &GoldenSpace) -> Vec<(GoldenCandidate, Network)> {
    let path = folder().join(format!("{}.json", space.name));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make goldens`", path.display()));
    let golden: Golden = serde_json::from_str(&text).unwrap();
    assert!(!golden.torch.is_empty());
    assert_eq!(golden.candidates.len(), CANDIDATES, "{}", space.name);
    let network = |golden: GoldenCandidate| {
        let built = space.space.build(&golden.decisions, Some(&space.data));
        let built = built.unwrap_or_else(|error| {
            panic!(
                "{}: {error}; if its spec has changed, run `make goldens`",
                space.name
            )
        });
        (golden, built.network.unwrap())
    };
    golden.candidates.into_iter().map(network).collect()
}
