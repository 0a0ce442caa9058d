//! Parsing of every command and option, and the help as users see it.

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};
use espalier_runtime::config::with_negative_numbers;

use super::*;
use crate::cli::output::Format;

fn read(line: &str) -> Result<Cli, clap::Error> {
    let command = with_negative_numbers(Cli::command());
    Cli::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
}

fn parse(line: &str) -> Command {
    read(line)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .command
}

fn refused(line: &str) -> String {
    read(line).expect_err(line).to_string()
}

macro_rules! parsed {
    ($line:expr, $variant:ident) => {
        match parse($line) {
            Command::$variant(args) => args,
            other => panic!("{}: {other:?}", $line),
        }
    };
}

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// The options that take a number, of a command and of those below it.
fn numeric(command: &clap::Command, path: &str, see: &mut impl FnMut(String, &clap::Arg)) {
    let numbers = [
        std::any::TypeId::of::<u32>(),
        std::any::TypeId::of::<u64>(),
        std::any::TypeId::of::<f64>(),
        std::any::TypeId::of::<Total<u32>>(),
        std::any::TypeId::of::<Total<u64>>(),
    ];
    for arg in command.get_arguments() {
        let id = arg.get_value_parser().type_id();
        if arg.get_action().takes_values() && numbers.iter().any(|number| id == *number) {
            see(format!("{path} {}", arg.get_id()), arg);
        }
    }
    for below in command.get_subcommands() {
        numeric(below, &format!("{path} {}", below.get_name()), see);
    }
}

#[test]
fn a_negative_number_is_never_taken_for_an_option() {
    let (mut seen, mut without) = (0, Vec::new());
    numeric(
        &with_negative_numbers(Cli::command()),
        "espalier",
        &mut |name, arg| {
            seen += 1;
            if !arg.is_allow_negative_numbers_set() {
                without.push(name);
            }
        },
    );
    assert!(seen > 30, "{seen}");
    assert!(without.is_empty(), "{without:?}");
    for (line, words) in [
        (
            "espalier simulate a.yaml --failure-rate -1",
            "a number from 0 to 1",
        ),
        ("espalier simulate a.yaml --target -0.5", "of at least 0"),
        ("espalier simulate a.yaml --seeds -1", "1..=10000"),
        ("espalier set x --trials -5", "-5"),
        ("espalier explain x -3", "-3 is not in"),
    ] {
        let told = refused(line);
        assert!(
            told.contains(words) && !told.contains("unexpected"),
            "{line}: {told}"
        );
    }
    // Metrics may be negative.
    assert_eq!(
        parsed!("espalier set x --target -1.5", Set).target,
        Some(-1.5)
    );
}

#[test]
fn run_has_useful_defaults() {
    let args = parsed!("espalier run a.yaml", Run);
    assert_eq!(args.spec, PathBuf::from("a.yaml"));
    assert_eq!((args.workers, args.slots_per_worker), (2, 1));
    assert_eq!(args.threads, None);
    assert_eq!(args.device, ["cpu"]);
    assert_eq!(args.data_dir, None);
    assert!(!args.resume && args.evaluator.is_empty());
    assert_eq!(args.output.output, Format::Table);
}

#[test]
fn what_is_no_device_is_refused_before_anything_starts() {
    for device in ["gpu", "cuda", "cuda:0,tpu:1", "cuda:-1", ""] {
        let words = ["espalier", "run", "a.yaml", "--device", device];
        let error = Cli::try_parse_from(words).unwrap_err().to_string();
        assert!(error.contains("cuda:0,cuda:1"), "{device}: {error}");
    }
}

#[test]
fn run_takes_every_option() {
    let args = parsed!(
        "espalier run a.yaml --workers 3 --slots-per-worker 4 --threads 5 --data-root d --data-dir r \
         --resume --evaluator mine=./train.sh --evaluator other=x --output json",
        Run
    );
    assert_eq!((args.workers, args.slots_per_worker), (3, 4));
    assert_eq!(args.threads, Some(5));
    assert_eq!(args.data.data_root, PathBuf::from("d"));
    assert_eq!(args.data_dir, Some(PathBuf::from("r")));
    assert!(args.resume && args.output.json());
    assert_eq!(args.evaluator.len(), 2);
    assert_eq!(args.evaluator[0].name, "mine");
    assert_eq!(args.evaluator[0].command, "./train.sh");
}

