//! The ledger of a workspace: what must outlive every restore. Records that were erased and devices that were
//! shut out, in a file of its own that no backup holds and no restore replaces.
//!
//! The file is append-only: a header of 64 bytes, then entries of 64 bytes each. An entry ends with a check
//! over itself and the check before it, so a changed, removed or moved entry is found. An act is done once
//! its entry is on disk: [`Ledger::append`] returns after `fsync`. A crash may leave the last entry torn;
//! its act was never confirmed, so it is dropped with a warning. Any other damage is refused with file and
//! offset: a ledger that forgets would bring back what people asked to be forgotten.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 | kind: 1 erased, 2 revoked |
//! | 1 | 1 when a member did it, 0 for the operator |
//! | 2..8 | zero |
//! | 8..16 | when, ms, big-endian |
//! | 16..32 | the record or the device |
//! | 32..48 | the member, or zero |
//! | 48..64 | the first bytes of SHA-256(check before ‖ bytes 0..48) |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crdt_core::id::{DeviceId, MemberId, RecordId};
use crdt_core::time::Timestamp;
use uuid::Uuid;

use crate::audit::sha256;

/// One line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerEntry {
    /// A record was erased for good.
    Erased {
        /// Which.
        record: RecordId,
        /// When.
        at: Timestamp,
        /// The member who asked for it; nothing for the operator.
        by: Option<MemberId>,
    },
    /// A device was shut out.
    Revoked {
        /// Which.
        device: DeviceId,
        /// When.
        at: Timestamp,
    },
}

/// The ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file system refuses.
    #[error("the ledger {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Bytes that were once whole are not what was written.
    #[error(
        "the ledger {path} is damaged at byte {offset}; put back a good copy of it before this \
         workspace is opened, or erased records may return"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        offset: u64,
    },
    /// A write failed before and it is not known how much of it is on disk.
    #[error("the ledger {path} failed before; restart the server")]
    Failed {
        /// The file.
        path: String,
    },
}

/// A workspace's ledger, open for appending.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    entries: Vec<LedgerEntry>,
    subjects: BTreeSet<Subject>,
    check: Check,
    /// A write failed and could not be taken back: what the file holds is not known.
    failed: bool,
}

impl Ledger {
    /// The file of a workspace's ledger. It stands apart from the databases, so that whoever copies those
    /// back does not put an older ledger in this one's place.
    #[must_use]
    pub fn path(data_dir: &Path, workspace: &str) -> PathBuf {
        data_dir.join("ledgers").join(format!("{workspace}.ledger"))
    }

