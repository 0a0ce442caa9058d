//! `espalier sample`: random candidates of a space. May import the reader of specs and the view.

use espalier_view::sample::{Sampled, sample as draw};

use super::args::SampleArgs;
use super::error::CliError;
use super::look::{network_text, read_spec, sizes};
use super::output::stdout;

/// `espalier sample`.
pub(super) fn sample(args: &SampleArgs) -> Result<(), CliError> {
    let file = read_spec(&args.spec, &args.look)?;
    let seed = args.seed.unwrap_or(file.spec.seed);
    let candidates = draw(&file.spec, file.dataset.as_ref(), seed, args.count)
        .map_err(|error| CliError::Spec(format!("{}: {error}", args.spec.display())))?;
    let mut out = stdout();
    if args.output.json() {
        out.json(&candidates)?;
    } else {
        for candidate in &candidates {
            out.text(&text(candidate))?;
        }
    }
    out.flush()
}

/// A candidate for people: a line of its own for every decision.
fn text(candidate: &Sampled) -> String {
    let mut head = sizes(candidate.parameters, candidate.macs);
    head.extend(candidate.network_id.map(network_text));
    let mut lines = vec![format!(
        "candidate {}  {}",
        candidate.number,
        head.join(", ")
    )];
    let decisions = &candidate.decisions.0;
    let widest = decisions
        .keys()
        .map(|path| path.0.chars().count())
        .max()
        .unwrap_or(0);
    for (path, value) in decisions {
        lines.push(format!("  {:<widest$}  {value}", path.0));
    }
    lines.push(String::new());
    lines.join("\n") + "\n"
}
