//! Gives the binaries and tests of this crate, and of no other, a run path to libtorch, so that no one
//! exports `LD_LIBRARY_PATH`. It is a RUNPATH: a full CUDA libtorch on `LD_LIBRARY_PATH` wins.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo::error=torch-sys did not say where libtorch is; run `make libtorch`");
        return;
    };
    // First what is beside it in a release (bin/ and lib/), then where libtorch was when it was built; a release
    // keeps the first alone (deploy/dist/pack).
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib:{lib}");
    // libtorch has no call that tells its version; its folder has a file that does.
    let version = Path::new(&lib).with_file_name("build-version");
    println!("cargo::rerun-if-changed={}", version.display());
    let text = std::fs::read_to_string(&version).unwrap_or_default();
    let text = if text.trim().is_empty() {
        "of unknown version"
    } else {
        text.trim()
    };
    println!("cargo::rustc-env=ESPALIER_LIBTORCH_VERSION={text}");
}
