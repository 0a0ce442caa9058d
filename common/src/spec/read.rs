//! Reads a whole spec, and checks what only shows when its parts are put together.

use super::error::{SpecError, SpecErrors};
use super::reader::{At, Fields, Reader};
use super::words;
use super::yaml;
use super::{Budget, EvaluatorSpec, Repeat, SearcherSpec, Spec, WorkerSpec};
use crate::job::TRAINER;
use crate::metrics::{Direction, Objective};
use crate::space::{Hyperparameters, Scalar, Setting, Space, Training};

/// What the trainer measures on the validation split after every epoch.
const TRAINER_METRICS: [&str; 3] = ["accuracy", "loss", "train_loss"];
/// Attempts at a trial where the spec does not say.
const DEFAULT_ATTEMPTS: u32 = 3;

/// Reads the text of a spec. `file` is what errors call it.
///
/// # Errors
/// [`SpecErrors`] lists every mistake with line, column and path.
pub fn read(text: &str, file: &str) -> Result<Spec, SpecErrors> {
    read_warned(text, file).map(|(spec, _)| spec)
}

/// Reads the text of a spec, and gives with it what is right and yet looks like a mistake, as a choice of one.
///
/// # Errors
/// [`SpecErrors`] lists every mistake with line, column and path.
pub fn read_warned(text: &str, file: &str) -> Result<(Spec, Vec<SpecError>), SpecErrors> {
    read_by(Reader::new(file), text)
}

/// As [`read_warned`], for whoever puts another searcher in the place of the spec's: what the spec's own cannot do
/// is no mistake then, and its reader must check the other one.
///
/// # Errors
/// [`SpecErrors`] lists every mistake with line, column and path.
pub fn read_without_searcher(text: &str, file: &str) -> Result<(Spec, Vec<SpecError>), SpecErrors> {
    let mut reader = Reader::new(file);
    reader.searcher_is_replaced = true;
    read_by(reader, text)
}

fn read_by(mut reader: Reader<'_>, text: &str) -> Result<(Spec, Vec<SpecError>), SpecErrors> {
    let root = match yaml::parse(text, yaml::Text::Spec) {
        Ok(root) => root,
        Err(trouble) => {
            reader.error(trouble.place, trouble.path, trouble.message);
            return Err(reader.errors());
        }
    };
    let root = reader.with_preset(root);
    if reader.mistakes() > 0 {
        // What a spec lacks shows only with the parts of its preset.
        return Err(reader.errors());
    }
    let spec = reader.spec(&At::root(&root));
    match spec {
        Some(spec) if reader.mistakes() == 0 => Ok((spec, reader.warnings())),
        _ => Err(reader.errors()),
    }
}

/// Reads a searcher with its settings, as it stands after `searcher:` in a spec. `from` is what errors call
/// its text.
///
/// # Errors
/// [`SpecErrors`] lists every mistake.
pub fn read_searcher(text: &str, from: &str) -> Result<SearcherSpec, SpecErrors> {
    let mut reader = Reader::new(from);
    let searcher = match yaml::parse(text, yaml::Text::Spec) {
        Ok(root) => reader.searcher(&At::root(&root)),
        Err(trouble) => {
            reader.error(trouble.place, trouble.path, trouble.message);
            None
        }
    };
    match searcher {
        Some(searcher) if reader.mistakes() == 0 => Ok(searcher),
        _ => Err(reader.errors()),
    }
}

