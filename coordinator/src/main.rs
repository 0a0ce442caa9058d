//! The `espalier` command: serves, submits, runs and watches searches. Only wires; the commands are in
//! [`cli`], each in a file of its own.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
