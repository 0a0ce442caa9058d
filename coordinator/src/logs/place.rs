//! Where a reader of the log is: what lies before has been sent to it. Readers hand it back as it is to go on there,
//! after a connection broke or the coordinator was started again. Pure.

use std::fmt;
use std::str::FromStr;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the file of a search, which outlives the process.
    File {
        /// Bytes before it.
        bytes: u64,
        /// Whether the search had ended with what lies before.
        over: bool,
    },
    /// Among the newest lines about everything, which a process has in its memory.
    Memory {
        /// Which start of the coordinator it was.
        start: u64,
        /// The last line before it.
        number: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { bytes, over: false } => write!(f, "file:{bytes}"),
            Self::File { bytes, over: true } => write!(f, "end:{bytes}"),
            Self::Memory { start, number } => write!(f, "memory:{start}:{number}"),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        match text.split_once(':').ok_or(())? {
            (kind @ ("file" | "end"), bytes) => Ok(Self::File {
                bytes: number(bytes)?,
                over: kind == "end",
            }),
            ("memory", rest) => {
                let (start, last) = rest.split_once(':').ok_or(())?;
                Ok(Self::Memory {
                    start: number(start)?,
                    number: number(last)?,
                })
            }
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_and_other_texts_are_none() {
        let file = |over| Place::File { bytes: 12, over };
        let memory = Place::Memory {
            start: u64::MAX,
            number: 3,
        };
        for place in [file(true), file(false), memory] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in [
            "",
            "file",
            "file:",
            "file:-1",
            "memory:1",
            "disk:1",
            "memory:1:x",
        ] {
            assert_eq!(text.parse::<Place>(), Err(()), "{text}");
        }
    }
}
