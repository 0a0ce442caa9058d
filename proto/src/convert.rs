//! Wire <-> domain. What comes from the wire is checked here, so that the domain never sees a number that
//! is not finite, a name without bound or a key of the wrong length.

use std::collections::BTreeMap;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptKey, AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::LeasedJob;
use espalier_common::metrics::{Measurement, Metrics};
use uuid::Uuid;

use crate::{WireError, v1};

/// A UUID as 16 bytes.
#[must_use]
pub fn uuid_to_wire(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// A UUID from 16 bytes.
///
/// # Errors
/// Any other length.
pub fn uuid_from_wire(field: &'static str, bytes: &[u8]) -> Result<Uuid, WireError> {
    Uuid::from_slice(bytes).map_err(|error| WireError::bad(field, error))
}

/// A search's id.
///
/// # Errors
/// Not 16 bytes.
pub fn search_id_from_wire(bytes: &[u8]) -> Result<SearchId, WireError> {
    uuid_from_wire("search", bytes).map(SearchId)
}

/// A worker instance's id.
///
/// # Errors
/// Not 16 bytes.
pub fn worker_id_from_wire(bytes: &[u8]) -> Result<WorkerId, WireError> {
    uuid_from_wire("worker", bytes).map(WorkerId)
}

/// An attempt's key.
#[must_use]
pub fn attempt_to_wire(key: AttemptKey) -> v1::Attempt {
    v1::Attempt {
        search: uuid_to_wire(key.search.0),
        trial: key.trial.0,
        attempt: key.attempt.0,
    }
}

/// An attempt's key.
///
/// # Errors
/// Missing, a bad search id, or number 0.
pub fn attempt_from_wire(wire: Option<&v1::Attempt>) -> Result<AttemptKey, WireError> {
    let wire = wire.ok_or(WireError::Missing("attempt"))?;
    if wire.trial == 0 || wire.attempt == 0 {
        return Err(WireError::bad(
            "attempt",
            "trials and attempts count from 1",
        ));
    }
    Ok(AttemptKey {
        search: search_id_from_wire(&wire.search)?,
        trial: TrialNumber(wire.trial),
        attempt: AttemptNumber(wire.attempt),
    })
}

/// A digest from its hexadecimal form.
///
/// # Errors
/// Not 64 hexadecimal digits.
pub fn digest_from_wire(field: &'static str, text: &str) -> Result<Digest, WireError> {
    text.parse().map_err(|error| WireError::bad(field, error))
}

/// Metrics as a list.
#[must_use]
pub fn metrics_to_wire(metrics: &Metrics) -> Vec<v1::Metric> {
    metrics
        .0
        .iter()
        .map(|(name, &value)| v1::Metric {
            name: name.clone(),
            value,
        })
        .collect()
}

/// Metrics from a list.
///
/// # Errors
/// A name given twice, a value that is not finite, too many or too long names.
pub fn metrics_from_wire(wire: Vec<v1::Metric>) -> Result<Metrics, WireError> {
    let given = wire.len();
    let metrics: BTreeMap<String, f64> = wire
        .into_iter()
        .map(|metric| (metric.name, metric.value))
        .collect();
    if metrics.len() != given {
        return Err(WireError::bad("metrics", "a name is given twice"));
    }
    let metrics = Metrics(metrics);
    metrics
        .check()
        .map_err(|error| WireError::bad("metrics", error))?;
    Ok(metrics)
}

/// A measurement.
#[must_use]
pub fn measurement_to_wire(measurement: &Measurement) -> v1::Measurement {
    v1::Measurement {
        step: measurement.step,
        metrics: metrics_to_wire(&measurement.metrics),
    }
}

/// A measurement.
///
/// # Errors
/// Step 0, or metrics out of bounds.
pub fn measurement_from_wire(wire: v1::Measurement) -> Result<Measurement, WireError> {
    if wire.step == 0 {
        return Err(WireError::bad("measurement.step", "steps count from 1"));
    }
    Ok(Measurement {
        step: wire.step,
        metrics: metrics_from_wire(wire.metrics)?,
    })
}

/// A value of an enum by the name serde gives it, so that the names stand in one place only.
fn enum_from_wire<T: serde::de::DeserializeOwned>(
    field: &'static str,
    name: &str,
) -> Result<T, WireError> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|error| WireError::bad(field, error))
}

