//! What `RUST_LOG` says is shown. A word that is no level is the name of a module to the library, of whatever program,
//! and then hides every line; so words that are meant for something else are refused here. May import
//! tracing-subscriber.

use tracing_subscriber::EnvFilter;

use super::LoggingError;
use crate::config::nearest;

/// What is shown when `RUST_LOG` is not set.
const DEFAULT: &str = "info";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What the names of our own modules begin with.
const OWN: &str = "espalier";
/// Our crates as modules name them.
const CRATES: [&str; 10] = [
    "espalier",
    "espalier_common",
    "espalier_coordinator",
    "espalier_core",
    "espalier_data",
    "espalier_fuzzing",
    "espalier_proto",
    "espalier_runtime",
    "espalier_view",
    "espalier_worker",
];

/// The filter that a value of `RUST_LOG` stands for.
pub(super) fn filter(value: Option<String>) -> Result<EnvFilter, LoggingError> {
    let value = match value {
        Some(value) if !value.trim().is_empty() => value,
        _ => DEFAULT.to_owned(),
    };
    let read = EnvFilter::try_new(&value).map_err(|error| error.to_string());
    let read = read.and_then(|filter| match value.split(',').find_map(mistaken) {
        Some(mistake) => Err(mistake),
        None => Ok(filter),
    });
    read.map_err(|reason| LoggingError::BadFilter { value, reason })
}

/// What is wrong with a directive that can be read, but means nothing here.
fn mistaken(directive: &str) -> Option<String> {
    let (target, level) = match directive.split_once('=') {
        Some((target, _)) => (target.trim(), true),
        None => (directive.trim(), false),
    };
    if !level && !is_level(target) {
        let meant = LEVELS
            .into_iter()
            .find(|known| target.to_lowercase().starts_with(known));
        if let Some(meant) = meant.or_else(|| nearest(target, &LEVELS)) {
            return Some(format!("{target:?} is no level; did you mean {meant}?"));
        }
    }
    let module = target.split(['[', ':']).next().unwrap_or_default();
    if module.starts_with(OWN) && !CRATES.iter().any(|own| own.starts_with(module)) {
        let hint = match nearest(module, &CRATES) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("there are {}", CRATES.join(", ")),
        };
        return Some(format!("no module is called {module:?}; {hint}"));
    }
    None
}

fn is_level(word: &str) -> bool {
    let number = word.parse::<u8>().is_ok_and(|number| number <= 5);
    number || LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(value: &str) -> Option<String> {
        let read = filter(Some(value.to_owned()));
        read.err().map(|error| error.to_string())
    }

    #[test]
    fn a_filter_with_a_mistake_is_refused_with_its_text_and_what_is_meant() {
        for (value, hint) in [
            ("espalier=loud", "level"),
            ("espalier=debgu", "level"),
            ("debgu", "did you mean debug?"),
            ("warning", "did you mean warn?"),
            ("info,Eror", "did you mean error?"),
            (
                "espalier_cordinator=debug",
                "did you mean espalier_coordinator?",
            ),
            ("espalier-worker=debug", "did you mean espalier_worker?"),
            ("espalier_coordinater", "did you mean espalier_coordinator?"),
            ("espalier_of_nothing_here::x=info", "there are espalier, "),
        ] {
            let said = refused(value).unwrap_or_default();
            assert!(
                said.contains(value) && said.contains(hint),
                "{value}: {said}"
            );
        }
    }

    #[test]
    fn levels_and_modules_of_every_program_are_taken() {
        for value in [
            "",
            "info",
            "WARN",
            "off",
            "3",
            "info,espalier=debug",
            "debug,h2=warn",
            "hyper",
            "tower=info,espalier_coordinator::journal=trace",
            "espalier_core",
            "evaluator=off",
            "warn,espalier_worker[attempt]=debug",
        ] {
            assert_eq!(refused(value), None, "{value}");
        }
    }
}
