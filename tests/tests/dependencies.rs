//! Who may import whom: purity is a crate boundary, so the boundaries are a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use espalier_tests::{binary, repository};

/// Normal dependencies of every workspace crate, direct ones, by name.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo_metadata();
    let packages = metadata["packages"]
        .as_array()
        .expect("cargo metadata lists packages");
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .expect("cargo metadata lists members")
        .iter()
        .filter_map(|id| id.as_str())
        .collect();
    let mut direct = BTreeMap::new();
    for package in packages {
        if !package["id"]
            .as_str()
            .is_some_and(|id| members.contains(id))
        {
            continue;
        }
        let name = package["name"]
            .as_str()
            .expect("a package has a name")
            .to_owned();
        let dependencies = package["dependencies"]
            .as_array()
            .expect("dependencies are listed");
        let normal = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .map(str::to_owned)
            .collect();
        direct.insert(name, normal);
    }
    direct
}

fn cargo_metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Every crate that a build of `package` alone links, whoever brings it: with the features that are really
/// on then. (`cargo metadata` has those of the whole workspace at once, where what one member turns on is on
/// for all.)
fn closure(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--offline"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).expect("names are ASCII");
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    tree.lines().filter_map(name).collect()
}

/// What reads files, sockets or the system's randomness, or runs tasks: nothing that computes needs it.
const INPUT_AND_OUTPUT: [&str; 16] = [
    "fastrand",
    "getrandom",
    "h2",
    "hyper",
    "memmap2",
    "mio",
    "nix",
    "rusqlite",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-util",
    "tonic",
    "tracing",
    "tracing-subscriber",
];
const LIBTORCH: [&str; 3] = ["tch", "torch-sys", "espalier-trainer"];

#[test]
fn every_crate_reaches_only_what_the_design_allows() {
    let forbidden: [(&str, &[&[&str]]); 8] = [
        (
            "espalier-common",
            &[&INPUT_AND_OUTPUT, &LIBTORCH, &["espalier-proto"]],
        ),
        (
            "espalier-core",
            &[&INPUT_AND_OUTPUT, &LIBTORCH, &["espalier-proto"]],
        ),
        (
            "espalier-view",
            &[
                &INPUT_AND_OUTPUT,
                &LIBTORCH,
                &["espalier-proto", "espalier-core"],
            ],
        ),
        (
            "espalier-data",
            &[&LIBTORCH, &["tokio", "tonic", "espalier-proto"]],
        ),
        (
            "espalier-proto",
            &[&LIBTORCH, &["rusqlite", "espalier-core", "espalier-data"]],
        ),
        ("espalier-coordinator", &[&LIBTORCH, &["espalier-worker"]]),
        (
            "espalier-worker",
            &[&LIBTORCH, &["espalier-coordinator", "espalier-core"]],
        ),
        (
            "espalier-trainer",
            &[&["tonic", "tokio", "espalier-proto", "espalier-worker"]],
        ),
    ];
    for (name, banned) in forbidden {
        let reached = closure(name);
        assert!(reached.contains("serde_core"), "{name}: {reached:?}");
        for dependency in banned.iter().copied().flatten() {
            assert!(
                !reached.contains(*dependency),
                "{name} reaches {dependency}, which it must not; \
                 cargo tree --package {name} --edges normal --invert {dependency} says how"
            );
        }
    }
}

#[test]
fn what_a_dependency_brings_with_it_is_seen() {
    let direct = direct_dependencies();
    let coordinator = &direct["espalier-coordinator"];
    // By uuid's feature v4, which only the crates that make ids turn on, and by tonic.
    for brought in ["getrandom", "hyper", "h2"] {
        assert!(!coordinator.contains(brought), "{brought} is direct");
        let reached = closure("espalier-coordinator");
        assert!(reached.contains(brought), "{brought} is not seen");
    }
}

#[test]
fn only_the_trainer_names_tch() {
    for (name, dependencies) in direct_dependencies() {
        let names_tch = dependencies.contains("tch") || dependencies.contains("torch-sys");
        assert_eq!(names_tch, name == "espalier-trainer", "{name}");
    }
}

#[test]
fn the_core_never_reads_a_clock_os_randomness_or_the_order_of_a_hash_map() {
    let impure = [
        "Instant::now",
        "SystemTime::now",
        "thread_rng",
        "OsRng",
        "rand::rng()",
    ];
    // In `common` sets serve to look things up; the core, which decides, has no use for an order that
    // differs between two processes.
    let unordered = ["HashMap", "HashSet"];
    let mut read = 0;
    for (folder, banned) in [
        ("common/src", &[][..]),
        ("coordinator/core/src", &unordered[..]),
    ] {
        for_each_source(&repository().join(folder), &mut |path, text| {
            // Tests may measure how long something takes; they are no part of the crate.
            if path.to_string_lossy().ends_with("tests.rs") {
                return;
            }
            read += 1;
            for word in impure.iter().chain(banned) {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        });
    }
    assert!(read > 20, "only {read} source files were found");
}

#[test]
fn the_binaries_of_coordinator_and_worker_link_no_libtorch() {
    for name in ["espalier", "espalier-worker"] {
        let output = Command::new("ldd")
            .arg(binary(name))
            .output()
            .expect("ldd runs");
        let libraries = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            libraries.contains("libc.so"),
            "ldd says nothing of {name}: {libraries}"
        );
        assert!(
            !libraries.contains("torch"),
            "{name} links libtorch: {libraries}"
        );
    }
}

fn for_each_source(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("sources can be listed") {
        let path = entry.expect("sources can be listed").path();
        if path.is_dir() {
            for_each_source(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(
                &path,
                &std::fs::read_to_string(&path).expect("sources can be read"),
            );
        }
    }
}
