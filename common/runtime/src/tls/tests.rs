use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Serves one connection after another; what it knows of each peer is the answer.
async fn serve(folder: &Path) -> (String, Fingerprint, Authority) {
    let authority = Authority::open(folder).unwrap();
    let own = authority.server_certificate(folder).unwrap();
    let fingerprint = own.authority;
    let config = server_config(own, &authority).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let peer = stream.get_ref().1.peer_certificates();
            let peer = peer.and_then(|chain| PeerCertificate::read(&chain[0]));
            let text = peer.map_or("nobody".to_owned(), |peer| {
                format!("{} by {}", peer.name, peer.token)
            });
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, fingerprint, authority)
}

async fn ask(tls: &ClientTls, address: &str) -> std::io::Result<String> {
    let mut stream = tls.connect(address).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_client_joins_without_a_certificate_and_is_known_by_the_one_it_gets() {
    let folder = tempfile::tempdir().unwrap();
    let (address, fingerprint, authority) = serve(folder.path()).await;
    let tls = ClientTls::new(fingerprint, None).unwrap();
    assert_eq!(ask(&tls, &address).await.unwrap(), "nobody");
    let request = KeyRequest::new().unwrap();
    let hour = Duration::from_secs(3_600);
    let signed = authority.sign_worker(request.request(), "node-1", "abc", hour);
    let identity = request.with_certificate(&signed.unwrap()).unwrap();
    let tls = ClientTls::new(fingerprint, Some(&identity)).unwrap();
    assert_eq!(ask(&tls, &address).await.unwrap(), "node-1 by abc");
}

#[tokio::test]
async fn an_expired_certificate_is_known_by_its_name_too() {
    let folder = tempfile::tempdir().unwrap();
    let (address, fingerprint, authority) = serve(folder.path()).await;
    let request = KeyRequest::new().unwrap();
    let signed = authority.sign_worker(request.request(), "late", "abc", Duration::ZERO);
    let signed = signed.unwrap();
    let der = rustls::pki_types::CertificateDer::from_pem_slice(signed.as_bytes()).unwrap();
    let peer = PeerCertificate::read(&der).unwrap();
    // For machines whose clocks are late.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    assert!(peer.not_before <= now - 3_500, "{peer:?}");
    assert!(peer.check_time(peer.not_after).is_ok());
    let late = peer.check_time(peer.not_after + 1).unwrap_err();
    assert!(late.contains("expired"), "{late}");
    let early = peer.check_time(peer.not_before - 1).unwrap_err();
    assert!(early.contains("clock"), "{early}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let identity = request.with_certificate(&signed).unwrap();
    let tls = ClientTls::new(fingerprint, Some(&identity)).unwrap();
    assert_eq!(ask(&tls, &address).await.unwrap(), "late by abc");
}

#[tokio::test]
async fn another_authority_is_refused_by_both_sides() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (address, fingerprint, _) = serve(one.path()).await;
    let stranger = Authority::open(other.path()).unwrap();
    let pinned = Fingerprint::of(stranger.certificate());
    let error = ask(&ClientTls::new(pinned, None).unwrap(), &address).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("new tokens"), "{error}");

    let request = KeyRequest::new().unwrap();
    let hour = Duration::from_secs(3_600);
    let signed = stranger.sign_worker(request.request(), "node-1", "abc", hour);
    let identity = request.with_certificate(&signed.unwrap()).unwrap();
    let tls = ClientTls::new(fingerprint, Some(&identity)).unwrap();
    assert!(ask(&tls, &address).await.is_err());
}

#[tokio::test]
async fn what_speaks_no_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let pinned = Fingerprint::of(authority.certificate());
    let error = ask(&ClientTls::new(pinned, None).unwrap(), &address).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("speaks no TLS"), "{error}");
}

#[test]
fn a_clock_that_is_off_gets_its_own_message() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let own = authority.server_certificate(folder.path()).unwrap();
    let now = UnixTime::now().as_secs();
    let check_at = |seconds| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        client::check(&own, time)
    };
    // Backdated: a clock that is somewhat behind does no harm.
    check_at(now - 3_000).unwrap();
    let behind = check_at(now - 86_400).unwrap_err();
    assert!(behind.contains("the clock of this machine"), "{behind}");
    let ahead = check_at(now + 20 * 365 * 86_400).unwrap_err();
    assert!(ahead.contains("set the clock"), "{ahead}");
}

#[test]
fn keys_are_private_and_the_same_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    let first = Authority::open(&tls).unwrap();
    let first = first.server_certificate(&tls).unwrap();
    let again = Authority::open(&tls).unwrap();
    let again = again.server_certificate(&tls).unwrap();
    assert_eq!(first.chain, again.chain);
    let mut files = 0;
    for entry in std::fs::read_dir(&tls).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 4);
    let mode = std::fs::metadata(&tls).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    std::fs::remove_file(tls.join("authority-key.pem")).unwrap();
    let error = Authority::open(&tls).unwrap_err().to_string();
    assert!(error.contains("back-up"), "{error}");
}

#[test]
fn a_certificate_of_ones_own_must_have_the_name_that_clients_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    std::fs::write(path("ca.pem"), ca_certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for (name, taken) in [("node.example.org", false), (SERVER_NAME, true)] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(path("server.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let own = ServerCertificate::own(&path("server.pem"), &path("key.pem"), &path("ca.pem"));
        match own {
            Ok(own) => {
                assert!(taken, "{name}");
                assert_eq!(own.authority, Fingerprint::of(ca_certificate.der()));
            }
            Err(error) => {
                assert!(!taken, "{error}");
                assert!(error.to_string().contains(SERVER_NAME), "{error}");
            }
        }
    }
}

#[test]
fn a_token_survives_copying_whole_and_nothing_else() {
    let token = JoinToken {
        authority: Fingerprint::of(b"a certificate"),
        secret: Secret::new().unwrap(),
    };
    let fingerprint = token.authority.to_string();
    assert_eq!(fingerprint.parse(), Ok(token.authority));
    assert!(fingerprint[1..].parse::<Fingerprint>().is_err());
    let text = token.reveal();
    assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
    for cut in 1..text.len() {
        assert!(text[..cut].parse::<JoinToken>().is_err(), "{cut}");
    }
    let mut other = text.clone();
    other.replace_range(20..21, if &text[20..21] == "A" { "B" } else { "A" });
    assert_eq!(other.parse::<JoinToken>(), Err(TokenError::Damaged));
    assert_eq!(
        "hunter2".parse::<JoinToken>(),
        Err(TokenError::OtherText),
        "a text of another kind"
    );
    let shown = format!("{token:?}");
    assert!(!shown.contains(&text[60..]), "{shown}");
}

#[test]
fn a_request_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let hour = Duration::from_secs(3_600);
    for request in [&[][..], &[1, 2, 3], &[0x30; 20_000]] {
        let refused = authority.sign_worker(request, "node-1", "abc", hour);
        assert!(
            matches!(refused, Err(TlsError::BadRequest(_))),
            "{refused:?}"
        );
    }
}
