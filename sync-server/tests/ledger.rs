//! The ledger's promise: what was appended is there after any crash, and damage is never read as silence.

use std::fs;
use std::path::{Path, PathBuf};

use crdt_core::id::{DeviceId, MemberId, RecordId};
use crdt_core::time::Timestamp;
use sync_server::ledger::{Ledger, LedgerEntry, LedgerError};
use uuid::Uuid;

const ENTRY: usize = 64;

fn erased(n: u8) -> LedgerEntry {
    let by = (n.is_multiple_of(2)).then_some(MemberId(Uuid::from_bytes([0xee; 16])));
    let at = Timestamp::from_millis(1_000 + i64::from(n));
    LedgerEntry::Erased { record: RecordId(Uuid::from_bytes([n; 16])), at, by }
}

fn revoked(n: u8) -> LedgerEntry {
    LedgerEntry::Revoked { device: DeviceId([n; 16]), at: Timestamp::from_millis(i64::from(n)) }
}

fn filled() -> (tempfile::TempDir, PathBuf, Vec<LedgerEntry>) {
    let folder = tempfile::tempdir().unwrap();
    let path = Ledger::path(folder.path(), "acme");
    let mut ledger = Ledger::open(&path).unwrap();
    let entries = vec![erased(1), revoked(1), erased(2), erased(3)];
    for entry in &entries {
        ledger.append(*entry).unwrap();
    }
    (folder, path, entries)
}

fn reopened(path: &Path) -> Result<Vec<LedgerEntry>, LedgerError> {
    Ledger::open(path).map(|ledger| ledger.entries().to_vec())
}

#[test]
fn what_was_appended_is_there_when_it_is_opened_again_and_once_only() {
    let (_folder, path, entries) = filled();
    assert_eq!(reopened(&path).unwrap(), entries);

    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(entries[0]).unwrap();
    assert_eq!(reopened(&path).unwrap(), entries);
    ledger.append(revoked(9)).unwrap();
    assert_eq!(reopened(&path).unwrap().last(), Some(&revoked(9)));
    assert!(ledger.is_erased(&RecordId(Uuid::from_bytes([3; 16]))));
    // A device and a record of the same bytes are two things.
    assert!(!ledger.is_erased(&RecordId(Uuid::from_bytes([9; 16]))));
    assert_eq!(ledger.revoked().len(), 2);
}

#[test]
fn a_last_entry_that_was_cut_off_is_dropped_and_its_place_is_written_again() {
    for cut in 1..ENTRY {
        let (_folder, path, entries) = filled();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        assert_eq!(reopened(&path).unwrap(), entries[..3], "{cut} bytes cut off");

        let mut ledger = Ledger::open(&path).unwrap();
        ledger.append(erased(7)).unwrap();
        let expected = [&entries[..3], &[erased(7)]].concat();
        assert_eq!(reopened(&path).unwrap(), expected, "{cut} bytes cut off");
    }
}

#[test]
fn a_last_entry_whose_bytes_came_to_disk_in_part_is_dropped() {
    let (_folder, path, entries) = filled();
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - ENTRY;
    bytes[last + 20..].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(reopened(&path).unwrap(), entries[..3]);
}

#[test]
fn any_other_damage_is_refused_with_file_and_offset() {
    let (_folder, path, _) = filled();
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() - ENTRY {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let Err(error @ LedgerError::Damaged { .. }) = reopened(&path) else {
            panic!("a flipped bit at byte {place} was not found");
        };
        let offset = place / ENTRY * ENTRY;
        let text = error.to_string();
        assert!(text.contains(&format!("at byte {offset};")), "{text}");
        assert!(text.contains("acme.ledger"), "{text}");
    }
    assert_eq!(fs::read(&path).unwrap().len(), good.len(), "what is damaged is left as it is");
}

#[test]
fn an_entry_that_was_taken_out_or_moved_is_found() {
    let (_folder, path, _) = filled();
    let good = fs::read(&path).unwrap();
    let entry = |n: usize| good[ENTRY * (n + 1)..ENTRY * (n + 2)].to_vec();
    let header = good[..ENTRY].to_vec();
    for order in [vec![1, 2, 3], vec![0, 2, 3], vec![1, 0, 2, 3], vec![0, 1, 1, 2, 3]] {
        let entries = order.iter().flat_map(|n| entry(*n));
        fs::write(&path, header.iter().copied().chain(entries).collect::<Vec<u8>>()).unwrap();
        assert!(matches!(reopened(&path), Err(LedgerError::Damaged { .. })), "order {order:?}");
    }
    for bytes in [&[][..], &good[..ENTRY / 2], b"something else".as_slice()] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(reopened(&path), Err(LedgerError::Damaged { offset: 0, .. })));
    }
}
