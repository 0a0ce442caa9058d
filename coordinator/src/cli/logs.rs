//! `espalier logs`: lines of the log for people or for machines, through restarts of the coordinator when they are
//! followed.

use espalier_proto::v1;
use espalier_runtime::Shutdown;
use espalier_runtime::backoff::Waits;
use serde_json::{Map, Value};

use super::args::LogsArgs;
use super::client::Client;
use super::error::{CliError, say};
use super::output::{Out, stdout};
use super::render::clean;

/// The longest text of a line that is shown to people.
const MOST_CHARACTERS: usize = 4_096;

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
    let mut request = v1::LogsRequest {
        search: args.search.clone().unwrap_or_default(),
        trial: args.trial,
        worker: args.worker.clone().unwrap_or_default(),
        follow: args.follow,
        last: args.last,
        after: String::new(),
    };
    let mut out = stdout();
    let mut waits = Waits::default();
    loop {
        let ended = stream(client, &mut request, args, &mut out).await;
        match ended {
            Err(CliError::Unreachable { reason, .. }) if args.follow => {
                say(&format!(
                    "the coordinator at {} is away ({}); it is tried again",
                    client.address(),
                    clean(&reason, 200)
                ));
                tokio::time::sleep(waits.next_wait()).await;
            }
            ended => return ended,
        }
        // What comes after the last line that was shown, all of it.
        if !request.after.is_empty() {
            request.last = None;
        }
    }
}

/// Shows one stream to its end.
async fn stream(
    client: &Client,
    request: &mut v1::LogsRequest,
    args: &LogsArgs,
    out: &mut Out<std::io::BufWriter<std::io::Stdout>>,
) -> Result<(), CliError> {
    let mut stream = client.logs(request.clone()).await?;
    loop {
        let reply = match stream.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return out.flush(),
            Err(status) => return Err(client.refused(&status)),
        };
        for line in &reply.lines {
            let fields: Option<Map<String, Value>> = serde_json::from_str(line).ok();
            let time = fields
                .as_ref()
                .and_then(|line| line.get("timestamp")?.as_str());
            if let Some(time) = time {
                time.clone_into(&mut request.after);
            }
            match fields {
                Some(fields) if !args.output.json() => out.line(&for_people(&fields))?,
                // As they are: one object a line.
                _ => out.line(line)?,
            }
        }
        out.flush()?;
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
