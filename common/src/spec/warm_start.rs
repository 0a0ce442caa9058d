//! Reads what a search begins with.

use super::reader::{At, Reader};
use super::scalar::Kind;
use super::{WarmStart, words};
use crate::candidate::{Candidate, DecisionPath};
use crate::known::{Known, MAX_KNOWN};
use crate::space::Space;

impl Reader<'_> {
    /// The candidates of a list are looked at here; those of a file or a search, where these are read.
    pub(super) fn warm_start(&mut self, at: &At<'_>, space: &Space) -> Option<WarmStart> {
        let fields = self.fields(at, &words::WARM_START);
        let given = ["candidates", "csv", "search"].map(|key| fields.get(key));
        match given {
            [Some(list), None, None] => {
                let list = list.clone();
                self.candidates(&list, space).map(WarmStart::Candidates)
            }
            [None, Some(_), None] => self.text(&fields, "csv").map(WarmStart::Csv),
            [None, None, Some(_)] => self.text(&fields, "search").map(WarmStart::Search),
            _ => {
                self.wrong(
                    at,
                    "one of `candidates`, `csv` and `search` is expected here",
                );
                None
            }
        }
    }

    fn candidates(&mut self, at: &At<'_>, space: &Space) -> Option<Vec<Known>> {
        let items = at.items().unwrap_or_default();
        if !(1..=MAX_KNOWN).contains(&items.len()) {
            self.wrong(
                at,
                format!(
                    "a list of 1 to {MAX_KNOWN} candidates is expected here, as [{{decisions: {{...}}, score: 0.9}}]"
                ),
            );
            return None;
        }
        let mut all = Vec::with_capacity(items.len());
        for item in &items {
            let fields = self.fields(item, &words::WARM_CANDIDATE);
            let score = self.scalar(&fields, "score");
            let Some(decisions) = fields.get("decisions") else {
                continue;
            };
            let Some(entries) = decisions.entries() else {
                self.wrong(decisions, "a map from decisions to values is expected here");
                continue;
            };
            let before = self.mistakes();
            let mut candidate = Candidate::default();
            for (key, entry) in entries {
                if let Some(value) = self.value(&entry, Kind::Any) {
                    let path = DecisionPath(key.text.clone().into_owned());
                    candidate.0.insert(path, value);
                }
            }
            if self.mistakes() > before {
                continue;
            }
            let known = Known {
                decisions: candidate,
                score,
            };
            match known.of_space(space) {
                Ok(known) => all.push(known),
                Err(problem) => self.wrong(decisions, problem.to_string()),
            }
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{WarmStart, read, schema};

    fn spec(warm_start: &str) -> String {
        format!(
            "name: x\nhyperparameters: {{a: {{choice: [1, 2]}}}}\nevaluator: mine\nobjectives: [{{maximize: s}}]\n\
             budget: {{trials: 1}}\nwarm_start: {warm_start}\n"
        )
    }

    fn refused(warm_start: &str) -> String {
        let mistakes = read(&spec(warm_start), "x.yaml").unwrap_err();
        mistakes.to_string().trim_end().to_owned()
    }

    #[test]
    fn candidates_are_read_with_and_without_a_score() {
        let list = "{candidates: [{decisions: {hyperparameters.a: 2}, score: 0.5}, {decisions: {hyperparameters.a: 1}}]}";
        let read_back = read(&spec(list), "x.yaml").unwrap().warm_start;
        let Some(WarmStart::Candidates(known)) = &read_back else {
            panic!("{read_back:?}");
        };
        assert_eq!([known[0].score, known[1].score], [Some(0.5), None]);
        let others =
            ["{csv: a.csv}", "{search: earlier}"].map(|text| read(&spec(text), "x.yaml").unwrap());
        assert_eq!(
            others[0].warm_start,
            Some(WarmStart::Csv("a.csv".to_owned()))
        );
        assert_eq!(
            others[1].warm_start,
            Some(WarmStart::Search("earlier".to_owned()))
        );
        let json = serde_json::to_value(&others[1]).unwrap();
        assert_eq!(json["warm_start"], json!({"search": "earlier"}));
    }

    #[test]
    fn what_is_not_of_the_space_is_refused_at_its_place() {
        let wrong = refused(
            "{candidates: [{decisions: {hyperparameters.a: 1}}, {decisions: {hyperparameters.a: 7}}]}",
        );
        let place = "x.yaml:6:76: warm_start.candidates[1].decisions: the decision hyperparameters.a cannot be 7";
        assert!(wrong.starts_with(place), "{wrong}");
        let unknown = refused("{candidates: [{decisions: {hyperparameters.a: 1, b: 2}}]}");
        assert!(
            unknown.contains("b is no decision of this candidate"),
            "{unknown}"
        );
        assert!(refused("{candidates: []}").contains("1 to 10000 candidates"));
        assert!(refused("{candidates: [{score: 1}]}").contains("decisions"));
        for wrong in ["{}", "{csv: a.csv, search: b}"] {
            assert!(
                refused(wrong).contains("one of `candidates`, `csv` and `search`"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_schema_knows_it() {
        let schema = schema();
        let defined = &schema["$defs"];
        assert_eq!(
            schema["properties"]["warm_start"]["$ref"],
            "#/$defs/warm_start"
        );
        for name in [
            "warm_start",
            "warm_candidates",
            "warm_candidate",
            "warm_decisions",
        ] {
            assert!(defined[name].is_object(), "{name}");
        }
    }
}
