//! The commands that steer a search while it runs. May import the client and what renders its answers.

use espalier_proto::v1;
use serde::Serialize;

use super::args::{
    BanArgs, CancelArgs, EnqueueArgs, ForkArgs, PinArgs, RetryArgs, SearchArgs, SetArgs, Total,
};
use super::candidate_file::{Place, load};
use super::client::Client;
use super::error::CliError;
use super::output::{OutputArgs, stdout, table_width};
use super::render::{SearchView, failures_table, status_line, wishes_table};

/// `espalier pause`.
pub(super) async fn pause(client: &Client, args: &SearchArgs) -> Result<(), CliError> {
    print(&client.pause(&args.search).await?, args.output)
}

/// `espalier resume`.
pub(super) async fn resume(client: &Client, args: &SearchArgs) -> Result<(), CliError> {
    print(&client.resume(&args.search).await?, args.output)
}

/// `espalier stop`.
pub(super) async fn stop(client: &Client, args: &SearchArgs) -> Result<(), CliError> {
    print(&client.stop(&args.search).await?, args.output)
}

/// `espalier set`. What is added is added here, so that a call that is repeated changes nothing more.
pub(super) async fn set(client: &Client, args: &SetArgs) -> Result<(), CliError> {
    let status = client.get(&args.search).await?;
    let budget = status.budget.unwrap_or_default();
    let request = v1::SetLimitsRequest {
        search: super::render::uuid_text(&status.id),
        trials: total("trials", args.trials, budget.trials, u32::checked_add)?,
        time_ms: total("time", args.time, budget.time_ms, u64::checked_add)?,
        compute_ms: total("compute", args.compute, budget.compute_ms, u64::checked_add)?,
        deadline_ms: args.deadline,
        patience: args.patience,
        target: args.target,
        parallel: args.parallel,
        weight: args.weight,
    };
    let nothing = v1::SetLimitsRequest {
        search: request.search.clone(),
        ..v1::SetLimitsRequest::default()
    };
    if request == nothing {
        let message = "nothing is to be set; give --trials, --time, --parallel, …: see --help";
        return Err(CliError::Usage(message.to_owned()));
    }
    let status = client.set_limits(request).await?;
    if args.output.json() {
        return print(&status, args.output);
    }
    let mut out = stdout();
    out.text(&super::render::status_text(&status, None))?;
    out.flush()
}

/// The new total of a limit.
fn total<T: Copy>(
    option: &str,
    wanted: Option<Total<T>>,
    present: Option<T>,
    add: impl Fn(T, T) -> Option<T>,
) -> Result<Option<T>, CliError> {
    match (wanted, present) {
        (None, _) => Ok(None),
        (Some(Total::To(value)), _) => Ok(Some(value)),
        (Some(Total::More(more)), Some(present)) => match add(present, more) {
            Some(sum) => Ok(Some(sum)),
            None => Err(CliError::Usage(format!("--{option}: the sum is too large"))),
        },
        (Some(Total::More(_)), None) => Err(CliError::Usage(format!(
            "--{option}: the search has no such limit yet; give a total, without the +"
        ))),
    }
}

/// `espalier enqueue`.
pub(super) async fn enqueue(client: &Client, args: &EnqueueArgs) -> Result<(), CliError> {
    let request = v1::EnqueueRequest {
        search: args.search.clone(),
        candidate_json: candidate(&args.candidate)?,
        first: args.first,
    };
    print(&client.enqueue(request).await?, args.output)
}

/// `espalier ban`.
pub(super) async fn ban(client: &Client, args: &BanArgs) -> Result<(), CliError> {
    let request = v1::BanRequest {
        search: args.search.clone(),
        candidate_json: candidate(&args.candidate)?,
    };
    print(&client.ban(request).await?, args.output)
}

/// The decisions of the candidate at a place, as JSON.
fn candidate(place: &str) -> Result<String, CliError> {
    let candidates = load(&[Place::of(place)])?;
    let decisions = candidates.first().map(|candidate| &candidate.decisions);
    serde_json::to_string(&decisions).map_err(|error| CliError::Spec(format!("{place}: {error}")))
}

/// `espalier pin`.
pub(super) async fn pin(client: &Client, args: &PinArgs) -> Result<(), CliError> {
    print(&client.pin(&args.search, args.trial).await?, args.output)
}

