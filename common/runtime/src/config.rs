//! Configuration in layers: what a program has by default < a file < the environment < flags. The file is
//! TOML and has the options of the command, by their names with `_` for `-`; it becomes the defaults of
//! clap's own definition, so that one parser checks every layer. May import clap and toml.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::builder::OsStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The largest file that is read: a thousand times what a program has options for.
const MAX_BYTES: u64 = 1024 * 1024;
/// The options that stand for no setting.
const NOT_SETTINGS: [&str; 3] = ["config", "help", "version"];

/// The option that names the file; flatten it into a command's own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// A file with these options, in TOML, by their names with `_` for `-`; environment and flags go before it
    #[arg(long, env = "ESPALIER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be used, or asks for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The file cannot be read.
    #[error("--config {}: {source}; name another file, or leave it out", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("{}:{line}:{column}: {what}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What is wrong, and what to write.
        what: String,
    },
}

/// The options of a command line whose command may have a file of them ([`ConfigArgs`]).
///
/// # Errors
/// [`ConfigError`]; whoever calls prints clap's own errors as clap does.
pub fn matches<I>(command: Command, arguments: I) -> Result<ArgMatches, ConfigError>
where
    I: IntoIterator<Item = OsString>,
{
    let command = with_negative_numbers(command);
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let Some((path, commands)) = named_file(&command, &arguments) else {
        return Ok(command.try_get_matches_from(arguments)?);
    };
    let text = read(&path)?;
    let file = File {
        path: &path,
        text: &text,
    };
    let settings = file.settings(leaf(&command, &commands))?;
    let layered = with_defaults(command, &commands, &settings);
    layered
        .try_get_matches_from(arguments)
        .map_err(|error| file.blame(&settings, error))
}

/// A command, and all those below it, that take `-1` for a value and not for an option: what is wrong with it, if
/// anything, the value's own parser says.
#[must_use]
pub fn with_negative_numbers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let takes_values = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes_values)
    });
    command.mut_subcommands(with_negative_numbers)
}

/// The file that a command line or the environment names, and the subcommands that lead to its command.
/// `None` also when the command line is wrong: then it is the parser's to say so.
fn named_file(command: &Command, arguments: &[OsString]) -> Option<(PathBuf, Vec<String>)> {
    // What is required may be in the file.
    let lenient = without_requirements(command.clone());
    let matches = lenient.try_get_matches_from(arguments).ok()?;
    let (mut matches, mut commands) = (&matches, Vec::new());
    while let Some((name, inner)) = matches.subcommand() {
        commands.push(name.to_owned());
        matches = inner;
    }
    // An error says that the command has no such option.
    let path = matches.try_get_one::<PathBuf>("config").ok().flatten()?;
    Some((path.clone(), commands))
}

fn without_requirements(command: Command) -> Command {
    let names = command.get_subcommands().map(|inner| inner.get_name());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let command = command.mut_args(|arg| arg.required(false));
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, without_requirements)
    })
}

fn leaf<'c>(command: &'c Command, commands: &[String]) -> &'c Command {
    commands.iter().fold(command, |command, name| {
        command.find_subcommand(name).unwrap_or(command)
    })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("it has more than {MAX_BYTES} bytes");
        return Err(unreadable(std::io::Error::other(message)));
    }
    Ok(text)
}

/// What the file says about one option.
struct Setting {
    /// The option as clap calls it.
    id: clap::Id,
    /// The option's flag, with which clap's errors about it begin to name it.
    flag: String,
    values: Vec<OsStr>,
    /// Where the value begins in the text.
    start: usize,
}

/// A file of settings.
struct File<'f> {
    path: &'f Path,
    text: &'f str,
}

