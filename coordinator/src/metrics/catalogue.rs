//! The metrics there are. Each is registered and described in one call, so `docs/metrics.md` is made from what
//! is registered.

use prometheus_client::encoding::{EncodeMetric, text};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry, Unit};

/// Before every name.
const PREFIX: &str = "espalier";

/// A metric that is to be registered.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    /// The name of its label, and which values it takes.
    pub(super) label: Option<(&'static str, &'static str)>,
    /// In one sentence, without its full stop.
    pub(super) meaning: &'static str,
}

/// The registered metrics.
pub(super) struct Catalogue {
    registry: Registry,
    pub(super) described: Vec<Described>,
}

/// A metric that is registered, as its reader sees it.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the documentation is written by a test")
)]
pub(super) struct Described {
    pub(super) family: String,
    pub(super) sample: String,
    pub(super) kind: &'static str,
    pub(super) label: Option<(&'static str, &'static str)>,
    pub(super) unit: Option<Unit>,
    pub(super) meaning: &'static str,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            registry: Registry::with_prefix(PREFIX),
            described: Vec::new(),
        }
    }
}

impl Catalogue {
    /// Registers a metric.
    pub(super) fn add<M: Metric + TypedMetric + EncodeMetric>(&mut self, entry: Entry, metric: M) {
        let Entry {
            name,
            unit,
            label,
            meaning,
        } = entry;
        let suffix = unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        let family = format!("{PREFIX}_{name}{}", suffix.unwrap_or_default());
        let (kind, end) = match M::TYPE {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        self.described.push(Described {
            sample: format!("{family}{end}"),
            family,
            kind,
            label,
            unit: unit.clone(),
            meaning,
        });
        match unit {
            Some(unit) => self
                .registry
                .register_with_unit(name, meaning, unit, metric),
            None => self.registry.register(name, meaning, metric),
        }
    }

    /// All of them, as OpenMetrics text.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
