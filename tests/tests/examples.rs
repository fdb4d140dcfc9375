//! Every example program runs to its end: each asserts what it shows.

use std::process::Command;

use tests::binaries;

fn runs(name: &str, says: &str) {
    let output = Command::new(binaries::path(name)).output().expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}{errors}");
    assert!(text.contains(says), "{name} does not say `{says}`:\n{text}");
}

#[test]
fn offline_edit_runs() {
    runs("offline_edit", "2 batches with 2 records wait for a network");
}

#[test]
fn two_devices_runs() {
    runs("two_devices", "2 visits");
}

#[test]
fn search_runs() {
    runs("search", "`tan` finds 2 contacts");
}

#[test]
fn conflicts_runs() {
    runs("conflicts", "open after deciding: 0");
}

#[test]
fn embedded_server_runs() {
    runs("embedded_server", "Ben sees Some(\"Acme\")");
}

#[test]
fn access_runs() {
    runs("access", "of 4 edits 3 were accepted");
}