    /// Opens the ledger, and makes it when there is none. One process at a time: whoever opens it holds the
    /// workspace.
    ///
    /// # Errors
    /// When the file cannot be had, or is damaged.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Io { path: path.display().to_string(), source };
        if !path.exists() {
            create(path).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let damaged = |offset| LedgerError::Damaged { path: path.display().to_string(), offset };
        let read = Contents::read(&bytes).map_err(damaged)?;
        if read.length < bytes.len() as u64 {
            tracing::warn!(
                path = %path.display(),
                offset = read.length,
                "the ledger's last entry was cut off by a crash; its act was never confirmed"
            );
            file.set_len(read.length).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let Contents { entries, check, .. } = read;
        let subjects = entries.iter().map(LedgerEntry::subject).collect();
        Ok(Self { path: path.to_owned(), file, entries, subjects, check, failed: false })
    }

    /// Every entry, in the order in which they were made.
    #[must_use]
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// Whether a record was erased.
    #[must_use]
    pub fn is_erased(&self, record: &RecordId) -> bool {
        self.subjects.contains(&(ERASED, *record.as_bytes()))
    }

    /// The devices that were shut out, each with the moment of the first time.
    #[must_use]
    pub fn revoked(&self) -> BTreeMap<DeviceId, Timestamp> {
        let mut revoked = BTreeMap::new();
        for entry in &self.entries {
            if let LedgerEntry::Revoked { device, at } = entry {
                revoked.entry(*device).or_insert(*at);
            }
        }
        revoked
    }

    /// Appends an entry; it is on disk when this returns. What the ledger says already is not said twice.
    ///
    /// # Errors
    /// When it cannot be written: then the ledger is as before, and the act must not be done.
    pub fn append(&mut self, entry: LedgerEntry) -> Result<(), LedgerError> {
        let path = || self.path.display().to_string();
        if self.failed {
            return Err(LedgerError::Failed { path: path() });
        }
        if self.subjects.contains(&entry.subject()) {
            return Ok(());
        }
        let (bytes, check) = entry.to_bytes(&self.check);
        let length = (SIZE * (self.entries.len() + 1)) as u64;
        let written = self
            .file
            .seek(SeekFrom::Start(length))
            .and_then(|_| self.file.write_all(&bytes))
            .map(|()| self.file.sync_all());
        match written {
            Ok(Ok(())) => {
                self.check = check;
                self.subjects.insert(entry.subject());
                self.entries.push(entry);
                Ok(())
            }
            // After a failed fsync nobody knows what the disk holds: the file is read anew before it is used.
            Ok(Err(source)) => {
                self.failed = true;
                Err(LedgerError::Io { path: path(), source })
            }
            Err(source) => {
                self.failed =
                    self.file.set_len(length).and_then(|()| self.file.sync_all()).is_err();
                Err(LedgerError::Io { path: path(), source })
            }
        }
    }
}

impl LedgerEntry {
    /// When it was made.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Erased { at, .. } | Self::Revoked { at, .. } => *at,
        }
    }

    /// What it is about: kind and id.
    fn subject(&self) -> Subject {
        match self {
            Self::Erased { record, .. } => (ERASED, *record.as_bytes()),
            Self::Revoked { device, .. } => (REVOKED, *device.as_bytes()),
        }
    }

    fn to_bytes(self, before: &Check) -> ([u8; SIZE], Check) {
        let mut bytes = [0; SIZE];
        let (at, by) = match self {
            Self::Erased { at, by, .. } => (at, by),
            Self::Revoked { at, .. } => (at, None),
        };
        let (kind, id) = self.subject();
        bytes[0] = kind;
        bytes[1] = u8::from(by.is_some());
        bytes[8..16].copy_from_slice(&at.as_millis().to_be_bytes());
        bytes[16..32].copy_from_slice(&id);
        if let Some(member) = by {
            bytes[32..48].copy_from_slice(member.as_bytes());
        }
        let check = check(before, &bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&check);
        (bytes, check)
    }

    /// Reads what [`Self::to_bytes`] wrote; nothing when the bytes are not an entry that follows `before`.
    fn from_bytes(bytes: &[u8; SIZE], before: &Check) -> Option<(Self, Check)> {
        let check = check(before, &bytes[..CHECKED]);
        if bytes[CHECKED..] != check || bytes[2..8] != [0; 6] {
            return None;
        }
        let at = Timestamp::from_millis(i64::from_be_bytes(bytes[8..16].try_into().ok()?));
        let id: [u8; 16] = bytes[16..32].try_into().ok()?;
        let member = MemberId(Uuid::from_slice(&bytes[32..48]).ok()?);
        let entry = match (bytes[0], bytes[1]) {
            (ERASED, by @ (0 | 1)) => Self::Erased {
                record: RecordId(Uuid::from_bytes(id)),
                at,
                by: (by == 1).then_some(member),
            },
            (REVOKED, 0) => Self::Revoked { device: DeviceId(id), at },
            _ => return None,
        };
        Some((entry, check))
    }
}

/// What a ledger's file holds.
struct Contents {
    entries: Vec<LedgerEntry>,
    check: Check,
    /// The bytes up to which it is whole.
    length: u64,
}

impl Contents {
    /// Reads the bytes of a file; the offset of damage that no crash leaves.
    fn read(bytes: &[u8]) -> Result<Self, u64> {
        let Some((header, mut rest)) = bytes.split_first_chunk::<SIZE>() else { return Err(0) };
        if *header != HEADER {
            return Err(0);
        }
        let (entries, check) = (Vec::new(), check(&[0; 16], &HEADER));
        let mut contents = Self { entries, check, length: SIZE as u64 };
        while let Some((entry, after)) = rest.split_first_chunk::<SIZE>() {
            match LedgerEntry::from_bytes(entry, &contents.check) {
                Some((entry, check)) => {
                    contents.entries.push(entry);
                    contents.check = check;
                    contents.length += SIZE as u64;
                    rest = after;
                }
                // Only the last one can be torn: each is on disk before the next is begun.
                None if after.is_empty() => break,
                None => return Err(contents.length),
            }
        }
        Ok(contents)
    }
}

/// Makes a ledger without entries. It gets its name when it is whole.
fn create(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&HEADER)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    // Names are on disk with their folders.
    for folder in [Some(folder), folder.parent()].into_iter().flatten().filter(|_| cfg!(unix)) {
        let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(named)?.sync_all()?;
    }
    Ok(())
}

fn check(before: &Check, bytes: &[u8]) -> Check {
    let hash = sha256(&[before, bytes]);
    let mut check = [0; 16];
    check.copy_from_slice(&hash[..16]);
    check
}

type Check = [u8; 16];
/// Kind and id.
type Subject = (u8, [u8; 16]);

/// The size of the header and of each entry: no entry crosses a sector.
const SIZE: usize = 64;
/// What an entry's check covers.
const CHECKED: usize = 48;
const ERASED: u8 = 1;
const REVOKED: u8 = 2;
const HEADER: [u8; SIZE] = *b"fieldbook ledger 1: erased records and revoked devices. Append.\n";
