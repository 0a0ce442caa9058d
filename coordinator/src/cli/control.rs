//! The commands that steer a search: `pause`, `resume`, `stop`.

use espalier_proto::v1::SearchStatus;

use super::args::{PauseArgs, ResumeArgs, StopArgs};
use super::client::Client;
use super::error::CliError;
use super::output::{OutputArgs, stdout};
use super::render::{SearchView, status_line};

/// `espalier pause`.
pub(super) async fn pause(client: &Client, args: &PauseArgs) -> Result<(), CliError> {
    print(&client.pause(&args.search).await?, args.output)
}

/// `espalier resume`.
pub(super) async fn resume(client: &Client, args: &ResumeArgs) -> Result<(), CliError> {
    print(&client.resume(&args.search).await?, args.output)
}

/// `espalier stop`.
pub(super) async fn stop(client: &Client, args: &StopArgs) -> Result<(), CliError> {
    print(&client.stop(&args.search).await?, args.output)
}

fn print(status: &SearchStatus, output: OutputArgs) -> Result<(), CliError> {
    let mut out = stdout();
    if output.json() {
        out.json(&SearchView::new(status, None))?;
    } else {
        out.line(&status_line(status))?;
    }
    out.flush()
}