/// `espalier cancel`.
pub(super) async fn cancel(client: &Client, args: &CancelArgs) -> Result<(), CliError> {
    let mut status = client.get(&args.search).await?;
    let search = super::render::uuid_text(&status.id);
    for trial in &args.trials {
        status = client.cancel(&search, *trial).await?;
    }
    print(&status, args.output)
}

/// `espalier retry`.
pub(super) async fn retry(client: &Client, args: &RetryArgs) -> Result<(), CliError> {
    let request = v1::RetryRequest {
        search: args.search.clone(),
        trials: args.trials.clone(),
        reason: args.reason.clone().unwrap_or_default(),
    };
    let (status, waiting, banned) = client.retry(request).await?;
    if !args.output.json() {
        let mut out = stdout();
        out.line(&retried(waiting, banned))?;
        out.flush()?;
    }
    print(&status, args.output)
}

/// What became of trials that were to be tried again.
fn retried(waiting: usize, banned: usize) -> String {
    let waiting = match (waiting, banned) {
        (0, 0) => return "no trial failed so".to_owned(),
        (0, _) => "no trial waits again".to_owned(),
        (1, _) => "1 trial waits again".to_owned(),
        (several, _) => format!("{several} trials wait again"),
    };
    match banned {
        0 => waiting,
        1 => format!("{waiting}; 1 stays as it is, since its candidate is banned"),
        several => {
            format!("{waiting}; {several} stay as they are, since their candidates are banned")
        }
    }
}

/// `espalier fork`.
pub(super) async fn fork(client: &Client, args: &ForkArgs) -> Result<(), CliError> {
    let settings = args.settings.iter().map(|(key, value)| v1::Setting {
        key: key.clone(),
        value: value.clone(),
    });
    let request = v1::ForkRequest {
        search: args.search.clone(),
        at: args.at.unwrap_or_default(),
        name: args.name.clone().unwrap_or_default(),
        settings: settings.collect(),
        id: uuid::Uuid::new_v4().as_bytes().to_vec(),
    };
    print(&client.fork(request).await?, args.output)
}

/// A group of failures as JSON. Its keys are stable.
#[derive(Serialize)]
struct FailureView<'a> {
    domain: &'a str,
    kind: &'a str,
    last_line: &'a str,
    message: &'a str,
    attempts: u32,
    trials: &'a [u32],
    trial_count: u32,
    workers: &'a [String],
    last_ms: u64,
}

/// `espalier failures`.
pub(super) async fn failures(client: &Client, args: &SearchArgs) -> Result<(), CliError> {
    let reply = client.failures(&args.search).await?;
    let mut out = stdout();
    if args.output.json() {
        let views = reply.groups.iter().map(|group| FailureView {
            domain: &group.domain,
            kind: &group.kind,
            last_line: &group.last_line,
            message: &group.message,
            attempts: group.attempts,
            trials: &group.trials,
            trial_count: group.trial_count,
            workers: &group.workers,
            last_ms: group.last_ms,
        });
        out.json(&views.collect::<Vec<_>>())?;
    } else if reply.groups.is_empty() {
        out.line("no attempt has failed")?;
    } else {
        out.text(&failures_table(&reply.groups, table_width()))?;
        if reply.more {
            out.line("there are more reasons; these are the most frequent")?;
        }
    }
    out.flush()
}

/// A wish as JSON. Its keys are stable.
#[derive(Serialize)]
struct WishView<'a> {
    time_ms: u64,
    by: Option<&'a str>,
    wish: &'a str,
}

/// `espalier history`.
pub(super) async fn history(client: &Client, args: &SearchArgs) -> Result<(), CliError> {
    let wishes = client.wishes(&args.search).await?;
    let mut out = stdout();
    if args.output.json() {
        let views = wishes.iter().map(|wish| WishView {
            time_ms: wish.time_ms,
            by: Some(wish.by.as_str()).filter(|by| !by.is_empty()),
            wish: &wish.wish,
        });
        out.json(&views.collect::<Vec<_>>())?;
    } else if wishes.is_empty() {
        out.line("nobody has changed anything of this search")?;
    } else {
        out.text(&wishes_table(&wishes, table_width()))?;
    }
    out.flush()
}

fn print(status: &v1::SearchStatus, output: OutputArgs) -> Result<(), CliError> {
    let mut out = stdout();
    if output.json() {
        out.json(&SearchView::new(status, None))?;
    } else {
        out.line(&status_line(status))?;
    }
    out.flush()
}