impl File<'_> {
    /// Everything the file says, for a command.
    fn settings(&self, command: &Command) -> Result<Vec<Setting>, ConfigError> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            self.wrong(start, error.message().to_owned())
        })?;
        let known: Vec<(String, &Arg)> = command.get_arguments().filter_map(key_of).collect();
        let entries = table.get_ref().iter();
        let mut settings = entries
            .map(|(key, value)| self.setting(command, &known, key, value))
            .collect::<Result<Vec<_>, _>>()?;
        settings.sort_by_key(|setting| setting.start);
        Ok(settings)
    }

    fn setting(
        &self,
        command: &Command,
        known: &[(String, &Arg)],
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Setting, ConfigError> {
        let name = key.get_ref().as_ref();
        let Some((_, arg)) = known.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            let hint = match nearest(name, &names) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("there are {}", names.join(", ")),
            };
            let program = command.get_name();
            let what = format!("{program} has no option {name:?}; {hint}");
            return Err(self.wrong(key.span().start, what));
        };
        let values = match value.get_ref() {
            DeValue::Array(items) if matches!(arg.get_action(), ArgAction::Append) => {
                items.iter().map(|item| self.scalar(name, item)).collect()
            }
            _ => self.scalar(name, value).map(|value| vec![value]),
        };
        Ok(Setting {
            id: arg.get_id().clone(),
            flag: format!("--{}", arg.get_long().unwrap_or_default()),
            values: values?,
            start: value.span().start,
        })
    }

    /// The text of a value as it would stand on a command line.
    fn scalar(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<OsStr, ConfigError> {
        let wrong = |what: &str| self.wrong(value.span().start, format!("{name}: {what}"));
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| wrong("the number is too large"))?
                .to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return Err(wrong("one text, number, true or false is expected here"));
            }
        };
        Ok(OsStr::from(text))
    }

    /// An error of the parser, which has found nothing wrong without the file: so it is about a value of the
    /// file, or about what is missing in every layer.
    fn blame(&self, settings: &[Setting], error: clap::Error) -> ConfigError {
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
            return error.into();
        };
        let flag = shown.split_whitespace().next().unwrap_or_default();
        let Some(setting) = settings.iter().find(|setting| setting.flag == flag) else {
            return error.into();
        };
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let what = text.split("\n\nFor more").next().unwrap_or(text).trim();
        self.wrong(setting.start, what.to_owned())
    }

    fn wrong(&self, start: usize, what: String) -> ConfigError {
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Wrong {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what,
        }
    }
}

/// How a file names an option, if it is a setting.
fn key_of(arg: &Arg) -> Option<(String, &Arg)> {
    let long = arg.get_long()?;
    (!NOT_SETTINGS.contains(&long)).then(|| (long.replace('-', "_"), arg))
}

/// The command with what a file says as its defaults.
fn with_defaults(command: Command, commands: &[String], settings: &[Setting]) -> Command {
    if let [first, rest @ ..] = commands {
        return command.mut_subcommand(first, |inner| with_defaults(inner, rest, settings));
    }
    settings.iter().fold(command, |command, setting| {
        command.mut_arg(setting.id.clone(), |arg| {
            arg.required(false).default_values(setting.values.clone())
        })
    })
}

