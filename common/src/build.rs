//! What a program tells of itself with `--version`. May import nothing.
//!
//! The commit and the rest come from the environment of the build (`make build`, `make dist`), read by each
//! program's own crate: a new commit then builds three programs anew, and not every crate.

use std::fmt::Write as _;

/// How a program was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The release.
    pub version: &'static str,
    /// The commit of its source.
    pub commit: Option<&'static str>,
    /// The day of that commit, or of `SOURCE_DATE_EPOCH`.
    pub date: Option<&'static str>,
    /// The libtorch that the trainer of the same build was linked with.
    pub libtorch: Option<&'static str>,
}

impl Build {
    /// One fact a line, the version first.
    #[must_use]
    pub fn long(&self) -> String {
        let mut text = self.version.to_owned();
        text.push_str("\ncommit ");
        text.push_str(
            self.commit
                .unwrap_or("unknown: built by cargo alone, without make"),
        );
        for (word, fact) in [("date", self.date), ("libtorch", self.libtorch)] {
            if let Some(fact) = fact {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n{word} {fact}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_of_make_tells_its_commit_date_and_libtorch() {
        let build = Build {
            version: "1.2.3",
            commit: Some("0123456789ab"),
            date: Some("2026-11-24"),
            libtorch: Some("2.11.0"),
        };
        assert_eq!(
            build.long(),
            "1.2.3\ncommit 0123456789ab\ndate 2026-11-24\nlibtorch 2.11.0"
        );
    }

    #[test]
    fn a_build_without_make_says_so() {
        let build = Build {
            version: "1.2.3",
            commit: None,
            date: None,
            libtorch: None,
        };
        assert_eq!(
            build.long(),
            "1.2.3\ncommit unknown: built by cargo alone, without make"
        );
    }
}