fn enum_to_wire<T: serde::Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        // Only fieldless enums come here, and serde writes those as text.
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A failure.
#[must_use]
pub fn failure_to_wire(failure: &Failure) -> v1::Failure {
    v1::Failure {
        domain: enum_to_wire(failure.domain),
        kind: enum_to_wire(failure.kind),
        message: failure.message.clone(),
        log_tail: failure.log_tail.clone(),
    }
}

/// A failure, its texts cut to their bounds.
///
/// # Errors
/// Missing, or an unknown domain or kind.
pub fn failure_from_wire(wire: Option<v1::Failure>) -> Result<Failure, WireError> {
    let wire = wire.ok_or(WireError::Missing("failure"))?;
    let domain: FailureDomain = enum_from_wire("failure.domain", &wire.domain)?;
    let kind: FailureKind = enum_from_wire("failure.kind", &wire.kind)?;
    Ok(Failure {
        domain,
        kind,
        message: wire.message,
        log_tail: wire.log_tail,
    }
    .bounded())
}

/// A leased job with its key beside it.
///
/// # Errors
/// The job cannot be written as JSON (a number in it is not finite).
pub fn leased_job_to_wire(job: &LeasedJob) -> Result<v1::Lease, WireError> {
    let job_json = serde_json::to_string(job).map_err(|error| WireError::bad("job", error))?;
    Ok(v1::Lease {
        attempt: Some(attempt_to_wire(job.key())),
        job_json,
    })
}

/// A leased job; its JSON and the key beside it must agree.
///
/// # Errors
/// JSON that is no `LeasedJob`, or another attempt's.
pub fn leased_job_from_wire(wire: &v1::Lease) -> Result<LeasedJob, WireError> {
    let job: LeasedJob =
        serde_json::from_str(&wire.job_json).map_err(|error| WireError::bad("job_json", error))?;
    if job.key() != attempt_from_wire(wire.attempt.as_ref())? {
        return Err(WireError::bad(
            "job_json",
            "holds another attempt than the lease names",
        ));
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        let failure = Failure {
            domain: FailureDomain::Worker,
            kind: FailureKind::OutOfMemory,
            message: "cannot allocate 3 GiB".to_owned(),
            log_tail: "line\n".to_owned(),
        };
        assert_eq!(
            failure_from_wire(Some(failure_to_wire(&failure))).unwrap(),
            failure
        );
    }

    #[test]
    fn an_unknown_failure_kind_is_refused_by_name() {
        let mut wire = failure_to_wire(&Failure::new(
            FailureDomain::User,
            FailureKind::Data,
            "no such file",
        ));
        wire.kind = "tired".to_owned();
        let error = failure_from_wire(Some(wire)).unwrap_err().to_string();
        assert!(
            error.contains("failure.kind") && error.contains("tired"),
            "{error}"
        );
    }

    #[test]
    fn a_metric_that_is_not_finite_or_given_twice_is_refused() {
        let metric = |name: &str, value| v1::Metric {
            name: name.to_owned(),
            value,
        };
        assert!(metrics_from_wire(vec![metric("loss", f64::NAN)]).is_err());
        assert!(metrics_from_wire(vec![metric("loss", 1.0), metric("loss", 2.0)]).is_err());
        assert!(metrics_from_wire(vec![metric("loss", 1.0)]).is_ok());
    }

    #[test]
    fn an_attempt_number_of_zero_is_refused() {
        let wire = v1::Attempt {
            search: vec![0; 16],
            trial: 1,
            attempt: 0,
        };
        assert!(attempt_from_wire(Some(&wire)).is_err());
    }
}