impl Reader<'_> {
    fn spec(&mut self, at: &At<'_>) -> Option<Spec> {
        let fields = self.fields(at, &words::SPEC);
        let name = self.text(&fields, "name");
        let dataset = fields.get("dataset").map(|at| self.dataset(at));
        let mut evaluator = match fields.get("evaluator") {
            Some(at) => self.evaluator(at),
            None => Some(EvaluatorSpec::Named(TRAINER.to_owned())),
        };
        let mut space = self.space(&fields);
        let searcher = match fields.get("searcher") {
            Some(at) => self.searcher(at),
            None => Some(SearcherSpec::default()),
        };
        let objective = fields.get("objectives").and_then(|at| self.objective(at));
        let before = self.mistakes();
        if evaluator.as_ref().is_some_and(EvaluatorSpec::is_trainer) {
            self.check_metric(&fields, objective.as_ref());
        }
        // A target is held against a metric that is right only: one mistake, one error.
        let sound = objective.as_ref().filter(|_| before == self.mistakes());
        let constraints = match fields.get("constraints") {
            Some(at) => self.constraints(at),
            None => Vec::new(),
        };
        let asked = searcher.as_ref().filter(|_| !self.searcher_is_replaced);
        let budget = match fields.get("budget") {
            Some(at) => self.budget(at, sound, asked),
            None => Budget::default(),
        };
        let parallel = self.small(&fields, "parallel");
        let weight = self.small(&fields, "weight").unwrap_or(1);
        let worker = match fields.get("worker") {
            Some(at) => self.worker(at),
            None => WorkerSpec::default(),
        };
        let seed = self.scalar(&fields, "seed").unwrap_or(0);
        let attempts = self.small(&fields, "attempts").unwrap_or(DEFAULT_ATTEMPTS);
        self.settle_table(&fields, evaluator.as_mut(), &mut space, objective.as_ref());
        let repeat = match self.text(&fields, "repeat") {
            Some(_) => Repeat::ByDecisions,
            None => Repeat::Never,
        };
        let reuse = self.scalar(&fields, "reuse").unwrap_or(false);
        self.check_together(&fields, evaluator.as_ref());
        if self.mistakes() == 0 {
            let at = fields.get("network").map_or(fields.place(), |at| at.place);
            self.check_size(at, &space);
        }
        if let (Some(at), Some(searcher), 0) = (fields.get("searcher"), asked, self.mistakes()) {
            self.check_searcher(at, searcher, &space);
        }
        // Candidates are held against a space that is right only.
        let warm_start = match fields.get("warm_start") {
            Some(at) if self.mistakes() == 0 => self.warm_start(at, &space),
            _ => None,
        };
        Some(Spec {
            name: name?,
            dataset: match dataset {
                None => None,
                Some(dataset) => Some(dataset?),
            },
            space,
            evaluator: evaluator?,
            searcher: searcher?,
            objective: objective?,
            constraints,
            budget,
            parallel,
            weight,
            worker,
            seed,
            attempts,
            repeat,
            warm_start,
            reuse,
        })
    }

    fn space(&mut self, fields: &Fields<'_>) -> Space {
        // The ties first, then what is used: names are known before they are met.
        let tie = fields
            .get("tie")
            .map(|at| self.ties(at))
            .unwrap_or_default();
        let blocks = fields
            .get("blocks")
            .map(|at| self.definitions(at))
            .unwrap_or_default();
        let before = self.mistakes();
        let mut space = Space {
            network: fields.get("network").map(|at| self.blocks(at)),
            blocks,
            tie,
            training: Training::default(),
            hyperparameters: match fields.get("hyperparameters") {
                Some(at) => self.hyperparameters(at),
                None => Hyperparameters::new(),
            },
        };
        if let Some(at) = fields.get("training") {
            space.training = self.training(at);
            self.check_warmup(at, &space);
        }
        self.check_arguments();
        // How definitions use each other shows only when all of them are read.
        if before == self.mistakes() {
            self.check_recursion(&space);
        }
        space
    }

    fn check_warmup(&mut self, at: &At<'_>, space: &Space) {
        let training = &space.training;
        for schedule in &training.schedule {
            let warmup = schedule.warmup_epochs();
            let most = match warmup {
                Setting::Fixed(epochs) => *epochs,
                Setting::Decide(domain) => domain.largest(),
                Setting::Named(name) => match space.tie.get(name) {
                    Some(Setting::Decide(domain)) => domain.largest(),
                    Some(Setting::Fixed(value)) => f64::from_value(value).unwrap_or(0.0),
                    Some(Setting::Named(_)) | None => 0.0,
                },
            };
            if most > f64::from(training.epochs) {
                self.wrong(
                    at,
                    format!(
                        "{most} warm-up epochs do not fit {} epochs",
                        training.epochs
                    ),
                );
            }
        }
    }

    /// What the parts of a spec ask of each other.
    fn check_together(&mut self, fields: &Fields<'_>, evaluator: Option<&EvaluatorSpec>) {
        let has = |key: &str| fields.get(key).is_some();
        let network = fields.get("network");
        let table = evaluator.and_then(EvaluatorSpec::table);
        let shapes = table.is_some_and(|table| table.input.is_some());
        if let (Some(at), false) = (network, has("dataset") || shapes) {
            let data = "a network needs a `dataset`: its shapes depend on the data";
            match table {
                None => self.wrong(at, data),
                Some(_) => self.wrong(
                    at,
                    format!("{data}; a table may say `input` and `classes` instead"),
                ),
            }
        }
        if let (Some(at), None) = (fields.get("blocks"), network) {
            self.wrong(
                at,
                "`blocks` are used in a `network`, and this spec has none",
            );
        }
        if let (Some(at), None) = (fields.get("constraints"), network) {
            self.wrong(
                at,
                "constraints are about the network, and this spec has no `network`",
            );
        }
        let Some(evaluator) = evaluator else {
            return;
        };
        if !evaluator.is_trainer() {
            if network.is_none() && !has("hyperparameters") && !has("training") {
                self.error(
                    fields.place(),
                    "",
                    "there is nothing to search; give a `network` or `hyperparameters`",
                );
            }
            return;
        }
        self.check_for_trainer(fields);
    }

    /// What the trainer asks of the parts of a spec.
    fn check_for_trainer(&mut self, fields: &Fields<'_>) {
        if fields.get("network").is_none() {
            self.error(fields.place(), "", "`network` is missing: the trainer trains networks (for a program of your own, say `evaluator:` and `hyperparameters:`)");
        }
        let epochs = fields
            .get("training")
            .and_then(At::entries)
            .is_some_and(|entries| entries.iter().any(|(key, _)| key.text == "epochs"));
        if !epochs {
            let place = fields.get("training").map_or(fields.place(), |at| at.place);
            self.error(
                place,
                "training",
                "`epochs` is missing: the trainer must know how long to train",
            );
        }
        if let Some(at) = fields.get("hyperparameters") {
            self.wrong(
                at,
                "the trainer reads no hyperparameters; they are for an `evaluator` of your own",
            );
        }
    }

    fn check_metric(&mut self, fields: &Fields<'_>, objective: Option<&Objective>) {
        let (Some(objective), Some(at)) = (objective, fields.get("objectives")) else {
            return;
        };
        let metric = objective.metric.as_str();
        if !TRAINER_METRICS.contains(&metric) {
            let suggestion = super::error::nearest(metric, TRAINER_METRICS);
            let message = format!(
                "the trainer does not measure {metric:?}, only {}",
                TRAINER_METRICS.join(", ")
            );
            self.error_near(at.place, &at.path, message, suggestion);
        }
        let wrong_way = match objective.direction {
            Direction::Maximize => "loss",
            Direction::Minimize => "accuracy",
        };
        if metric.ends_with(wrong_way) {
            self.wrong(at, format!("this would look for the worst {metric}"));
        }
    }
}
