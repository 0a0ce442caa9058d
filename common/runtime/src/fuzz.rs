//! What comes from outside before anybody is trusted: tokens, fingerprints, requests for certificates, certificates
//! and files of settings. Each is taken as what it is or refused, whatever it holds.

use std::cell::Cell;
use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, value_parser};
use espalier_fuzzing::{changed, check, text};
use proptest::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::{ConfigArgs, ConfigError, matches};
use crate::secrets::TokenArgs;
use crate::tls::{
    Authority, Fingerprint, Identity, JoinToken, KeyRequest, PeerCertificate, Secret,
};

fn token() -> JoinToken {
    JoinToken {
        authority: Fingerprint::of(b"authority"),
        secret: Secret::new().unwrap(),
    }
}

#[test]
fn a_token_that_is_taken_is_the_text_that_was_made() {
    let real = token();
    let whole = real.reveal();
    let inner = whole.trim_start_matches("espalier1_");
    let taken = Cell::new(0);
    let real_texts = [
        &*whole,
        &format!(" {whole}\n"),
        inner,
        "espalier1_",
        "espalier2_AA==",
    ];
    check(4_000, text(&real_texts), |text| {
        if let Ok(token) = text.parse::<JoinToken>() {
            taken.set(taken.get() + 1);
            // Four bytes of a checksum: a changed one is not met by chance.
            prop_assert_eq!(&token, &real);
            prop_assert_eq!(token.reveal(), text.trim());
        }
        Ok(())
    });
    assert!(taken.get() > 20, "{taken:?}");
}

#[test]
fn a_fingerprint_that_is_taken_is_the_same_when_it_is_written() {
    let real = Fingerprint::of(b"authority").to_string();
    let taken = Cell::new(0);
    // `+f` is a number to the standard library's reader.
    let signed = real.replace(|c: char| c.is_ascii_digit(), "+");
    check(
        4_000,
        text(&[&real, &real.to_uppercase(), &signed]),
        |text| {
            if let Ok(fingerprint) = text.parse::<Fingerprint>() {
                taken.set(taken.get() + 1);
                prop_assert_eq!(fingerprint.to_string(), text.to_lowercase());
            }
            Ok(())
        },
    );
    assert!(taken.get() > 100, "{taken:?}");
}

#[test]
fn a_damaged_token_file_is_refused_without_a_word_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let real = token();
    let args = TokenArgs {
        token: None,
        token_file: Some(path.clone()),
    };
    let secret = real.reveal();
    let files = vec![
        secret.clone().into_bytes(),
        format!("{secret}\r\n").into_bytes(),
    ];
    check(300, changed(files), |bytes| {
        std::fs::write(&path, &bytes).unwrap();
        match args.read() {
            Ok(read) => prop_assert_eq!(read.as_ref(), Some(&real)),
            Err(error) => {
                let (error, text) = (error.to_string(), String::from_utf8_lossy(&bytes));
                let letters: Vec<char> = text.chars().collect();
                for piece in letters
                    .windows(12)
                    .map(|piece| piece.iter().collect::<String>())
                {
                    let known = "tokens begin with espalier1_";
                    prop_assert!(
                        known.contains(&piece) || !error.contains(&piece),
                        "{}",
                        error
                    );
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_request_for_a_certificate_decides_nothing_but_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let requests = (0..3).map(|_| KeyRequest::new().unwrap().request().to_vec());
    let (signed, refused) = (Cell::new(0), Cell::new(0));
    check(400, changed(requests.collect()), |request| {
        let hour = Duration::from_secs(3_600);
        let Ok(pem) = authority.sign_worker(&request, "node-1", "abc", hour) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        signed.set(signed.get() + 1);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let peer = PeerCertificate::read(&der).unwrap();
        prop_assert_eq!((&*peer.name, &*peer.token), ("node-1", "abc"));
        prop_assert!(peer.check_now().is_ok());
        Ok(())
    });
    assert!(
        signed.get() > 20 && refused.get() > 100,
        "{signed:?} {refused:?}"
    );
}

#[test]
fn a_damaged_certificate_is_read_or_not_and_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    let request = KeyRequest::new().unwrap();
    let hour = Duration::from_secs(3_600);
    let pem = authority
        .sign_worker(request.request(), "node-1", "abc", hour)
        .unwrap();
    let identity = request.with_certificate(&pem).unwrap();
    let key = identity.reveal_key().to_owned();
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let read = Cell::new(0);
    check(
        2_000,
        changed(vec![der.to_vec(), authority.certificate().to_vec()]),
        |der| {
            read.set(read.get() + usize::from(PeerCertificate::read(&der).is_some()));
            Ok(())
        },
    );
    assert!(read.get() > 20, "{read:?}");
    check(100, (text(&[&pem, &key]), text(&[&key])), |(pem, key)| {
        if let Ok(identity) = Identity::read(&pem, &key) {
            prop_assert_eq!(identity.certificate(), pem);
        }
        Ok(())
    });
}

fn program() -> Command {
    let ttl = Arg::new("ttl")
        .long("ttl-ms")
        .value_parser(value_parser!(u64).range(1..));
    let many = Arg::new("evaluator")
        .long("evaluator")
        .action(ArgAction::Append);
    let config = <ConfigArgs as clap::Args>::augment_args(Command::new("program"));
    config
        .arg(ttl.default_value("7"))
        .arg(many)
        .arg(Arg::new("join").long("join").required(true))
        .arg(
            Arg::new("insecure")
                .long("insecure")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("share")
                .long("share")
                .value_parser(value_parser!(f64)),
        )
}

#[test]
fn a_file_of_settings_is_taken_or_refused_at_a_place_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let real = [
        "join = 'there'\nttl_ms = 1_000\ninsecure = true\nevaluator = ['a=x', 'b=y']\nshare = 0.5\n",
        "# é\njoin = \"\\u00e9\"\nttl_ms = 0x10\n",
        "join = '''\nlong'''\nshare = -inf\nevaluator = 'one'\ninsecure = false\n",
        "[serve]\njoin = {a = 1}\nttl_ms = 1979-05-27\n",
        "evaluator = []\njoin = ''\nttl_ms = 99999999999999999999\n",
    ];
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let files = changed(real.iter().map(|text| text.as_bytes().to_vec()).collect());
    check(1_000, files, |bytes| {
        std::fs::write(&path, &bytes).unwrap();
        let line = [
            OsString::from("program"),
            "--config".into(),
            path.clone().into(),
        ];
        match matches(program(), line) {
            Ok(found) => {
                taken.set(taken.get() + 1);
                prop_assert!(found.get_one::<u64>("ttl").is_some_and(|&ttl| ttl > 0));
                prop_assert!(found.get_one::<String>("join").is_some());
            }
            Err(ConfigError::Wrong { line, column, .. }) => {
                refused.set(refused.get() + 1);
                let text = String::from_utf8_lossy(&bytes);
                let lines: Vec<&str> = text.split('\n').collect();
                prop_assert!(
                    (1..=lines.len()).contains(&line),
                    "{line} of {}",
                    lines.len()
                );
                let letters = lines[line - 1].chars().count();
                prop_assert!((1..=letters + 1).contains(&column), "{line}:{column}");
            }
            // No text, or what is missing in every layer.
            Err(ConfigError::Unreadable { .. } | ConfigError::CommandLine(_)) => {}
        }
        Ok(())
    });
    assert!(
        taken.get() > 100 && refused.get() > 100,
        "{taken:?} {refused:?}"
    );
}
