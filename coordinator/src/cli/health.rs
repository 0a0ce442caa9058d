//! `espalier health`: what probes ask, over TLS too.

use serde::Serialize;

use super::args::HealthArgs;
use super::client::Client;
use super::error::CliError;
use super::output::stdout;

/// The answer. Its keys are stable.
#[derive(Serialize)]
struct Health<'a> {
    address: &'a str,
    serving: bool,
}

/// `espalier health`.
pub(super) async fn health(client: &Client, args: &HealthArgs) -> Result<(), CliError> {
    let serving = client.is_serving().await?;
    let address = client.address();
    if !serving {
        return Err(CliError::Failed(format!(
            "the coordinator at {address} answers, and takes no calls"
        )));
    }
    let mut out = stdout();
    if args.output.json() {
        out.json(&Health { address, serving })?;
    } else {
        out.line(&format!("the coordinator at {address} takes calls"))?;
    }
    out.flush()
}
