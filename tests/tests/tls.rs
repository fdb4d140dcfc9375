//! A device and the real server over `wss`, with a certificate that only this device trusts.

use std::time::Duration;

use client_sdk::{Client, Config, Edits, StaticToken, SyncErrorKind};
use crdt_core::id::MemberId;
use tests::real_server::{RealServer, WORKSPACE};

struct Scene {
    server: RealServer,
    root: Vec<u8>,
    member: MemberId,
    token: String,
    folder: tempfile::TempDir,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let mut server = RealServer::create()
        .with("FIELDBOOK__TLS__CERT", cert.to_str().unwrap())
        .with("FIELDBOOK__TLS__KEY", key.to_str().unwrap());
    let member = server.add_member("Ada");
    let token = server.token(member);
    server.start_quietly();
    Scene { server, root: signed.cert.der().to_vec(), member, token, folder }
}

impl Scene {
    fn config(&self, name: &str) -> Config {
        let url = format!("wss://localhost:{}", self.server.address().port());
        Config::new(self.folder.path().join(name), WORKSPACE, self.member)
            .server(url, StaticToken::new(self.token.clone()))
    }
}

#[test]
fn devices_sync_over_tls_with_a_certificate_that_they_trust() {
    let scene = scene();
    let writer = Client::open(scene.config("a.db").extra_root(scene.root.clone())).unwrap();
    let reader = Client::open(scene.config("b.db").extra_root(scene.root)).unwrap();
    let account = writer.create("account", Edits::new().set("name", "Acme")).unwrap();
    for device in [&writer, &reader] {
        assert!(device.sync_once(Duration::from_secs(60)).unwrap().caught_up);
    }
    let shown = reader.get(account).unwrap().unwrap();
    assert_eq!(shown.text("name"), Some("Acme"));
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_and_the_edit_stays() {
    let scene = scene();
    let client = Client::open(scene.config("c.db")).unwrap();
    client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let error = client.sync_once(Duration::from_secs(3)).unwrap_err();
    assert_eq!(error.kind, SyncErrorKind::Tls, "{error}");
    assert_eq!(client.unsent().unwrap().batches, 1);
}
