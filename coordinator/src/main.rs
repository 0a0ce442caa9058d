//! The `espalier` command: serves, submits, runs and watches searches. Only wires; the commands are in
//! [`cli`], each in a file of its own.

mod cli;

/// A coordinator under load makes and drops many small values on several threads: with glibc's allocator
/// that took a sixth of its processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
