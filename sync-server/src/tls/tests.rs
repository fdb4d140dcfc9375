//! The promises of TLS files: what cannot be used is refused by name, and a bad renewal changes nothing.

use std::fs;

use super::*;

struct Files {
    _folder: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            _folder: folder,
        };
        files.renew();
        files
    }

    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&self.cert, made.cert.pem()).unwrap();
        fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
    }

    fn accept(&self) -> Result<Acceptor, TlsError> {
        Acceptor::from_files(&self.cert, &self.key)
    }
}

fn shown_by(acceptor: &Acceptor) -> CertificateDer<'static> {
    acceptor.shown.current.read().unwrap().cert[0].clone()
}

#[test]
fn a_missing_file_is_named() {
    let files = Files::new();
    fs::remove_file(&files.key).unwrap();
    let refused = files.accept().err().unwrap();
    assert!(matches!(&refused, TlsError::Unreadable { path, .. } if *path == files.key));
    fs::remove_file(&files.cert).unwrap();
    let refused = files.accept().err().unwrap();
    assert!(refused.to_string().contains("cert.pem cannot be read"), "{refused}");
}

#[test]
fn files_without_what_they_should_hold_are_refused() {
    let files = Files::new();
    let cert = fs::read(&files.cert).unwrap();
    fs::write(&files.cert, "no certificate here").unwrap();
    assert!(matches!(files.accept(), Err(TlsError::NoCertificate { .. })));
    fs::write(&files.cert, &cert).unwrap();
    fs::write(&files.key, &cert).unwrap();
    assert!(matches!(files.accept(), Err(TlsError::Unreadable { .. })));
}

#[test]
fn a_key_for_another_certificate_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    let mixed = Acceptor::from_files(&files.cert, &others.key);
    assert!(matches!(mixed, Err(TlsError::Mismatch { .. })));
}

#[test]
fn a_renewed_certificate_is_shown_after_a_reload_and_a_broken_one_is_not() {
    let files = Files::new();
    let acceptor = files.accept().unwrap();
    let first = shown_by(&acceptor);

    files.renew();
    assert_eq!(shown_by(&acceptor), first);
    acceptor.reload().unwrap();
    let second = shown_by(&acceptor);
    assert_ne!(second, first);

    fs::write(&files.cert, "half a fi").unwrap();
    assert!(acceptor.reload().is_err());
    assert_eq!(shown_by(&acceptor), second);
}
