//! A push → the door, on a record with a history. What is admitted loads and equals its cells; what is not
//! leaves everything as it was.

use crdt_core::id::ChangeHash;
use crdt_core::protocol::{Dependencies, Message, SentChange, decode_frame};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Admitted, Change, Document, Judgement};

use super::scene::{SCENE, Scene};

pub(super) fn run(bytes: &[u8]) {
    let Ok(Message::Push(push)) = decode_frame(bytes) else { return };
    for batch in &push.batches {
        for document in &batch.documents {
            let mut before = None;
            // Each is judged on the scene as it is, so only the first few say anything new.
            for sent in document.changes.iter().take(CHANGES_MAX) {
                before = judge(&SCENE, sent, before);
            }
        }
    }
}

fn judge(scene: &Scene, sent: &SentChange, before: Option<ChangeHash>) -> Option<ChangeHash> {
    let deps = match &sent.deps {
        Dependencies::Chained => vec![before?],
        Dependencies::Short(prefixes) => {
            prefixes.iter().map(|prefix| scene.hash_like(*prefix)).collect::<Option<_>>()?
        }
        Dependencies::Long(hashes) => hashes.clone(),
    };
    let mut change = sent.clone().with_deps(deps);
    // A stranger writes under an actor of their own, or the door asks nothing more.
    change.actor.0[..12].copy_from_slice(&super::scene::WRITER.0);
    let cells = scene.cells.clone();
    let mut judged = scene.judge(&change, &sent.claim);
    if judged.is_none() && change.ops.iter().map(crdt_core::record::Op::len).sum::<u64>() < 5_000 {
        // Mutations rarely get the hash right; a sender that encodes honestly does.
        let claim = std::panic::catch_unwind(|| change.encode().hash.0[..4].to_vec());
        judged = claim.ok().and_then(|claim| scene.judge(&change, &claim));
    }
    assert!(scene.cells == cells, "judging changed something");
    match judged? {
        Judgement::Admitted(admitted) => {
            assert_readable(scene, &change, &admitted);
            Some(admitted.encoded.hash)
        }
        Judgement::SeqTaken(hash) => Some(hash),
        Judgement::NeedsDocument => panic!("it has had the document"),
    }
}

fn assert_readable(scene: &Scene, change: &Change, admitted: &Admitted) {
    let mut document = scene.document();
    document.apply(&admitted.encoded).expect("what is admitted applies");
    assert_eq!(document.cells().expect("and is ours"), admitted.cells, "{change:?}");
    let saved = document.save().expect("and is saved");
    let again = Document::load(Purpose::Verify, Some(&saved), []).expect("and loads again");
    assert_eq!(again.cells().expect("as it was"), admitted.cells, "{change:?}");
}

const CHANGES_MAX: usize = 4;
