//! The lines that the programs log: read out of the sources, so that `docs/logs.md` is made from what emits them,
//! and held against what processes really wrote.

mod fields;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub use fields::{FIELDS, Field};
pub use scan::sites_of;

use crate::repository;

/// What an evaluator prints: any text, with the trial that it belongs to.
const EVALUATOR: &str = "evaluator";
/// What every line has.
const ENVELOPE: [&str; 4] = ["timestamp", "level", "target", "message"];
/// What lines about a trial have besides where traces are sent: no place that logs names it.
pub const TRACE: &str = "trace_id";
/// Folders of sources, and the programs that log from them.
const SOURCES: [(&str, &[&str]); 5] = [
    ("common", &["espalier", "espalier-worker"]),
    ("proto/src", &["espalier", "espalier-worker"]),
    ("coordinator/src", &["espalier"]),
    ("coordinator/core/src", &["espalier"]),
    ("worker", &["espalier-worker"]),
];

/// Lines that are no event of a program: they stand in the place of others, in what one reader gets or in one file. With
/// the source that has their text.
const PUT_IN: [(&str, &str, &[&str]); 2] = [
    (
        "coordinator/src/logs/read.rs",
        "lines are left out here: this reader is too slow",
        &["missed"],
    ),
    (
        "coordinator/src/logs/line.rs",
        "what this trial's evaluator prints from here on is not kept: it is too much",
        &["search", "trial"],
    ),
];

/// A place that logs a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// ERROR, WARN, INFO or DEBUG.
    pub level: String,
    /// Other than that of the module.
    pub target: Option<String>,
    /// The text; the name of the event.
    pub message: String,
    /// The names of its fields.
    pub fields: BTreeSet<String>,
}

/// What the programs log.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// By program.
    pub sites: BTreeMap<&'static str, BTreeSet<Site>>,
}

impl Catalogue {
    /// Reads the sources.
    ///
    /// # Errors
    /// A source cannot be read, or a place that logs is none of the known forms.
    pub fn read() -> Result<Self> {
        let mut catalogue = Self::default();
        for (folder, programs) in SOURCES {
            let mut files = Vec::new();
            list(&repository().join(folder), &mut files)?;
            for path in files {
                let text = std::fs::read_to_string(&path)?;
                if !text.contains("tracing::") {
                    continue;
                }
                let sites = sites_of(&text).with_context(|| path.display().to_string())?;
                for program in programs {
                    let known = catalogue.sites.entry(program).or_default();
                    known.extend(sites.iter().cloned());
                }
            }
        }
        for (path, message, fields) in PUT_IN {
            let text = std::fs::read_to_string(repository().join(path))?;
            ensure!(text.contains(message), "{path} has no line {message:?}");
            let site = Site {
                level: "WARN".to_owned(),
                target: None,
                message: message.to_owned(),
                fields: fields.iter().map(|&name| name.to_owned()).collect(),
            };
            catalogue.sites.entry("espalier").or_default().insert(site);
        }
        Ok(catalogue)
    }

    /// That of these sources; read once.
    ///
    /// # Panics
    /// When a source is not as expected.
    #[must_use]
    pub fn get() -> &'static Self {
        static READ: OnceLock<Catalogue> = OnceLock::new();
        READ.get_or_init(|| Self::read().expect("the sources can be read"))
    }

    /// Whether a line is one of these, with no field that it does not have. Lines of other crates pass.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, line: &str) -> Result<()> {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            return Ok(()); // a line that no logger wrote: the last words of a program, say
        };
        let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
        let (level, target, message) = (text("level"), text("target"), text("message"));
        let own = target == EVALUATOR || target.split("::").next().is_some_and(is_own);
        if !own || ENVELOPE.iter().any(|key| !line.contains_key(*key)) {
            return Ok(());
        }
        let sites = self.sites.values().flatten();
        let fits = |site: &&Site| {
            let free = target == EVALUATOR && site.target.as_deref() == Some(EVALUATOR);
            site.level == level && (site.message == message || free)
        };
        let known: BTreeSet<&String> = sites.filter(fits).flat_map(|site| &site.fields).collect();
        let found = self.sites.values().flatten().any(|site| fits(&site));
        ensure!(found, "docs/logs.md has no {level} line {message:?}");
        for key in line.keys() {
            // The coordinator says in `espalier logs` on which worker it was printed.
            let added = target == EVALUATOR && key == "worker";
            let traced = key == TRACE && line.contains_key("search") && line.contains_key("trial");
            let fits = added || traced || ENVELOPE.contains(&key.as_str()) || known.contains(key);
            ensure!(
                fits,
                "docs/logs.md has no field {key:?} of the line {message:?}"
            );
        }
        Ok(())
    }

    /// The tables of `docs/logs.md`.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut text = String::from("| field | type | what it is |\n| --- | --- | --- |\n");
        for field in FIELDS {
            let Field {
                name,
                kind,
                meaning,
            } = field;
            text.push_str(&format!("| `{name}` | {kind} | {meaning} |\n"));
        }
        for (program, sites) in &self.sites {
            text.push_str(&format!(
                "\n### {program}\n\n| level | message | fields |\n| --- | --- | --- |\n"
            ));
            let order = ["ERROR", "WARN", "INFO", "DEBUG"];
            for level in order {
                for site in sites.iter().filter(|site| site.level == level) {
                    let message = if site.target.as_deref() == Some(EVALUATOR)
                        && site.message.starts_with('{')
                    {
                        "*(what an evaluator printed; `target` is `evaluator`)*"
                    } else {
                        &site.message
                    };
                    let fields: Vec<String> =
                        site.fields.iter().map(|name| format!("`{name}`")).collect();
                    let fields = fields.join(" ");
                    text.push_str(&format!("| {level} | {message} | {fields} |\n"));
                }
            }
        }
        text
    }
}

fn is_own(name: &str) -> bool {
    name.starts_with("espalier")
}

/// The sources below a folder, without tests and what is built.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !["tests", "benches", "examples", "target"].contains(&name.as_str()) {
                list(&path, files)?;
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            files.push(path);
        }
    }
    Ok(())
}
