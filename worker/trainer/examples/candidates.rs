//! Random candidates of the spaces in `goldens/spaces.json` as lines of JSON, for PyTorch to be compared with:
//! `candidates COUNT SEED [SCRATCH]`. With a scratch folder each network is built and computed: its weights, an
//! input and the output go to the file that the line names, and the next line comes after the reader has
//! answered with one, so that no more than one file is there at a time.
#![allow(clippy::unwrap_used)] // An example that meets trouble may end with it.

#[path = "../goldens/spaces.rs"]
mod spaces;

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use espalier_common::candidate::Candidate;
use espalier_common::network::Network;
use espalier_common::space::Built;
use espalier_trainer::lower::Model;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::{Device, Tensor};

/// Examples in the batch that is computed.
const BATCH: i64 = 2;
/// So many samples in a row that cannot be built mean that the space is none.
const TRIES: usize = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, count, seed, scratch @ ..] = arguments.as_slice() else {
        panic!("usage: candidates COUNT SEED [SCRATCH]");
    };
    let (count, seed): (usize, u64) = (count.parse().unwrap(), seed.parse().unwrap());
    // The networks are small: threads would wait for each other.
    tch::set_num_threads(1);
    for space in spaces::spaces() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for number in 0..count {
            let (candidate, built) = (0..TRIES)
                .find_map(|_| {
                    let candidate = space.space.sample(&mut rng);
                    let built = space.space.build(&candidate, Some(&space.data)).ok()?;
                    Some((candidate, built))
                })
                .unwrap();
            let file = scratch.first().map(|folder| {
                let file = Path::new(folder).join("candidate.safetensors");
                compute(built.network.as_ref().unwrap(), &file, seed + number as u64);
                file
            });
            tell(&space.name, &candidate, &built, file.as_deref());
        }
    }
}

fn tell(space: &str, candidate: &Candidate, built: &Built, file: Option<&Path>) {
    let network = built.network.as_ref().unwrap();
    let line = json!({
        "space": space,
        "decisions": candidate,
        "network": network,
        "parameters": network.parameters(),
        "macs": network.macs(),
        "activation_bytes": network.activation_bytes(),
        "file": file,
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
    if file.is_some() {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the reader has gone");
    }
}

/// Builds and computes a network, and writes down everything that a second computation needs.
fn compute(network: &Network, file: &Path, seed: u64) {
    tch::manual_seed(seed as i64);
    let model = Model::new(network, Device::Cpu).unwrap();
    let input = spaces::batch(network, BATCH);
    // Once in training, so that running statistics are not what they start as.
    let _ = model.forward(input.shallow_clone(), true).unwrap();
    let output = model.forward(input.shallow_clone(), false).unwrap();
    let mut all: Vec<(String, Tensor)> = vec![
        ("input".to_owned(), input),
        ("output".to_owned(), output.detach().contiguous()),
    ];
    for entry in model.parameters().entries() {
        let tensor = entry.tensor.detach().contiguous();
        all.push((format!("weights/{}", entry.name), tensor));
    }
    Tensor::write_safetensors(&all, file).unwrap();
}
