//! The real programs, built once and found through what cargo says, never through a stale file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The path of a program of this workspace: `sync-server`, `field-day`, or an example.
///
/// # Panics
/// When the workspace does not build or has no such program: no test can go on then.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    built.get(name).unwrap_or_else(|| panic!("the workspace builds no program `{name}`")).clone()
}

/// Builds every program in the profile of the tests themselves and reads where they are.
fn build() -> BTreeMap<String, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--workspace",
        "--bins",
        "--examples",
        "--locked",
        "--message-format=json",
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What cargo tells the running test about its package would look like a change to the build scripts that
    // read the same variables, and half of the workspace would be built anew each time.
    for (variable, _) in std::env::vars_os() {
        let about_a_package =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if about_a_package.iter().any(|one| variable.to_string_lossy().starts_with(one)) {
            cargo.env_remove(&variable);
        }
    }
    let output = cargo
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs: it runs these tests");
    assert!(output.status.success(), "the workspace's programs do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = messages.filter_map(|message| {
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(message["executable"].as_str()?)))
    });
    programs.collect()
}
