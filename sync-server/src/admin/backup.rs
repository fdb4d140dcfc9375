//! Backups of a workspace: made beside a running server, and put in its place while none runs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crdt_core::id::{Epoch, is_name};
use crdt_core::time::Timestamp;
use rand::RngCore as _;

use super::channel::hold;
use super::error::{AdminError, FaultCode};
use super::recovery::RestoredLine;
use super::request::{AdminReply, AdminRequest};
use super::{ask, existing, failed, peer_limits, remove, take_turn};
use crate::clock;
use crate::config::ServerConfig;
use crate::failpoint;
use crate::ledger::Ledger;
use crate::store::sqlite::backup::{self, Contents};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};
use crate::workspace::{Origin, Replaced, Workspace, begin_epoch};
use crate::workspaces::Workspaces;

/// A backup that was made and looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// What it holds.
    pub contents: Contents,
    /// Its size, bytes.
    pub bytes: u64,
    /// Whether the workspace knows of it: then devices need not keep what it holds.
    pub is_noted: bool,
}

/// A workspace that was put back to a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// How its log begins.
    pub line: RestoredLine,
    /// Where the file that it takes the place of is kept.
    pub aside: Option<PathBuf>,
    /// Why that file could not be read, if it could not.
    pub unreadable: Option<String>,
}

/// Copies a workspace to a new file, looks at the copy, and tells the workspace of it. A server may run.
///
/// # Errors
/// When there is no such workspace, the file exists, or the copy cannot be written or is not sound: then no
/// file is left.
pub fn back_up(config: &ServerConfig, workspace: &str, to: &Path) -> Result<BackedUp, AdminError> {
    let from = existing(config, workspace)?;
    if let Err(error) = File::create_new(to) {
        return Err(match error.kind() {
            ErrorKind::AlreadyExists => AdminError::refused(
                FaultCode::Refused,
                format!("{} exists; a backup overwrites nothing", to.display()),
            ),
            _ => failed(to, error),
        });
    }
    let unfinished = beside(to, ".unfinished");
    let made = copy(&from, &unfinished, to);
    if made.is_err() {
        for path in [&unfinished, &to.to_owned()] {
            remove(path)?;
        }
    }
    let contents = made?;
    let bytes = std::fs::metadata(to).map_err(|error| failed(to, error))?.len();
    let request = AdminRequest::NoteBackup {
        epoch: contents.log.epoch.0,
        position: contents.log.head,
        at: clock::now(),
    };
    let is_noted = matches!(ask(config, workspace, request)?, AdminReply::Noted(true));
    Ok(BackedUp { contents, bytes, is_noted })
}

/// It gets its name when it is whole, sound and on the disk.
fn copy(from: &Path, unfinished: &Path, to: &Path) -> Result<Contents, AdminError> {
    remove(unfinished)?;
    backup::copy(from, unfinished)?;
    let contents = backup::check(unfinished)?;
    sync(unfinished)?;
    std::fs::rename(unfinished, to).map_err(|error| failed(to, error))?;
    sync_folder(to)?;
    Ok(contents)
}

/// Puts a workspace back to a backup: a new epoch begins, what must outlive every restore is done again from
/// the ledger, and the file that was there is kept aside. No server runs.
///
/// # Errors
/// When a server runs, the backup is not sound, or the disk refuses: then the workspace is as it was.
pub fn restore(config: &ServerConfig, workspace: &str, from: &Path) -> Result<PutBack, AdminError> {
    if !is_name(workspace) {
        return Err(AdminError::BadName(workspace.chars().take(80).collect()));
    }
    let path = Workspaces::path(&config.data_dir, workspace);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let _turn = take_turn(config)?;
    let _held = hold(&config.data_dir).map_err(|error| AdminError::Channel(error.to_string()))?;
    let fresh = folder.join(format!(".{workspace}.restore"));
    forget(&fresh)?;
    failpoint::step(failpoint::RESTORE);
    let put = prepare(config, workspace, from, &path, &fresh);
    let put = put.and_then(|put| take_place(&path, &fresh, put));
    if put.is_err() {
        forget(&fresh)?;
    }
    put
}