/// The known word that is meant, if one is near enough.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    // A longer word is no misspelling, and the distance costs time with its length.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let near = known.iter().map(|&candidate| {
        let distance = strsim::damerau_levenshtein(&word, candidate);
        (distance, candidate)
    });
    near.filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Program {
        #[arg(long, global = true, default_value = "here")]
        address: String,
        #[command(subcommand)]
        command: Inner,
    }

    #[derive(Debug, Subcommand)]
    enum Inner {
        Serve(Serve),
        Other,
    }

    #[derive(Debug, clap::Args)]
    struct Serve {
        #[command(flatten)]
        config: ConfigArgs,
        #[arg(long, env = "ESPALIER_TEST_OF_CONFIG_JOIN")]
        join: String,
        #[arg(long, env = "ESPALIER_TEST_OF_CONFIG_TTL_MS", default_value_t = 7,
              value_parser = clap::value_parser!(u64).range(1..))]
        ttl_ms: u64,
        #[arg(long)]
        insecure: bool,
        #[arg(long = "evaluator")]
        evaluators: Vec<String>,
    }

    fn parse(file: &Path, flags: &[&str]) -> Result<Serve, ConfigError> {
        let line = ["program", "serve", "--config"].map(OsString::from);
        let flags = flags.iter().map(OsString::from);
        let line = line.into_iter().chain([file.into()]).chain(flags);
        let matches = matches(Program::command(), line)?;
        let program = Program::from_arg_matches(&matches)?;
        assert_eq!(program.address, "here");
        match program.command {
            Inner::Serve(serve) => Ok(serve),
            Inner::Other => panic!("another command"),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default() {
        let whole =
            file("join = 'file'\nttl_ms = 1_000\ninsecure = true\nevaluator = ['a=x', 'b=y']\n");
        let serve = parse(whole.path(), &[]).unwrap();
        assert_eq!((serve.join.as_str(), serve.ttl_ms), ("file", 1000));
        assert!(serve.insecure);
        assert_eq!(serve.evaluators, ["a=x", "b=y"]);
        assert_eq!(serve.config.config.as_deref(), Some(whole.path()));

        let flags = ["--join=flag", "--ttl-ms=5", "--evaluator=c=z"];
        let serve = parse(whole.path(), &flags).unwrap();
        assert_eq!((serve.join.as_str(), serve.ttl_ms), ("flag", 5));
        assert_eq!(serve.evaluators, ["c=z"]);

        let part = file("# only this\njoin = 'file'\n");
        assert_eq!(parse(part.path(), &[]).unwrap().ttl_ms, 7);

        // clap reads the environment when an argument is defined, so it is enough to define one that is set.
        let home = std::env::var("PATH").unwrap();
        let command = Command::new("program")
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_parser(clap::value_parser!(PathBuf)),
            )
            .arg(
                Arg::new("path")
                    .long("path")
                    .env("PATH")
                    .default_value("none"),
            );
        let layered = file("path = 'file'\n");
        let line = [
            OsString::from("program"),
            "--config".into(),
            layered.path().into(),
        ];
        let found = matches(command, line).unwrap();
        assert_eq!(found.get_one::<String>("path"), Some(&home));
    }

    #[test]
    fn what_is_wrong_in_the_file_is_said_with_its_place() {
        for (text, expected) in [
            (
                "join = 'x'\nttl_sm = 3",
                ":2:1: serve has no option \"ttl_sm\"; did you mean ttl_ms?",
            ),
            ("ttl-ms = 3", "did you mean ttl_ms?"),
            ("colour = 3", "there are join, ttl_ms, insecure, evaluator"),
            ("address = 'x'", "serve has no option \"address\""),
            ("config = 'x'", "serve has no option \"config\""),
            (
                "join = 'x'\n  ttl_ms = 0",
                ":2:12: invalid value '0' for '--ttl-ms <TTL_MS>'",
            ),
            ("join = 'x'\nttl_ms = 'soon'", "invalid value 'soon'"),
            (
                "join = ['a']",
                ":1:8: join: one text, number, true or false",
            ),
            ("evaluator = [[1]]", ":1:14: evaluator: one text"),
            (
                "ttl_ms = 99999999999999999999",
                "ttl_ms: the number is too large",
            ),
            ("join = 'x'\njoin = 'y'", ":2:1: duplicate key"),
            ("[serve]\njoin = 'x'", "serve has no option \"serve\""),
            ("join 'x'", ":1:6: "),
        ] {
            let wrong = file(text);
            let error = parse(wrong.path(), &["--join=flag"]).unwrap_err();
            assert!(
                matches!(error, ConfigError::Wrong { .. }),
                "{text}: {error}"
            );
            let error = error.to_string();
            let path = wrong.path().display().to_string();
            assert!(
                error.starts_with(&path) && error.contains(expected),
                "{text}: {error}"
            );
            assert!(!error.contains("--help"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_on_the_command_line_is_claps_to_say() {
        let empty = file("");
        for (flags, expected) in [
            (&[][..], "--join <JOIN>"),
            (&["--join=x", "--ttl-ms=0"], "invalid value '0'"),
            (&["--nonsense"], "unexpected argument"),
            (&["--help"], "Usage: program serve [OPTIONS] --join <JOIN>"),
        ] {
            let error = parse(empty.path(), flags).unwrap_err();
            assert!(matches!(error, ConfigError::CommandLine(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_endless_is_refused() {
        let error = parse(Path::new("/nowhere/x.toml"), &["--join=x"]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/x.toml"), "{error}");
        let error = parse(Path::new("/dev/zero"), &["--join=x"]).unwrap_err();
        assert!(error.to_string().contains("bytes"), "{error}");
        let line = ["program", "other"].map(OsString::from);
        assert!(
            matches(Program::command(), line).is_ok(),
            "a command without a file"
        );
    }
}
