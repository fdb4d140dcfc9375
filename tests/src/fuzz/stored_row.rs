//! Bytes → what a database row holds: cells, a change, a clock. Damage is an error, and what is read is what was
//! written.

use crdt_core::id::ChangeHash;
use crdt_core::record::{Cells, Change, Clock};

use super::scene::SCENE;

/// The first byte says which column the rest is.
pub(super) fn run(bytes: &[u8]) {
    let Some((&column, bytes)) = bytes.split_first() else { return };
    match column % 3 {
        0 => cells(bytes),
        1 => change(bytes),
        _ => clock(bytes),
    }
}

fn cells(bytes: &[u8]) {
    let Ok(cells) = Cells::from_stored(bytes) else { return };
    let stored = cells.to_stored();
    let again = Cells::from_stored(&stored).expect("what was stored is read");
    assert_eq!(again.to_stored(), stored);
    let _derived = (cells.clock(), cells.max_op(), cells.text_objects(), cells.last_edit());
}

fn change(bytes: &[u8]) {
    // Under its own hash, or that of another row: only the right one may be read.
    let (_, honest) = &SCENE.changes[0];
    if let Ok(read) = Change::from_stored(bytes, &honest.hash, &SCENE.cells) {
        assert_eq!(bytes, honest.bytes, "other bytes have this hash: {read:?}");
    }
    let nobodys = ChangeHash([0; 32]);
    assert!(Change::from_stored(bytes, &nobodys, &SCENE.cells).is_err());
}

fn clock(bytes: &[u8]) {
    let Some(clock) = Clock::from_bytes(bytes) else { return };
    assert_eq!(clock.to_bytes(), bytes, "a clock has one spelling");
}
