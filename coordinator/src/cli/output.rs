//! Standard output: what a command prints for people or for machines. A reader that closes the pipe ends
//! the command quietly.

use std::io::{ErrorKind, Write};

use serde::Serialize;

use super::error::CliError;

/// How results look on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Tables for people.
    #[default]
    Table,
    /// JSON for machines; its keys are stable.
    Json,
}

/// The option that chooses it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// How the result is printed on stdout
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) output: Format,
}

impl OutputArgs {
    /// Whether machines read the output.
    pub(super) fn json(self) -> bool {
        self.output == Format::Json
    }
}

/// Standard output, buffered.
pub(super) struct Out<W: Write>(W);

/// The process's own.
pub(super) fn stdout() -> Out<std::io::BufWriter<std::io::Stdout>> {
    Out(std::io::BufWriter::new(std::io::stdout()))
}

/// The columns a table may take: the terminal's, or any number when no terminal shows it.
pub(super) fn table_width() -> Option<u16> {
    comfy_table::Table::new().width()
}

impl<W: Write> Out<W> {
    /// Over any writer.
    #[cfg(test)]
    pub(super) fn new(writer: W) -> Self {
        Self(writer)
    }

    /// Text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.0.write_all(text.as_bytes()).map_err(failed)
    }

    /// A line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.text(text)?;
        self.text("\n")
    }

    /// A value as indented JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(unwritable)?;
        self.line(&text)
    }

    /// A value as one line of JSON.
    pub(super) fn json_line(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(unwritable)?;
        self.line(&text)
    }

    /// Hands everything over. To be called at the end: what `drop` cannot write is lost in silence.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.0.flush().map_err(failed)
    }
}

fn failed(error: std::io::Error) -> CliError {
    if error.kind() == ErrorKind::BrokenPipe {
        CliError::StdoutClosed
    } else {
        CliError::Failed(format!("cannot write to stdout: {error}"))
    }
}

fn unwritable(error: serde_json::Error) -> CliError {
    CliError::Failed(format!("the result has no JSON form: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = Out::new(Closed).line("text").unwrap_err();
        assert_eq!(error.code(), 0);
    }

    #[test]
    fn json_ends_with_a_newline() {
        let mut bytes = Vec::new();
        Out::new(&mut bytes).json_line(&[1, 2]).unwrap();
        assert_eq!(bytes, b"[1,2]\n");
    }
}