#[test]
fn run_refuses_no_workers_and_an_evaluator_without_a_name() {
    assert!(refused("espalier run a.yaml --workers 0").contains("--workers"));
    assert!(refused("espalier run a.yaml --slots-per-worker 0").contains("--slots-per-worker"));
    assert!(refused("espalier run a.yaml --threads 0").contains("--threads"));
    assert!(refused("espalier run a.yaml --evaluator train.py").contains("NAME=COMMAND"));
    assert!(refused("espalier run a.yaml --evaluator =x").contains("NAME=COMMAND"));
    assert!(refused("espalier run a.yaml --evaluator ./train.py=x").contains("not a name"));
    assert!(refused("espalier run a.yaml --evaluator trainer=x").contains("built-in"));
}

#[test]
fn serve_takes_every_option() {
    let args = parsed!(
        "espalier serve --listen 0.0.0.0:1 --data-dir d --tls on --tls-cert c --tls-key k --tls-ca a --token-dir t --worker-certificate-ms 5000 --lease-ttl-ms 5000 --output json \
         --log-format json",
        Serve
    );
    assert_eq!(args.listen, "0.0.0.0:1".parse().unwrap());
    assert_eq!(args.data_dir, Some(PathBuf::from("d")));
    assert!(args.tls.tls == access::Tls::On && args.output.json());
    let own = espalier_coordinator::CertificateSource::Own {
        certificate: "c".into(),
        key: "k".into(),
        authority: "a".into(),
    };
    assert_eq!(args.tls.certificate(), Ok(own));
    assert_eq!(args.tls.token_dir, Some(PathBuf::from("t")));
    assert_eq!(args.tls.worker_certificate_ms, Some(5_000));
    assert!(refused("espalier serve --tls-cert c --tls-key k").contains("--tls-ca"));
    assert_eq!(args.lease_ttl_ms, Some(5_000));
    assert!(refused("espalier serve --lease-ttl-ms 10").contains("--lease-ttl-ms"));
    assert!(refused("espalier serve --listen here").contains("--listen"));
}

#[test]
fn submit_and_validate_take_every_option() {
    let args = parsed!(
        "espalier submit a.yaml --data-root d --watch --output json",
        Submit
    );
    assert!(args.watch && args.output.json());
    assert_eq!(args.data.data_root, PathBuf::from("d"));
    let args = parsed!(
        "espalier validate a.yaml --data-root d --output json",
        Validate
    );
    assert!(args.output.json());
    assert_eq!(args.look.data.data_root, PathBuf::from("d"));
}

#[test]
fn the_queries_take_every_option() {
    assert!(parsed!("espalier list --output json", List).output.json());
    assert_eq!(parsed!("espalier status", Status).search, None);
    assert_eq!(
        parsed!("espalier status abc", Status).search.as_deref(),
        Some("abc")
    );
    assert_eq!(parsed!("espalier watch abc", Watch).search, "abc");
    let args = parsed!(
        "espalier trials abc --state failed --state queued --limit 7 --output json",
        Trials
    );
    assert_eq!(args.state, [TrialState::Failed, TrialState::Queued]);
    assert_eq!(args.limit, Some(7));
    let args = parsed!("espalier best abc -n 3 --download out", Best);
    assert_eq!(args.count, 3);
    assert_eq!(args.download, Some(PathBuf::from("out")));
    assert_eq!(parsed!("espalier best abc", Best).count, 10);
    assert!(refused("espalier best abc -n 101").contains("100"));
    assert!(refused("espalier trials abc --state lost").contains("infeasible"));
    assert!(refused("espalier watch").contains("SEARCH"));
}

#[test]
fn the_controls_name_their_search() {
    assert_eq!(parsed!("espalier pause a", Pause).search, "a");
    assert_eq!(parsed!("espalier resume a", Resume).search, "a");
    assert!(parsed!("espalier stop a --output json", Stop).output.json());
    assert!(matches!(parse("espalier schema"), Command::Schema));
    assert_eq!(
        parsed!("espalier completions zsh", Completions).shell,
        clap_complete::Shell::Zsh
    );
}

