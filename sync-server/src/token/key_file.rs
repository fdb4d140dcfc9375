//! The file of the token key: PKCS#8 in PEM, readable by its owner alone, made once and never replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::{PublicKey, TokenKey};

/// Why there is no token key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the token key {} cannot be read or made: {source}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read the file.
    #[error(
        "the token key {} may be read by others (mode {mode:03o}); run chmod 600 on it, and delete it \
         instead if somebody may have copied it", .path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "{} is not an Ed25519 key in PKCS#8 PEM; restore it, or move it away to get a new key, with \
         which all tokens have to be minted again", .path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

pub(super) fn open_or_create(path: &Path) -> Result<TokenKey, KeyError> {
    let unusable = |source| KeyError::Unusable { path: path.to_owned(), source };
    if !path.try_exists().map_err(unusable)? {
        create(path).map_err(unusable)?;
    }
    refuse_other_readers(path)?;
    let text = fs::read_to_string(path).map_err(unusable)?;
    parse(&text).ok_or_else(|| KeyError::NotAKey { path: path.to_owned() })
}

/// Writes a new key beside `path` and links it into place, so that nobody ever sees half a key and, of two
/// processes that both make one, both use the first.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| no_randomness())?;
    let draft = path.with_extension(format!("new-{:016x}", u64::from_be_bytes(random)));
    let written = write_new(&draft, &generate()?);
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&draft);
    linked.and(removed)?;
    sync_folder_of(path)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => {
            File::open(folder)?.sync_all()
        }
        Some(_) | None => Ok(()),
    }
}

fn generate() -> io::Result<String> {
    let pair = Ed25519KeyPair::generate().map_err(|_| no_randomness())?;
    let document = pair.to_pkcs8v1().map_err(|_| no_randomness())?;
    Ok(pem::encode(&pem::Pem::new(TAG, document.as_ref())))
}

fn no_randomness() -> io::Error {
    io::Error::other("the system gave no random numbers")
}

#[cfg(unix)]
fn refuse_other_readers(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let found = fs::metadata(path)
        .map_err(|source| KeyError::Unusable { path: path.to_owned(), source })?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::TooOpen { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_other_readers(_path: &Path) -> Result<(), KeyError> {
    Ok(())
}

fn parse(text: &str) -> Option<TokenKey> {
    let document = pem::parse(text).ok().filter(|document| document.tag() == TAG)?;
    let pair = Ed25519KeyPair::from_pkcs8(document.contents()).ok()?;
    let public = PublicKey::ed25519(pair.public_key().as_ref())?;
    Some(TokenKey { pair: Arc::new(pair), public })
}

const TAG: &str = "PRIVATE KEY";
