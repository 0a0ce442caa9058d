//! `espalier draw`: a candidate's network as SVG or DOT. May import the reader of specs and the view.

use std::path::Path;

use espalier_common::network::Network;
use espalier_common::space::Space;
use espalier_view::draw::{self, Heading};
use espalier_view::sample::Stream;

use super::args::{DrawArgs, Picture};
use super::candidate_file::{self, CandidateFile, Place};
use super::error::CliError;
use super::look::{built, network_text, read_spec, sizes};
use super::output::stdout;

/// A title, a network, and the space that it is of, where that is at hand.
type Drawn = (String, Network, Option<Space>);

/// `espalier draw`.
pub(super) fn draw(args: &DrawArgs) -> Result<(), CliError> {
    let picture = picture(args)?;
    let (title, network, space) = if Place::is_meant(&args.source) {
        of_candidate(args)?
    } else {
        of_spec(args)?
    };
    let network = if args.simplified {
        network.simplified()
    } else {
        network
    };
    let heading = Heading {
        title,
        subtitle: subtitle(&network),
    };
    let text = match picture {
        Picture::Svg => draw::svg(&network, space.as_ref(), &heading),
        Picture::Dot => draw::dot(&network, space.as_ref(), &heading),
    };
    let text = text.map_err(|error| CliError::Spec(format!("{}: {error}", args.source)))?;
    match &args.out {
        Some(path) => {
            std::fs::write(path, text).map_err(|error| CliError::io("write", path, &error))
        }
        None => {
            let mut out = stdout();
            out.text(&text)?;
            out.flush()
        }
    }
}

/// What is to be written, from the option or from the name of the file.
fn picture(args: &DrawArgs) -> Result<Picture, CliError> {
    let end = args.out.as_deref().and_then(Path::extension);
    let end = end.map(|end| end.to_string_lossy().to_lowercase());
    match (args.format, end.as_deref()) {
        (Some(format), _) => Ok(format),
        (None, Some("dot" | "gv")) => Ok(Picture::Dot),
        (None, None | Some("svg")) => Ok(Picture::Svg),
        (None, Some(other)) => Err(CliError::Usage(format!(
            "--out: .{other} is not written; write .svg or .dot, or say --format, and convert it by \
             rsvg-convert or dot"
        ))),
    }
}

fn of_spec(args: &DrawArgs) -> Result<Drawn, CliError> {
    if args.spec.is_some() {
        return Err(CliError::Usage(format!(
            "--spec: {} is taken for a spec itself; a candidate is a file that ends in .json, or -",
            args.source
        )));
    }
    let path = Path::new(&args.source);
    let file = read_spec(path, &args.look)?;
    let seed = args.seed.unwrap_or(file.spec.seed);
    let (_, built) = Stream::new(&file.spec, file.dataset.as_ref(), seed)
        .feasible()
        .map_err(|error| CliError::Spec(format!("{}: {error}", path.display())))?;
    let network = built.network.ok_or_else(|| no_network(&args.source))?;
    let title = format!("{} · seed {seed}", file.spec.name);
    Ok((title, network, Some(file.spec.space)))
}

fn of_candidate(args: &DrawArgs) -> Result<Drawn, CliError> {
    if args.seed.is_some() {
        return Err(CliError::Usage(format!(
            "--seed: {} is a candidate; a seed draws one from a spec",
            args.source
        )));
    }
    let candidate = candidate_file::load(&[Place::of(&args.source)])?.remove(0);
    let Some(spec) = &args.spec else {
        let network = candidate.network.clone().ok_or_else(|| {
            CliError::Usage(format!(
                "{}: it holds decisions and no network; --spec SPEC says what they mean",
                args.source
            ))
        })?;
        return Ok((title(&candidate, None), network, None));
    };
    let file = read_spec(spec, &args.look)?;
    let built = built(&file, &candidate)?;
    let network = built.network.ok_or_else(|| no_network(&args.source))?;
    let title = title(&candidate, Some(&file.spec.name));
    Ok((title, network, Some(file.spec.space)))
}

fn no_network(source: &str) -> CliError {
    CliError::Spec(format!(
        "{source}: its space has no network, only hyperparameters: there is nothing to draw"
    ))
}

fn title(candidate: &CandidateFile, spec: Option<&str>) -> String {
    let search = candidate.search.as_deref().or(spec);
    match (search, candidate.number) {
        (Some(search), Some(number)) => format!("{search} · {number}"),
        (Some(search), None) => search.to_owned(),
        (None, _) => candidate.name.clone(),
    }
}

fn subtitle(network: &Network) -> String {
    let mut parts = sizes(Some(network.parameters()), Some(network.macs()));
    parts.push(network_text(network.network_id()));
    parts.join(" · ")
}
