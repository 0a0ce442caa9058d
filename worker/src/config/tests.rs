//! Flags and what is made of them.

use super::limits::parse_size;
use super::*;

#[test]
fn a_command_line_is_split_as_a_shell_splits_it() {
    let program = Program::parse("mine=python 'my train.py' --lr=0.1").unwrap();
    assert_eq!(program.name, "mine");
    assert_eq!(program.command, ["python", "my train.py", "--lr=0.1"]);
}

#[test]
fn wrong_evaluators_are_refused_with_what_to_write() {
    for (text, part) in [
        ("python train.py", "NAME='command line'"),
        ("mine=", "no command"),
        ("mine=python 'open", "mine"),
        ("trainer=python x", "--trainer"),
        ("a b=python", "letters"),
        ("=python", "1 to 64"),
    ] {
        let error = Program::parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_coordinator_is_a_host_with_a_port() {
    for text in ["node1:7050", "http://node1:7050", "http://node1:7050/"] {
        assert_eq!(
            coordinator_url(text, false, false).unwrap(),
            "http://node1:7050"
        );
    }
    assert_eq!(
        coordinator_url("[::1]:80", false, false).unwrap(),
        "http://[::1]:80"
    );
    for (text, part) in [
        ("node1", "no port"),
        ("ftp://node1:1", "another scheme"),
        ("node1:7050/x", "after the port"),
        ("a b:1", "no address"),
        ("", "no address"),
    ] {
        let error = coordinator_url(text, false, false).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn whether_tls_is_spoken_the_scheme_says_or_what_the_worker_has() {
    let url = |text, member, token| coordinator_url(text, member, token).unwrap();
    assert_eq!(url("node1:1", true, true), "https://node1:1");
    assert_eq!(url("node1:1", true, false), "https://node1:1");
    assert_eq!(url("http://node1:1", true, false), "http://node1:1");
    assert_eq!(url("https://node1:1", false, false), "https://node1:1");
    let error = coordinator_url("http://node1:1", true, true).unwrap_err();
    assert!(error.to_string().contains("over TLS only"), "{error}");
}

#[test]
fn times_need_a_unit() {
    assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
    assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
    for text in [
        "90",
        "",
        "s",
        "-1s",
        "99999999999999999999h",
        "9999999999999999h",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_need_a_unit_and_units_are_powers_of_1024() {
    assert_eq!(parse_size("64K"), Ok(64 << 10));
    assert_eq!(parse_size("500M"), Ok(500 << 20));
    assert_eq!(parse_size("8G"), Ok(8 << 30));
    assert_eq!(parse_size("1T"), Ok(1 << 40));
    for text in ["8", "", "G", "1.5G", "-1G", "8GB", "8 G", "0G", "99999999T"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}

fn limits(options: &[&str]) -> Result<Limits, ConfigError> {
    let line = [
        "espalier-worker",
        "--join=localhost:1",
        "--name=n1",
        "--cache-dir=/tmp/c",
    ];
    let args = Args::try_parse_from(line.iter().chain(options)).unwrap();
    WorkerConfig::from_args(args).map(|config| config.limits)
}

#[test]
fn what_an_evaluator_may_use_is_unlimited_but_for_its_output_unless_said() {
    let unless_said = limits(&[]).unwrap();
    assert_eq!(
        (
            unless_said.memory,
            unless_said.time,
            unless_said.output,
            unless_said.scratch
        ),
        (None, None, 1 << 30, None)
    );
    let said = limits(&[
        "--evaluator-time=2h",
        "--evaluator-output=5M",
        "--evaluator-scratch=2G",
    ])
    .unwrap();
    assert_eq!(
        (said.time, said.output, said.scratch),
        (Some(Duration::from_secs(7200)), 5 << 20, Some(2 << 30))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_memory_limit_in_which_no_program_starts_is_refused() {
    assert_eq!(
        limits(&["--evaluator-memory=8G"]).unwrap().memory,
        Some(8 << 30)
    );
    let error = limits(&["--evaluator-memory=8K"]).unwrap_err().to_string();
    assert!(
        error.contains("--evaluator-memory") && error.contains("16M"),
        "{error}"
    );
}

#[test]
fn the_flags_have_the_documented_defaults() {
    let args = Args::try_parse_from([
        "espalier-worker",
        "--join=localhost:1",
        "--name=n1",
        "--cache-dir=/tmp/c",
        "--slots=2",
    ])
    .unwrap();
    let config = WorkerConfig::from_args(args).unwrap();
    assert_eq!(config.work_dir, Path::new("/tmp/c/workers/n1"));
    assert!(config.threads >= 1);
    assert_eq!(config.evaluator_silence, Duration::from_secs(60));
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.data_silence, Duration::from_secs(120));
    assert_eq!(config.cache_bytes, 20 << 30);
    assert_eq!(config.device, "cpu");
    // Tests run in target/debug/deps, where there is no trainer.
    assert!(config.evaluators.is_empty());
}

#[test]
fn the_example_file_has_every_option_and_can_be_read() {
    let text = include_str!("../../../deploy/config/worker.toml");
    let path = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    };
    let read = |file: &tempfile::NamedTempFile| {
        let line = ["espalier-worker", "--config"].map(OsString::from);
        let line = line.into_iter().chain([file.path().into()]);
        Args::read(line).unwrap_or_else(|error| panic!("{error}"))
    };
    let args = read(&path(text));
    assert_eq!((args.join.as_str(), args.slots), ("127.0.0.1:7777", 1));
    // And with all that is shown as an example.
    let whole = text.lines().map(|line| {
        let example = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        example.unwrap_or(line)
    });
    let whole: String = whole.map(|line| format!("{line}\n")).collect();
    let args = read(&path(&whole));
    assert_eq!(args.evaluators, ["mine=python3 train.py"]);
    assert_eq!(args.until_idle, Some(Duration::from_secs(600)));
    for option in Args::command().get_arguments() {
        let name = option.get_long().unwrap_or_default().replace('-', "_");
        let told = whole.contains(&format!("\n{name} = "));
        assert!(told || name == "config", "{name} is not in the file");
    }
}

#[test]
fn a_device_is_cpu_or_a_numbered_gpu() {
    assert!(check_device("cpu").is_ok() && check_device("cuda:1").is_ok());
    assert!(check_device("cuda").is_err() && check_device("gpu:0").is_err());
    assert!(check_device("cuda:+1").is_err() && check_device("cuda:01").is_err());
}

#[test]
fn a_negative_number_is_never_taken_for_an_option() {
    use clap::CommandFactory as _;

    let numbers = [std::any::TypeId::of::<u32>(), std::any::TypeId::of::<u64>()];
    let command = config::with_negative_numbers(Args::command());
    let numeric: Vec<_> = command
        .get_arguments()
        .filter(|arg| {
            let id = arg.get_value_parser().type_id();
            arg.get_action().takes_values() && numbers.iter().any(|number| id == *number)
        })
        .collect();
    assert!(numeric.len() > 5, "{}", numeric.len());
    for arg in numeric {
        assert!(arg.is_allow_negative_numbers_set(), "{}", arg.get_id());
    }
}
