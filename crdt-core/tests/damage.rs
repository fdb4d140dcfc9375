//! A stored document that is damaged says so: it never loads as something else, and never as nothing.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;

use crdt_core::record::document::Purpose;
use crdt_core::record::{Document, DocumentError, EncodedChange};
use history::History;
use history::random::Random;

fn stored() -> (Vec<u8>, Vec<Vec<u8>>, Document) {
    let mut history = History::of_seed("account", 3, 40, 17);
    history.exchange_all();
    let bytes = history.changes.iter().map(|(_, encoded)| encoded.bytes.clone()).collect();
    let document = history.replicas.remove(0).document;
    (document.save().unwrap(), bytes, document)
}

fn load(snapshot: Option<&[u8]>, changes: &[Vec<u8>]) -> Result<Document, DocumentError> {
    Document::load(Purpose::Verify, snapshot, changes.iter().map(Vec::as_slice))
}

#[test]
fn a_snapshot_and_the_changes_after_it_are_the_document() {
    let (snapshot, changes, document) = stored();
    for loaded in
        [load(Some(&snapshot), &[]), load(None, &changes), load(Some(&snapshot), &changes)]
    {
        assert_eq!(loaded.unwrap().cells(), document.cells());
    }
}

#[test]
fn a_missing_change_is_an_error_and_not_a_shorter_document() {
    let (_, mut changes, document) = stored();
    assert!(changes.len() > 10);
    changes.remove(0);
    assert!(matches!(load(None, &changes), Err(DocumentError::Heads)));
    let (change, encoded) = document.changes().unwrap().pop().unwrap();
    assert!(!change.deps.is_empty());
    let mut empty = load(None, &[]).unwrap();
    assert!(matches!(empty.apply(&encoded), Err(DocumentError::Heads)));
}

#[test]
fn a_torn_or_altered_snapshot_is_an_error() {
    let (snapshot, ..) = stored();
    assert!(load(Some(&[]), &[]).is_err());
    let random = &mut Random::new(5);
    for _ in 0..300 {
        let at = random.below(snapshot.len());
        assert!(load(Some(&snapshot[..at]), &[]).is_err(), "cut at {at}");
        let mut altered = snapshot.clone();
        altered[at] ^= 1 << random.below(8);
        assert!(load(Some(&altered), &[]).is_err(), "altered at {at}");
    }
    let longer = [&snapshot[..], b"and more"].concat();
    assert!(load(Some(&longer), &[]).is_err());
}

#[test]
fn a_torn_or_altered_change_is_an_error() {
    let (_, changes, _) = stored();
    let random = &mut Random::new(6);
    for _ in 0..300 {
        let bytes = random.pick(&changes);
        let at = random.below(bytes.len());
        let mut altered = bytes.clone();
        altered[at] ^= 1 << random.below(8);
        let hash = crdt_core::id::ChangeHash([0; 32]);
        for damaged in [bytes[..at].to_vec(), altered] {
            assert!(load(None, std::slice::from_ref(&damaged)).is_err(), "at {at}");
            let mut document = load(None, &[]).unwrap();
            assert!(document.apply(&EncodedChange { hash, bytes: damaged }).is_err(), "at {at}");
        }
    }
}
