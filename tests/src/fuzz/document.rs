//! Bytes → a whole document, as a device gets it from a server that may be hostile. What loads and is flat says
//! the same after it was saved and loaded again.

use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Document};

pub(super) fn run(bytes: &[u8]) {
    let Ok(document) = Document::load(Purpose::Whole, Some(bytes), []) else { return };
    let Ok(cells) = document.cells() else { return };
    let stored = cells.to_stored();
    assert_eq!(Cells::from_stored(&stored).expect("what was stored is read"), cells);
    let saved = document.save().expect("what was loaded is saved");
    let again = Document::load(Purpose::Whole, Some(&saved), []).expect("and loads again");
    assert_eq!(again.cells().expect("as it was"), cells);
}
