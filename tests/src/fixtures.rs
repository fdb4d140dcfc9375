//! Files and frames of a released format, kept so that every later build opens them: how they are made, and what
//! they say.

pub mod capture;
pub mod stage;
pub mod story;
pub mod summary;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The format that this build makes fixtures of. A new format is a new folder; the old ones stay as they are.
pub const FORMAT: &str = "v1";
/// The workspace of the fixtures.
pub const WORKSPACE: &str = "field";
/// The server's ledger.
pub const LEDGER: &str = "server.ledger";
/// The largest that a fixture's file is once it is unpacked, bytes.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Fixtures are packed once and read for years.
const PACK_LEVEL: i32 = 19;

/// The folder of a format's fixtures.
#[must_use]
pub fn folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format)
}

/// Packs bytes into a file of the folder.
///
/// # Errors
/// When the folder cannot be written.
pub fn pack(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let packed = zstd::bulk::compress(bytes, PACK_LEVEL)?;
    let path = folder.join(format!("{name}.zst"));
    std::fs::write(&path, packed).with_context(|| path.display().to_string())
}

/// What was packed into a file of the folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn unpack(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(format!("{name}.zst"));
    let packed = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(zstd::bulk::decompress(&packed, UNPACKED_BYTES_MAX)?)
}

/// Makes the fixtures of this build's format, in the place of those that were there.
///
/// # Errors
/// When the story does not go as it should, or the folder cannot be written.
pub fn make() -> Result<()> {
    let (told, folder) = (story::tell()?, folder(FORMAT));
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(&folder)?;
    let ledger = told.server.with_extension("ledger");
    let files = [("device.db", &told.device), ("server.db", &told.server), (LEDGER, &ledger)];
    for (name, file) in files {
        pack(&folder, name, &std::fs::read(file)?)?;
    }
    std::fs::write(folder.join("device.txt"), &told.device_says)?;
    std::fs::write(folder.join("server.txt"), &told.server_says)?;
    pack(&folder, "capture", &capture::to_bytes(&told.wire))?;
    std::fs::write(folder.join("capture.txt"), &told.newcomer_says)?;
    Ok(())
}
