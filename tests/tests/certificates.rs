//! Certificates of the operator's own, and clocks that are off, with real processes. A clock that is off is one by
//! which a certificate's time has not come or has passed, so the tests make certificates of other times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use espalier_tests::{Process, Secured, forged, program, stderr, wait_until};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use serde_json::Value;
use time::OffsetDateTime;

const LIMIT: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(20);
/// The name that clients ask for, wherever the coordinator is.
const NAME: &str = "espalier-coordinator";
const DAY: time::Duration = time::Duration::DAY;

/// An authority as an operator has one, and the files of a certificate by it.
struct Operator {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Operator {
    fn new(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        std::fs::write(folder.join("ca.pem"), certificate.pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Writes a certificate for a name, valid from and until so long after now.
    fn certify(&self, name: &str, from: time::Duration, until: time::Duration) -> Result<()> {
        let (certificate, key) = certificate(server(name)?, from, until, &self.issuer)?;
        std::fs::write(self.folder.join("server.pem"), certificate)?;
        std::fs::write(self.folder.join("server-key.pem"), key)?;
        Ok(())
    }

    /// The options of `espalier serve`.
    fn options(&self) -> Vec<String> {
        let files = [
            ("--tls-cert", "server.pem"),
            ("--tls-key", "server-key.pem"),
            ("--tls-ca", "ca.pem"),
        ];
        let path = |file: &str| self.folder.join(file).to_string_lossy().into_owned();
        let both = files.map(|(option, file)| [option.to_owned(), path(file)]);
        both.into_iter().flatten().collect()
    }
}

fn server(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// A certificate and its key, in PEM.
fn certificate(
    mut params: CertificateParams,
    from: time::Duration,
    until: time::Duration,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(String, String)> {
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + from, now + until);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// The authority that a coordinator made, from its data folder.
fn authority_of(cluster: &Secured) -> Result<Issuer<'static, KeyPair>> {
    let read = |name: &str| std::fs::read_to_string(cluster.path("coordinator/tls").join(name));
    let key = KeyPair::from_pem(&read("authority-key.pem")?)?;
    Ok(Issuer::from_ca_cert_pem(&read("authority.pem")?, key)?)
}

/// What a program that ends with an error writes.
fn last_words(mut process: Process) -> Result<String> {
    let status = process.wait(END)?;
    let log = process.log();
    assert!(!status.success(), "{log}");
    Ok(log)
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_joined_by_and_clients_of_another_authority_are_told_what_to_do()
-> Result<()> {
    let files = tempfile::tempdir()?;
    let operator = Operator::new(files.path())?;
    operator.certify(NAME, -DAY, DAY)?;
    let own = operator.options();
    let mut cluster = Secured::start(&strs(&own))?;
    let _worker = cluster.worker("node-1", Some(&cluster.token("worker")))?;
    cluster.submit("own", 2)?;
    let status = cluster.finished("own").await?;
    assert_eq!(status["trials"]["completed"], 2, "{status}");

    // Somebody with the right secret who trusts another authority sends it to nobody.
    let address = format!("https://{}", cluster.host);
    let foreign = forged(&cluster.token("admin"), 3)?;
    let list = ["list", "--address", &address];
    let output = cluster.espalier(Some(&foreign), &list)?;
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("certificate authority is another one"),
        "{said}"
    );
    assert!(said.contains("new tokens"), "{said}");
    let log = last_words(cluster.worker("node-2", Some(&forged(&cluster.token("worker"), 3)?))?)?;
    assert!(log.contains("new tokens"), "{log}");
    assert_eq!(cluster.workers()?, ["node-1"]);

    // The certificate that the coordinator makes is by another authority: the tokens of before are of no use, and who
    // starts it gets new ones.
    let before = cluster.token("admin");
    let tokens = cluster.path("tokens");
    let ready = cluster.restart(&["--token-dir", &tokens.to_string_lossy()])?;
    assert!(ready["tokens"].is_null(), "{ready}");
    let output = cluster.espalier(Some(&before), &list)?;
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("new tokens"),
        "{said}"
    );
    let made = std::fs::read_to_string(tokens.join("admin.token"))?;
    let output = cluster.espalier(Some(made.trim()), &list)?;
    assert!(output.status.success(), "{}", stderr(&output));
    Ok(())
}

#[test]
fn a_certificate_that_clients_would_not_take_is_refused_at_the_start() -> Result<()> {
    let files = tempfile::tempdir()?;
    let operator = Operator::new(files.path())?;
    let stranger = Operator::new(&{
        let folder = files.path().join("stranger");
        std::fs::create_dir(&folder)?;
        folder
    })?;
    let start = || -> Result<String> {
        let mut command = program("espalier");
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--tls", "on"])
            .arg("--data-dir")
            .arg(files.path().join("data"))
            .args(operator.options());
        last_words(Process::start("refused", files.path(), command, false)?)
    };
    let cases = [
        ("node.example.org", -DAY, DAY, NAME),
        (NAME, -2 * DAY, -DAY, "has expired"),
        (NAME, DAY, 2 * DAY, "valid only from"),
    ];
    for (name, from, until, message) in cases {
        operator.certify(name, from, until)?;
        let log = start()?;
        assert!(log.contains(message) && log.contains("--tls-cert"), "{log}");
    }
    // By another authority than the one that is given.
    stranger.certify(NAME, -DAY, DAY)?;
    let theirs = files.path().join("stranger/server.pem");
    std::fs::copy(theirs, files.path().join("server.pem"))?;
    let log = start()?;
    assert!(log.contains("--tls-ca"), "{log}");
    // With the key of another certificate.
    operator.certify(NAME, -DAY, DAY)?;
    let theirs = files.path().join("stranger/server-key.pem");
    std::fs::copy(theirs, files.path().join("server-key.pem"))?;
    let log = start()?;
    assert!(
        log.contains("the key that belongs to the certificate"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_machine_whose_clock_is_behind_or_ahead_is_told_so() -> Result<()> {
    let mut cluster = Secured::start(&[])?;
    let authority = authority_of(&cluster)?;
    let year: time::Duration = DAY * 365;
    let cases = [
        (DAY, year, "the clock of this machine is wrong"),
        (
            -year,
            -DAY,
            "set the clock of this machine if that is wrong",
        ),
    ];
    for (index, (from, until, message)) in cases.into_iter().enumerate() {
        let (certificate, key) = certificate(server(NAME)?, from, until, &authority)?;
        let folder = cluster.path("coordinator/tls");
        std::fs::write(folder.join("server.pem"), certificate)?;
        std::fs::write(folder.join("server-key.pem"), key)?;
        cluster.restart(&[])?;
        let token = cluster.token("worker");
        let mut worker = cluster.worker(&format!("off-{index}"), Some(&token))?;
        // A clock may be set a moment later: whoever starts workers again is to do so.
        assert_eq!(worker.wait(END)?.code(), Some(1));
        let log = worker.log();
        assert!(log.contains(message), "{message}: {log}");
        let address = format!("https://{}", cluster.host);
        let admin = cluster.token("admin");
        let output = cluster.espalier(Some(&admin), &["list", "--address", &address])?;
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(message), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_whose_certificate_is_of_another_time_is_told_so_and_joins_by_a_token()
-> Result<()> {
    let cluster = Secured::start(&[])?;
    let authority = authority_of(&cluster)?;
    let token = cluster.token("worker");
    let worker = cluster.worker("node-1", Some(&token))?;
    wait_until("the worker", LIMIT, || async {
        Ok((cluster.workers()? == ["node-1"]).then_some(()))
    })
    .await?;
    worker.signal(nix::sys::signal::Signal::SIGTERM)?;
    let mut worker = worker;
    assert!(worker.wait(END)?.success(), "{}", worker.log());
    drop(worker);
    let path = cluster.path("work-node-1/identity.json");
    let saved: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    let tokens = cluster.admin(&["token", "list"])?;
    let all = tokens.as_array().context("tokens")?;
    let id = all.iter().find(|token| token["role"] == "worker");
    let id = id.and_then(|token| token["id"].as_str()).context("an id")?;
    let cases = [
        (-2 * DAY, -DAY, "the worker's certificate has expired"),
        (DAY, 2 * DAY, "the coordinator's clock is wrong"),
    ];
    for (from, until, message) in cases {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let names = &mut params.distinguished_name;
        names.push(rcgen::DnType::CommonName, "node-1");
        let uri = format!("espalier:token:{id}").try_into()?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = certificate(params, from, until, &authority)?;
        let mut other = saved.clone();
        other["certificate"] = certificate.into();
        other["key"] = key.into();
        std::fs::write(&path, other.to_string())?;
        // A log of its own: each name has one.
        let command = cluster.worker_command("node-1", &cluster.host);
        let folder = tempfile::tempdir()?;
        let log = last_words(Process::start("late", folder.path(), command, false)?)?;
        assert!(
            log.contains(message) && log.contains("start this worker with a token"),
            "{log}"
        );
    }
    let _worker = cluster.worker("node-1", Some(&token))?;
    cluster.submit("again", 1)?;
    let status = cluster.finished("again").await?;
    assert_eq!(status["trials"]["completed"], 1, "{status}");
    Ok(())
}
