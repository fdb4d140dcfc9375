//! A database's files as they are on disk at one moment, so that a process can die without closing them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The files of one database: the main file and what has not been folded into it.
#[derive(Debug, Clone)]
pub struct Files {
    parts: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Files {
    /// Copies the files of the database at `path`.
    #[must_use]
    pub fn copy(path: &Path) -> Self {
        let parts = ["", "-wal"].map(|suffix| {
            let part = beside(path, suffix);
            let bytes = match fs::read(&part) {
                Ok(bytes) => Some(bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => panic!("{} cannot be read: {error}", part.display()),
            };
            (part, bytes)
        });
        Self { parts: parts.into() }
    }

    /// No files at all where the database at `path` has its own.
    #[must_use]
    pub fn none(path: &Path) -> Self {
        Self { parts: ["", "-wal"].map(|suffix| (beside(path, suffix), None)).into() }
    }

    /// Puts the files where another database of the name `path` has its own.
    pub fn put_at(&self, path: &Path) {
        let parts = ["", "-wal"].iter().zip(&self.parts);
        let parts = parts.map(|(suffix, (_, bytes))| (beside(path, suffix), bytes.clone()));
        Self { parts: parts.collect() }.put_back();
    }

    /// Puts the files back as they were. The index of the WAL is made anew by whoever opens them.
    pub fn put_back(&self) {
        if let Some((path, _)) = self.parts.first() {
            remove(&beside(path, "-shm"));
        }
        for (path, bytes) in &self.parts {
            match bytes {
                Some(bytes) => fs::write(path, bytes).expect("the simulation's folder is writable"),
                None => remove(path),
            }
        }
    }
}

/// A folder in memory where there is one: every commit is synced, and real disks make that slow.
///
/// # Panics
/// When no folder can be made.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    let in_memory = tempfile::Builder::new().prefix("fieldbook").tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a temporary folder can be made")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => panic!("{} cannot be removed: {error}", path.display()),
    }
}
