//! Reads which searcher a spec asks for, with its settings.

use super::reader::{At, Fields, Reader};
use super::{Kernel, SearcherSpec, words};
use crate::space::Space;

/// Candidates that cover the space with which `bayesian` begins, unless the spec says otherwise: as many as there must
/// be for differences to say something.
const INITIAL: u32 = 3;

impl Reader<'_> {
    pub(super) fn searcher(&mut self, at: &At<'_>) -> Option<SearcherSpec> {
        let (word, fields) = self.worded(at, &words::SEARCHERS)?;
        match word {
            "random" => Some(SearcherSpec::Random {}),
            "grid" => Some(SearcherSpec::Grid {
                points: self.small(&fields, "points").unwrap_or(5),
            }),
            "local-search" => Some(SearcherSpec::LocalSearch {}),
            "tpe" => Some(SearcherSpec::Tpe {
                gamma: self.scalar(&fields, "gamma").unwrap_or(0.1),
                candidates: self.small(&fields, "candidates").unwrap_or(24),
                start: self.small(&fields, "start").unwrap_or(10),
            }),
            "bayesian" => Some(self.bayesian(&fields)),
            "bananas" => Some(SearcherSpec::Bananas {
                start: self.small(&fields, "start").unwrap_or(10),
                candidates: self.small(&fields, "candidates").unwrap_or(100),
            }),
            "reinforce" => Some(SearcherSpec::Reinforce {
                learning_rate: self.scalar(&fields, "learning_rate").unwrap_or(0.005),
                entropy: self.scalar(&fields, "entropy").unwrap_or(0.05),
                batch: self.small(&fields, "batch").unwrap_or(8),
            }),
            "ppo" => Some(SearcherSpec::Ppo {
                learning_rate: self.scalar(&fields, "learning_rate").unwrap_or(0.01),
                entropy: self.scalar(&fields, "entropy").unwrap_or(0.05),
                batch: self.small(&fields, "batch").unwrap_or(10),
                epochs: self.small(&fields, "epochs").unwrap_or(5),
                clip: self.scalar(&fields, "clip").unwrap_or(0.2),
            }),
            _ => self.evolution(&fields),
        }
    }

    fn bayesian(&mut self, fields: &Fields<'_>) -> SearcherSpec {
        let kernel = match self.text(fields, "kernel").as_deref() {
            Some("rbf") => Kernel::Rbf,
            _ => Kernel::Network,
        };
        SearcherSpec::Bayesian {
            kernel,
            initial: self.small(fields, "initial").unwrap_or(INITIAL),
        }
    }

    fn evolution(&mut self, fields: &Fields<'_>) -> Option<SearcherSpec> {
        let SearcherSpec::Evolution {
            population,
            tournament,
            crossover,
            mutate_choices,
            mutate_ranges,
        } = SearcherSpec::default()
        else {
            return None;
        };
        let population = self.small(fields, "population").unwrap_or(population);
        let given = self.small(fields, "tournament");
        if let (Some(tournament), Some(at)) = (given, fields.get("tournament"))
            && tournament > population
        {
            let message =
                format!("a tournament of {tournament} does not fit a population of {population}");
            self.wrong(at, message);
        }
        let rate =
            |reader: &mut Self, key, otherwise| reader.scalar(fields, key).unwrap_or(otherwise);
        let mutate_choices: f64 = rate(self, "mutate_choices", mutate_choices);
        let mutate_ranges: f64 = rate(self, "mutate_ranges", mutate_ranges);
        if mutate_choices == 0.0
            && mutate_ranges == 0.0
            && let Some(at) = fields.get("mutate_ranges")
        {
            self.wrong(at, "with both rates 0 nothing would ever be changed");
        }
        Some(SearcherSpec::Evolution {
            population,
            tournament: given.unwrap_or(tournament.min(population)),
            crossover: self.scalar(fields, "crossover").unwrap_or(crossover),
            mutate_choices,
            mutate_ranges,
        })
    }

    /// Whether the searcher can work on this space.
    pub(super) fn check_searcher(&mut self, at: &At<'_>, searcher: &SearcherSpec, space: &Space) {
        let &SearcherSpec::Grid { points } = searcher else {
            return;
        };
        if space.grid(points).is_some() {
            return;
        }
        let limit = space.grid_limit();
        let size = space.size();
        let whole = if size.continuous > 0 {
            format!(
                "and {} decisions are ranges with any number of values",
                size.continuous
            )
        } else {
            format!("of about 10^{:.0} candidates in all", size.log10)
        };
        self.wrong(
            at,
            format!(
                "the grid with {points} points for each range has more than {limit} candidates ({whole}); give fewer `points`, a smaller space, or another searcher"
            ),
        );
    }
}