#[test]
fn an_address_is_a_url_or_a_host_and_port_before_or_after_the_command() {
    let address = |line: &str| {
        Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .address
            .unwrap()
    };
    assert_eq!(
        address("espalier --address 10.0.0.5:80 list"),
        "10.0.0.5:80"
    );
    assert_eq!(
        address("espalier list --address http://h:7777/"),
        "http://h:7777"
    );
    assert_eq!(
        address("espalier list --address https://h:1"),
        "https://h:1"
    );
    assert!(refused("espalier list --address ftp://h:1").contains("http://HOST:PORT"));
    assert!(refused("espalier list --address http://h").contains("http://HOST:PORT"));
}

#[test]
fn states_have_the_words_of_the_wire() {
    for state in TrialState::value_variants() {
        let name = state.to_possible_value().unwrap();
        assert_eq!(name.get_name(), state.word());
    }
}

/// The environment of whoever runs the test must not show in the snapshots.
fn help(command: clap::Command) -> String {
    let mut command = command.term_width(100).mut_args(|arg| arg.hide_env(true));
    command.render_long_help().to_string()
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let mut cli = Cli::command();
    cli.build();
    let mut text = help(cli.clone());
    for command in cli.get_subcommands() {
        if command.get_name() != "help" {
            text.push_str(&format!("\n\n=== {}\n", command.get_name()));
            text.push_str(&help(command.clone()));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_documentation_has_every_command_and_every_exit_code() {
    let page = include_str!("../../../../docs/commands.md");
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(page.contains(&format!("| `espalier {name}")), "{name}");
    }
    let codes: Vec<_> = EXIT_CODES.lines().skip(1).collect();
    assert!(codes.len() > 5);
    for line in codes {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn the_example_file_has_every_option_of_serve_and_can_be_read() {
    use clap::FromArgMatches as _;
    use espalier_runtime::config;

    let text = include_str!("../../../../deploy/config/coordinator.toml");
    let read = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let line = ["espalier", "serve", "--config"].map(std::ffi::OsString::from);
        let line = line.into_iter().chain([file.path().into()]);
        let matches = config::matches(Cli::command(), line);
        let matches = matches.unwrap_or_else(|error| panic!("{error}"));
        match Cli::from_arg_matches(&matches).unwrap().command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        }
    };
    let args = read(text);
    assert_eq!(args.data_dir, Some(PathBuf::from("/var/lib/espalier")));
    assert_eq!(args.lease_ttl_ms, None);
    // And with all that is shown as an example.
    let whole = text.lines().map(|line| {
        let example = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        example.unwrap_or(line)
    });
    let whole: String = whole.map(|line| format!("{line}\n")).collect();
    let args = read(&whole);
    let defaults = espalier_coordinator::ServerConfig::new("");
    assert_eq!(args.lease_ttl_ms, Some(defaults.lease_ttl_ms));
    assert_eq!(args.max_artifact_bytes, Some(defaults.max_artifact_bytes));
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    for option in serve.get_arguments() {
        let name = option.get_long().unwrap_or_default().replace('-', "_");
        let told = whole.contains(&format!("\n{name} = "));
        assert!(told || name == "config", "{name} is not in the file");
    }
}

#[test]
fn journal_takes_every_option() {
    let verify = |line: &str| match parsed!(line, Journal).command {
        JournalCommand::Verify(args) => args,
        other => panic!("{other:?}"),
    };
    let args = verify("espalier journal verify --data-dir d --output json");
    assert_eq!(args.folder.data_dir, Some(PathBuf::from("d")));
    assert!(args.output.json() && args.file.is_none());
    let args = verify("espalier journal verify --file f");
    assert_eq!(args.file, Some(PathBuf::from("f")));
    assert!(refused("espalier journal verify --file f --data-dir d").contains("--data-dir"));
    for verb in ["backup", "export", "import"] {
        assert!(refused(&format!("espalier journal {verb}")).contains("<FILE>"));
    }
    match parsed!("espalier journal import - --data-dir d", Journal).command {
        JournalCommand::Import(args) => assert_eq!(args.file, PathBuf::from("-")),
        other => panic!("{other:?}"),
    }
}
