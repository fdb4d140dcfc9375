//! Eight fuzz targets: bytes of a stranger's go in, and a broken promise comes out as a panic.
//!
//! Each asserts more than that nothing panics. Continuous integration runs them over a small committed corpus
//! (`tests/corpus`) with mutations from a seed; `tests/fuzz/run` runs one under libFuzzer for as long as
//! wanted.

mod change;
mod csv;
mod document;
mod frames;
mod message;
mod mutate;
mod scene;
mod schema_policy;
mod seeds;
mod stored_row;
mod token;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use mutate::Mutator;
pub use seeds::seeds;

/// A target: what it is called, and what it does with bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder of the corpus.
    pub name: &'static str,
    /// Takes bytes, and panics when a promise does not hold.
    pub run: fn(&[u8]),
}

/// The targets.
pub const TARGETS: [Target; 8] = [
    Target { name: "frames", run: frames::run },
    Target { name: "message", run: message::run },
    Target { name: "change", run: change::run },
    Target { name: "document", run: document::run },
    Target { name: "stored_row", run: stored_row::run },
    Target { name: "token", run: token::run },
    Target { name: "csv", run: csv::run },
    Target { name: "schema_policy", run: schema_policy::run },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The folder of a target's committed inputs.
#[must_use]
pub fn corpus_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The committed inputs of a target, in an order that does not change.
///
/// # Errors
/// When the folder cannot be read.
pub fn corpus(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = BTreeSet::new();
    for entry in fs::read_dir(corpus_folder(name))? {
        paths.insert(entry?.path());
    }
    paths.into_iter().map(fs::read).collect()
}
