//! What a candidate does wrong costs one attempt: it takes all memory, breaks, never ends, prints without end,
//! fills a disk. Real processes, and each test asserts that its fault took place.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::time::Duration;

use espalier_proto::v1;
use espalier_worker::{Limits, Program};
use support::{Bench, Running, is_running, job, until};

const MIB: u64 = 1 << 20;

/// The folder and the program of a worker.
struct Unstarted {
    bench: Bench,
    line: String,
}

impl Unstarted {
    fn new() -> Self {
        let bench = Bench::new();
        let script = bench.path("greedy.py");
        std::fs::write(&script, include_str!("support/greedy.py")).unwrap();
        let folder = bench.folder.path().display();
        let line = format!("mine=python3 '{}' '{folder}'", script.display());
        Self { bench, line }
    }
}

/// A worker with one slot whose evaluator misbehaves as it is told.
struct Greedy {
    bench: Bench,
    worker: Running,
    jobs: u32,
}

impl Greedy {
    fn start(limits: Limits) -> Self {
        let Unstarted { bench, line } = Unstarted::new();
        let mut config = bench.config();
        config.evaluators = vec![Program::parse(&line).unwrap()];
        config.limits = limits;
        let worker = Running::of(config);
        Self {
            bench,
            worker,
            jobs: 0,
        }
    }

    /// What became of a job: the failure, if it is one.
    async fn run(&mut self, what: &str) -> Option<v1::Failure> {
        self.jobs += 1;
        let (fails, jobs) = (self.bench.fake.lock().fails.len(), self.jobs as usize);
        self.bench.fake.grant(job(self.jobs, what));
        let over = |state: &support::State| state.fails.len() + state.completes.len() == jobs;
        self.bench.fake.until("the job is over", over).await;
        assert_eq!(self.lines("begun").last().map(String::as_str), Some(what));
        let state = self.bench.fake.lock();
        (state.fails.len() > fails).then(|| state.failure(fails).clone())
    }