/// Makes a copy of the backup ready to be served.
fn prepare(
    config: &ServerConfig,
    workspace: &str,
    from: &Path,
    path: &Path,
    fresh: &Path,
) -> Result<PutBack, AdminError> {
    // A copy of a running database may have its newest part beside it.
    for suffix in ["", "-wal"] {
        match std::fs::copy(beside(from, suffix), beside(fresh, suffix)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound && !suffix.is_empty() => {}
            Err(error) => return Err(failed(&beside(from, suffix), error)),
        }
        failpoint::step(failpoint::RESTORE);
    }
    let contents = backup::check(fresh)?;
    let options =
        SqliteOptions { max_page_count: config.storage.max_page_count, ..SqliteOptions::default() };
    let (replaced, unreadable) = match read_replaced(path, options, &contents) {
        Ok(replaced) => (replaced, None),
        Err(StoreError::InUse) => return Err(StoreError::InUse.into()),
        Err(error) => (None, Some(error.to_string())),
    };
    failpoint::step(failpoint::RESTORE);
    let now = clock::now();
    let opened: Arc<dyn Store> = Arc::new(SqliteStore::open(fresh, options)?);
    let restoration = begin_epoch(&*opened, now, new_epoch(), Origin::Backup(replaced.as_ref()))?;
    failpoint::step(failpoint::RESTORE);
    // What the ledger knows is done before anybody is served, here as when a server opens the workspace.
    let ledger = Ledger::open(&Ledger::path(&config.data_dir, workspace));
    let ledger = ledger.map_err(StoreError::from)?;
    let opened = Workspace::open(opened, peer_limits(config))?.with_ledger(now, ledger)?;
    let line = RestoredLine::of(&opened.recovery()?, &restoration);
    failpoint::step(failpoint::RESTORE);
    drop(opened);
    backup::check(fresh)?;
    sync(fresh)?;
    failpoint::step(failpoint::RESTORE);
    Ok(PutBack { line, aside: None, unreadable })
}

/// What has to be known of the file that is there.
fn read_replaced(
    path: &Path,
    options: SqliteOptions,
    backup: &Contents,
) -> Result<Option<Replaced>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let store = SqliteStore::open(path, options)?;
    Replaced::read(&store, &backup.log).map(Some)
}

/// The prepared file gets the workspace's name; the one that has it is kept. Wherever this ends, the workspace is the
/// old one or the new one, or away until a restore is run again; it is never the old one without its newest part.
fn take_place(path: &Path, fresh: &Path, mut put: PutBack) -> Result<PutBack, AdminError> {
    let at: Timestamp = clock::now();
    if path.exists() {
        let aside = beside(path, &format!(".replaced-{}", at.as_millis()));
        set_aside(path, &aside)?;
        put.aside = Some(aside);
    }
    // What is left of the old file's log is beside the kept one. The new file must not be given it.
    for suffix in ["-wal", "-shm"] {
        remove(&beside(path, suffix))?;
        failpoint::step(failpoint::RESTORE);
    }
    std::fs::rename(fresh, path).map_err(|error| failed(path, error))?;
    failpoint::step(failpoint::RESTORE);
    sync_folder(path)?;
    remove(&fresh.with_extension("lock"))?;
    failpoint::step(failpoint::RESTORE);
    Ok(put)
}

/// Gives the file that is there another name, under which it is whole.
fn set_aside(path: &Path, aside: &Path) -> Result<(), AdminError> {
    let wal = beside(path, "-wal");
    let at_aside = |error| failed(aside, error);
    if wal.exists() {
        // The file could not be read, or its log would be folded into it by now. It goes away before its log does:
        // without the log it would be the workspace as it was some time ago.
        std::fs::hard_link(&wal, beside(aside, "-wal")).map_err(at_aside)?;
        failpoint::step(failpoint::RESTORE);
        std::fs::rename(path, aside).map_err(at_aside)?;
    } else {
        // The workspace has a file at every moment: this one until the other has its name.
        std::fs::hard_link(path, aside).map_err(at_aside)?;
    }
    sync_folder(path)?;
    failpoint::step(failpoint::RESTORE);
    Ok(())
}

/// An identity for a new log.
pub(super) fn new_epoch() -> Epoch {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    Epoch(bytes)
}

fn sync(path: &Path) -> Result<(), AdminError> {
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.sync_all()).map_err(|error| failed(path, error))
}

/// A name is on the disk when its folder is.
fn sync_folder(path: &Path) -> Result<(), AdminError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(folder, error))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn forget(unfinished: &Path) -> Result<(), AdminError> {
    super::forget(unfinished)
}
