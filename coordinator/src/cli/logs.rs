//! `espalier logs`: lines of the log for people or for machines, through restarts of the coordinator when they are
//! followed.

use espalier_proto::v1;
use espalier_runtime::Shutdown;
use espalier_runtime::backoff::Waits;
use serde_json::{Map, Value};
use tonic::Streaming;

use super::args::LogsArgs;
use super::client::Client;
use super::error::{CliError, say};
use super::output::{Out, stdout};
use super::render::clean;

/// The longest text of a line that is shown to people.
const MOST_CHARACTERS: usize = 4_096;

/// The most lines that wait to be shown; a coordinator sends no more without a place.
const MOST_PENDING: usize = 65_536;

/// `espalier logs`.
pub(super) async fn logs(client: &Client, args: &LogsArgs) -> Result<(), CliError> {
    let shutdown = Shutdown::on_signals().map_err(|error| CliError::Failed(error.to_string()))?;
    tokio::select! {
        shown = show(client, args) => shown,
        // What has come is shown; there is nothing to finish.
        () = shutdown.requested(), if args.follow => Ok(()),
    }
}

async fn show(client: &Client, args: &LogsArgs) -> Result<(), CliError> {
    let mut reader = Reader {
        request: v1::LogsRequest {
            search: args.search.clone().unwrap_or_default(),
            trial: args.trial,
            worker: args.worker.clone().unwrap_or_default(),
            follow: args.follow,
            last: args.last,
            from: String::new(),
        },
        json: args.output.json(),
        out: stdout(),
        pending: Vec::new(),
    };
    let mut waits = Waits::default();
    let mut told = false;
    loop {
        let lost = match client.logs(reader.request.clone()).await {
            Ok(stream) => match reader.stream(client, stream).await? {
                Ended::Whole => return Ok(()),
                Ended::Broken(error) if !args.follow => return Err(error),
                Ended::Broken(error) => {
                    (waits, told) = (Waits::default(), false);
                    error.to_string()
                }
            },
            Err(CliError::Unreachable { reason, .. }) if args.follow => reason,
            Err(error) => return Err(error),
        };
        if !told {
            told = true;
            say(&format!(
                "the coordinator at {} is away ({}); it is tried again until it is back",
                client.address(),
                clean(&lost, 200)
            ));
        }
        tokio::time::sleep(waits.next_wait()).await;
    }
}

/// What a stream came to.
enum Ended {
    /// All of it was shown.
    Whole,
    /// The connection broke, or the coordinator ended.
    Broken(CliError),
}

/// Shows lines, and knows where it is.
struct Reader {
    request: v1::LogsRequest,
    json: bool,
    out: Out<std::io::BufWriter<std::io::Stdout>>,
    /// Lines behind which the place is not known yet: after a break they would come once more.
    pending: Vec<String>,
}

impl Reader {
    /// Shows one stream to its end.
    async fn stream(
        &mut self,
        client: &Client,
        mut stream: Streaming<v1::LogsReply>,
    ) -> Result<Ended, CliError> {
        self.pending.clear();
        loop {
            let reply = match stream.message().await {
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(Ended::Whole),
                Err(status) => {
                    return match client.refused(&status) {
                        // What breaks in the middle of a stream is the connection; a refusal comes with the next call.
                        error @ (CliError::Unreachable { .. } | CliError::Failed(_)) => {
                            Ok(Ended::Broken(error))
                        }
                        refused => Err(refused),
                    };
                }
            };
            self.pending.extend(reply.lines);
            if reply.place.is_empty() && self.pending.len() < MOST_PENDING {
                continue;
            }
            if !reply.place.is_empty() {
                self.request.from = reply.place;
            }
            // Of what comes after this, all.
            self.request.last = None;
            for line in std::mem::take(&mut self.pending) {
                match serde_json::from_str(&line) {
                    Ok(fields) if !self.json => self.out.line(&for_people(&fields))?,
                    // As they are: one object a line.
                    _ => self.out.line(&line)?,
                }
            }
            self.out.flush()?;
        }
    }
}

/// A line for people: time, level, what happened, and the fields.
fn for_people(line: &Map<String, Value>) -> String {
    let text = |key: &str| {
        let value = line.get(key).and_then(Value::as_str).unwrap_or_default();
        clean(value, MOST_CHARACTERS)
    };
    let printed = text("target") == "evaluator";
    let mut shown = format!(
        "{} {:>5} {}",
        text("timestamp"),
        text("level"),
        text("message")
    );
    for (key, value) in line {
        let known = ["timestamp", "level", "message", "target"].contains(&key.as_str());
        // Of what an evaluator printed it is enough to know the trial.
        if known || (printed && !["trial", "worker"].contains(&key.as_str())) {
            continue;
        }
        let value = match value {
            Value::String(text) => clean(text, MOST_CHARACTERS),
            other => other.to_string(),
        };
        shown.push_str(&format!(" {}={value}", clean(key, 64)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        for_people(&serde_json::from_str(line).unwrap())
    }

    #[test]
    fn a_line_for_people_has_its_fields_behind_its_text_and_no_control_characters() {
        let line = "{\"timestamp\":\"2026-01-02T03:04:05Z\",\"level\":\"WARN\",\"message\":\"attempt failed\",\
                    \"trial\":3,\"reason\":\"a\\u001b[2Jb\",\"target\":\"espalier_coordinator\"}";
        assert_eq!(
            shown(line),
            "2026-01-02T03:04:05Z  WARN attempt failed reason=a [2Jb trial=3"
        );
    }

    #[test]
    fn what_an_evaluator_printed_has_its_trial_and_its_worker() {
        let line = "{\"timestamp\":\"t\",\"level\":\"INFO\",\"message\":\"epoch 1\",\"search\":\"x\",\"trial\":3,\
                    \"slot\":0,\"worker\":\"a\",\"target\":\"evaluator\"}";
        assert_eq!(shown(line), "t  INFO epoch 1 trial=3 worker=a");
    }
}