    /// The failure of a job, that nothing is left of the process in which it was, and that the slot goes on.
    async fn fail(&mut self, what: &str) -> v1::Failure {
        let failure = self.run(what).await.expect("it fails");
        let pids = [self.bench.pids("pids"), self.bench.pids("children")].concat();
        for pid in pids {
            until("its process is gone", || !is_running(pid)).await;
        }
        assert_eq!(self.run("well").await, None, "after {what}");
        failure
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.bench.path(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The last number in `reached`.
    fn reached(&self) -> u64 {
        self.lines("reached")
            .last()
            .map_or(0, |line| line.parse().unwrap())
    }

    async fn end(self) {
        self.worker.end().await.unwrap();
    }
}

fn kind(failure: &v1::Failure) -> (&str, &str) {
    (&failure.domain, &failure.kind)
}

fn says(failure: &v1::Failure, part: &str) {
    assert!(failure.message.contains(part), "{}", failure.message);
}

#[cfg(target_os = "linux")]
fn memory(mib: u64) -> Limits {
    Limits {
        memory: Some(mib * MIB),
        ..Limits::default()
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_candidate_that_takes_more_memory_than_it_may_is_ended_and_the_next_one_runs() {
    let mut greedy = Greedy::start(memory(256));
    let failure = greedy.fail("memory").await;
    assert_eq!(kind(&failure), ("worker", "out_of_memory"));
    says(&failure, "256M of memory that --evaluator-memory allows");
    let reached = greedy.reached();
    assert!((160..4096).contains(&reached), "{reached} MiB");
    greedy.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_of_what_a_candidate_started_counts_too() {
    let mut greedy = Greedy::start(memory(256));
    let failure = greedy.fail("memory_of_children").await;
    assert_eq!(kind(&failure), ("worker", "out_of_memory"));
    // No child had more than it may; together they had.
    assert_eq!(greedy.bench.pids("children").len(), 4);
    greedy.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn address_space_that_is_only_reserved_and_memory_that_processes_share_do_not_count() {
    let mut greedy = Greedy::start(memory(256));
    assert_eq!(greedy.run("reserve").await, None);
    assert_eq!(greedy.reached(), 64 << 10);
    assert_eq!(greedy.run("share").await, None);
    assert!(
        greedy.reached() > 500,
        "{} MiB in all processes",
        greedy.reached()
    );
    assert_eq!(greedy.bench.pids("pids").len(), 1);
    greedy.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn evaluators_are_the_first_to_go_when_the_machines_memory_runs_out() {
    let mut greedy = Greedy::start(Limits::default());
    assert_eq!(greedy.run("well").await, None);
    let score = |pid: i32| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let own = score(std::process::id().try_into().unwrap());
    assert_eq!(score(greedy.bench.pids("pids")[0]), own.max(500));
    greedy.end().await;
}

#[tokio::test]
async fn a_segfault_costs_one_attempt() {
    let mut greedy = Greedy::start(Limits::default());
    let failure = greedy.fail("segfault").await;
    assert_eq!(kind(&failure), ("worker", "crashed"));
    says(&failure, "SIGSEGV");
    greedy.end().await;
}

#[tokio::test]
async fn a_loop_that_is_not_silent_ends_with_its_time() {
    let limits = Limits {
        time: Some(Duration::from_millis(700)),
        ..Limits::default()
    };
    let mut greedy = Greedy::start(limits);
    let failure = greedy.fail("endless").await;
    assert_eq!(kind(&failure), ("worker", "hung"));
    says(&failure, "0.7 s that --evaluator-time allows");
    greedy.end().await;
}

#[tokio::test]
async fn a_flood_of_output_costs_one_attempt_whatever_it_consists_of() {
    let limits = Limits {
        output: 2 * MIB,
        ..Limits::default()
    };
    let mut greedy = Greedy::start(limits);
    for what in ["flood", "flood_of_errors", "flood_of_messages"] {
        let failure = greedy.fail(what).await;
        assert_eq!(kind(&failure), ("worker", "evaluator"), "{what}");
        says(&failure, "2M to stdout and stderr");
        assert!(failure.log_tail.len() <= 8 << 10);
    }
    greedy.end().await;
}

#[tokio::test]
async fn what_one_job_writes_is_not_held_against_the_next() {
    let limits = Limits {
        output: 300,
        ..Limits::default()
    };
    let mut greedy = Greedy::start(limits);
    for _ in 0..5 {
        assert_eq!(greedy.run("well").await, None);
    }
    assert_eq!(greedy.bench.pids("pids").len(), 1);
    greedy.end().await;
}

#[tokio::test]
async fn a_scratch_folder_that_grows_too_large_costs_one_attempt_and_is_emptied() {
    let limits = Limits {
        scratch: Some(10 * MIB),
        ..Limits::default()
    };
    let mut greedy = Greedy::start(limits);
    let failure = greedy.fail("scratch").await;
    assert_eq!(kind(&failure), ("worker", "disk"));
    says(
        &failure,
        "10M in its scratch folder that --evaluator-scratch allows",
    );
    assert!(
        (11..1000).contains(&greedy.reached()),
        "{} MiB",
        greedy.reached()
    );
    let scratch = greedy.bench.path("work/scratch");
    until("the scratch is empty", || {
        std::fs::read_dir(&scratch).unwrap().count() == 0
    })
    .await;
    greedy.end().await;
}

#[tokio::test]
async fn a_full_disk_is_the_machines_failure_however_the_program_puts_it() {
    let mut greedy = Greedy::start(Limits::default());
    let failure = greedy.fail("full_disk").await;
    assert_eq!(kind(&failure), ("worker", "disk"));
    says(&failure, "a disk is full");
    assert!(
        failure.log_tail.contains("No space left"),
        "{}",
        failure.log_tail
    );
    let failure = greedy.run("full_disk_told").await.unwrap();
    assert_eq!(kind(&failure), ("worker", "disk"));
    greedy.end().await;
}

#[tokio::test]
async fn a_gpu_whose_memory_ran_out_is_told_from_an_error_of_the_candidate() {
    let mut greedy = Greedy::start(Limits::default());
    let failure = greedy.fail("gpu_memory").await;
    assert_eq!(kind(&failure), ("worker", "out_of_memory"));
    says(&failure, "memory of its GPU ran out");
    let failure = greedy.fail("own_error").await;
    assert_eq!(kind(&failure), ("worker", "crashed"));
    assert!(
        failure.log_tail.contains("OutOfMemoryError"),
        "it was printed before"
    );
    assert!(failure.log_tail.contains("the labels have 3 columns"));
    greedy.end().await;
}

/// A control group of this test, in which a worker can be started; `None` where that is not permitted.
#[cfg(target_os = "linux")]
struct OwnGroup(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl OwnGroup {
    fn make(name: &str) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let at = std::path::Path::new("/sys/fs/cgroup").join(own);
        let group = at.join(format!("espalier-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&group).ok()?;
        let made = Self(group);
        made.0.join("memory.max").exists().then_some(made)
    }

    /// A worker process in it, with a memory limit for its evaluators.
    fn worker(&self, greedy: &Unstarted) -> std::process::Child {
        let line = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        std::process::Command::new("sh")
            .args(["-c", line])
            .arg(&self.0)
            .arg(env!("CARGO_BIN_EXE_espalier-worker"))
            .args([
                "--name",
                "p1",
                "--evaluator-memory",
                "128M",
                "--log-format",
                "json",
            ])
            .args(["--join", &greedy.bench.fake.url()])
            .args(["--evaluator", &greedy.line])
            .arg("--cache-dir")
            .arg(greedy.bench.path("cache"))
            .stderr(
                std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(greedy.bench.path("log"))
                    .unwrap(),
            )
            .spawn()
            .unwrap()
    }

    fn groups_of_evaluators(&self) -> usize {
        let entries = std::fs::read_dir(&self.0).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("evaluator-")).count()
    }
}

#[cfg(target_os = "linux")]
impl Drop for OwnGroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        std::thread::sleep(Duration::from_millis(200));
        let _ = std::fs::remove_dir(self.0.join("worker"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Needs cgroup v2 with the memory controller in the group of this test, and the right to make groups there; where
/// that is not given, it says so and shows nothing.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn in_a_control_group_of_the_worker_the_kernel_keeps_the_limit() {
    let Some(group) = OwnGroup::make("kernel") else {
        // Not by eprintln!, which cargo shows of tests that fail only.
        let mut stderr = std::io::stderr();
        let _ = writeln!(
            stderr,
            "not tested here: no control group with a memory controller can be made here"
        );
        return;
    };
    let greedy = Unstarted::new();
    let mut worker = group.worker(&greedy);
    let fake = &greedy.bench.fake;
    fake.grant(job(1, "memory"));
    fake.until("it failed", |state| state.fails.len() == 1)
        .await;
    {
        let state = fake.lock();
        assert_eq!(kind(state.failure(0)), ("worker", "out_of_memory"));
        says(
            state.failure(0),
            "128M of memory that --evaluator-memory allows",
        );
    }
    let log = std::fs::read_to_string(greedy.bench.path("log")).unwrap();
    assert!(
        log.contains("limited by the kernel, in control groups"),
        "{log}"
    );
    fake.grant(job(2, "share"));
    fake.completed(1).await;
    assert_eq!(group.groups_of_evaluators(), 1);

    let this = nix::unistd::Pid::from_raw(worker.id().try_into().unwrap());
    nix::sys::signal::kill(this, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(worker.wait().unwrap().success());
    assert_eq!(group.groups_of_evaluators(), 0);
}
