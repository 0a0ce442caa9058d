//! Which caller may call which method or see which page: two tables, complete by test. What is in neither is
//! refused.

use std::fmt;

use super::tokens::Role;

/// Who calls, as far as the table is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// With a token of this role.
    Token(Role),
    /// With a worker's certificate.
    Worker,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(role) => write!(f, "a token of the role {role}"),
            Self::Worker => f.write_str("a worker's certificate"),
        }
    }
}

const ADMIN: Caller = Caller::Token(Role::Admin);
const VIEWER: Caller = Caller::Token(Role::Viewer);
/// A worker that joins has a token, and no certificate yet.
const JOINING: Caller = Caller::Token(Role::Worker);
const WORKER: Caller = Caller::Worker;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever reaches the port: it says nothing about searches.
    Anyone,
    /// These.
    Only(&'static [Caller]),
}

use Who::{Anyone, Only};

/// Every method that is served, by its path.
pub(crate) const METHODS: &[(&str, Who)] = &[
    ("/espalier.v1.WorkerService/Register", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Lease", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Renew", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Report", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Complete", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Fail", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Release", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Leave", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/Log", Only(&[WORKER])),
    ("/espalier.v1.WorkerService/UploadArtifact", Only(&[WORKER])),
    (
        "/espalier.v1.WorkerService/DownloadArtifact",
        Only(&[WORKER]),
    ),
    ("/espalier.v1.WorkerService/FindDataset", Only(&[WORKER])),
    ("/espalier.v1.SearchService/PushDataset", Only(&[ADMIN])),
    (
        "/espalier.v1.SearchService/ListDatasets",
        Only(&[ADMIN, VIEWER]),
    ),
    ("/espalier.v1.SearchService/RemoveDataset", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Create", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Fork", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Get", Only(&[ADMIN, VIEWER])),
    ("/espalier.v1.SearchService/List", Only(&[ADMIN, VIEWER])),
    ("/espalier.v1.SearchService/Pause", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Resume", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Stop", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/SetLimits", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Enqueue", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Ban", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Pin", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Cancel", Only(&[ADMIN])),
    ("/espalier.v1.SearchService/Retry", Only(&[ADMIN])),
    (
        "/espalier.v1.SearchService/ListFailures",
        Only(&[ADMIN, VIEWER]),
    ),
    (
        "/espalier.v1.SearchService/ListWishes",
        Only(&[ADMIN, VIEWER]),
    ),
    (
        "/espalier.v1.SearchService/ListTrials",
        Only(&[ADMIN, VIEWER]),
    ),
    ("/espalier.v1.SearchService/Best", Only(&[ADMIN, VIEWER])),
    ("/espalier.v1.SearchService/Watch", Only(&[ADMIN, VIEWER])),
    ("/espalier.v1.SearchService/Logs", Only(&[ADMIN, VIEWER])),
    (
        "/espalier.v1.SearchService/GetCluster",
        Only(&[ADMIN, VIEWER]),
    ),
    (
        "/espalier.v1.SearchService/Download",
        Only(&[ADMIN, VIEWER]),
    ),
    ("/espalier.v1.AccessService/Enrol", Only(&[JOINING, WORKER])),
    ("/espalier.v1.AccessService/CreateToken", Only(&[ADMIN])),
    ("/espalier.v1.AccessService/ListTokens", Only(&[ADMIN])),
    ("/espalier.v1.AccessService/RevokeToken", Only(&[ADMIN])),
    (
        "/espalier.v1.AccessService/WhoAmI",
        Only(&[ADMIN, VIEWER, JOINING, WORKER]),
    ),
    // What probes and load balancers ask.
    ("/grpc.health.v1.Health/Check", Anyone),
    ("/grpc.health.v1.Health/Watch", Anyone),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Only(&[ADMIN, VIEWER]),
    ),
];

/// The methods whose callers send any number of messages.
const STREAMED: [&str; 3] = [
    "/espalier.v1.WorkerService/UploadArtifact",
    "/espalier.v1.SearchService/PushDataset",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Whether callers send any number of messages to a path.
pub(super) fn is_streamed(path: &str) -> bool {
    STREAMED.contains(&path)
}

/// Every page that is served to plain HTTP clients.
pub(crate) const PAGES: &[(&str, Who)] = &[
    // Names no search and no worker, but says how much goes on; what scrapes it has a viewer's token.
    ("/metrics", Only(&[ADMIN, VIEWER])),
];

/// Who may call the method or see the page at a path; `None`: there is none in the tables.
pub(crate) fn who(path: &str) -> Option<Who> {
    let mut known = METHODS.iter().chain(PAGES);
    let found = known.find(|(known, _)| *known == path);
    found.map(|(_, who)| *who)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use espalier_proto::DESCRIPTORS;
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_that_is_served_is_in_the_table_once() {
        let mut served = BTreeSet::new();
        let own = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let health = tonic_health::pb::FILE_DESCRIPTOR_SET;
        let health = prost_types::FileDescriptorSet::decode(health).unwrap();
        let reflection = tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET;
        let reflection = prost_types::FileDescriptorSet::decode(reflection).unwrap();
        let files = [own.file, health.file, reflection.file];
        for file in files.into_iter().flatten() {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    let path = format!("/{package}.{service}/{}", method.name());
                    assert_eq!(is_streamed(&path), method.client_streaming(), "{path}");
                    served.insert(path);
                }
            }
        }
        assert!(served.len() > 25, "{served:?}");
        let table: BTreeSet<String> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(table.len(), METHODS.len(), "a method is there twice");
        assert_eq!(served, table);
    }

    #[test]
    fn a_method_that_is_missing_from_the_table_is_nobodys() {
        assert_eq!(who("/espalier.v1.SearchService/Delete"), None);
        assert_eq!(who("/espalier.v1.SearchService/"), None);
        assert_eq!(who(""), None);
        assert_eq!(who("/"), None);
        assert_eq!(who("/metrics/"), None);
    }

    #[test]
    fn workers_administer_nothing_and_users_pose_as_no_worker() {
        for (path, who) in METHODS {
            let may = |caller| match who {
                Anyone => true,
                Only(callers) => callers.contains(&caller),
            };
            if path.contains("WorkerService") {
                assert!(
                    may(WORKER) && !may(ADMIN) && !may(VIEWER) && !may(JOINING),
                    "{path}"
                );
            }
            if path.contains("SearchService") || path.ends_with("Token") {
                assert!(!may(WORKER) && !may(JOINING), "{path}");
            }
            let changes = [
                "Create",
                "Pause",
                "Resume",
                "Stop",
                "Fork",
                "SetLimits",
                "Enqueue",
                "Ban",
                "Pin",
                "Cancel",
                "Retry",
                "CreateToken",
                "RevokeToken",
                "PushDataset",
                "RemoveDataset",
            ];
            if changes
                .iter()
                .any(|name| path.ends_with(&format!("/{name}")))
            {
                assert!(may(ADMIN) && !may(VIEWER), "{path}");
            }
        }
    }
}
