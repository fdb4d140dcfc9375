//! The server's side of the door, for one document: its cells, its log, and what it knows of each change.

use std::collections::BTreeMap;

use crdt_core::id::{ReplicaId, Section};
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Admitted, Cells, Change, Document, Door, EncodedChange, History as Age, Judgement, Known,
    Reason, Situation, judge, judge_knowing, judge_with,
};
use crdt_core::schema::{Entity, Schema};
use crdt_core::time::Timestamp;

use super::history::{History, Index};

/// One document as the server has it.
#[derive(Clone)]
pub struct Server {
    pub entity: &'static Entity,
    pub section: Section,
    pub cells: Cells,
    pub log: Vec<EncodedChange>,
    pub index: Index,
    pub now: Timestamp,
    pub age: Age,
}

/// What became of a change.
#[derive(Debug)]
pub enum Verdict {
    Admitted(Box<Admitted>),
    Held,
    Refused(Reason),
}

impl Server {
    pub fn of(entity: &str, now: Timestamp) -> Self {
        Self {
            entity: Schema::builtin().entity(entity).unwrap(),
            section: Section::main(),
            cells: Cells::default(),
            log: Vec::new(),
            index: Index::default(),
            now,
            age: Age::Current,
        }
    }

    /// A server that has taken everything of `history`.
    pub fn with(history: &History) -> Self {
        let mut server = Self::of(&history.entity.name, history.now());
        for (change, encoded) in &history.changes {
            server.take(change, encoded);
        }
        server
    }

    pub fn document(&self) -> Document {
        let bytes = self.log.iter().map(|encoded| &encoded.bytes[..]);
        Document::load(Purpose::SlowDoor, None, bytes).unwrap()
    }

    /// Judges without taking. Dependencies that are not here are the caller's to refuse.
    pub fn judge(&self, change: &Change, claim: &[u8], sender: ReplicaId) -> Verdict {
        let Some(past) = self.index.past(&change.deps) else {
            return Verdict::Refused(Reason::UnknownDependency);
        };
        self.judge_after(change, claim, sender, &past)
    }

    pub fn judge_after(
        &self,
        change: &Change,
        claim: &[u8],
        sender: ReplicaId,
        past: &Known,
    ) -> Verdict {
        let situation = Situation {
            entity: self.entity,
            section: &self.section,
            cells: &self.cells,
            past,
            sender,
            now: self.now,
            history: self.age,
        };
        let judgement = match judge(change, claim, &situation) {
            Ok(Judgement::NeedsDocument) => {
                let slow = judge_with(change, claim, &situation, self.document());
                self.agrees(change, claim, &situation, &slow);
                slow
            }
            other => other,
        };
        match judgement {
            Ok(Judgement::Admitted(admitted)) => Verdict::Admitted(admitted),
            Ok(Judgement::SeqTaken(_)) => Verdict::Held,
            Ok(Judgement::NeedsDocument) => panic!("it has had the document"),
            Err(reason) => Verdict::Refused(reason),
        }
    }

    /// Where no text is touched, knowing which keys the overwritten values stood under decides as the
    /// document does: admitted alike, with the same cells, or refused for the same reason.
    fn agrees(
        &self,
        change: &Change,
        claim: &[u8],
        situation: &Situation<'_>,
        slow: &Result<Judgement, Reason>,
    ) {
        let mut wrote = BTreeMap::new();
        for encoded in &self.log {
            let stored = Change::from_stored(&encoded.bytes, &encoded.hash, &self.cells).unwrap();
            let ids = stored.ops_with_ids().map(|(id, _)| id);
            let written = ids.filter_map(|id| Some((id, stored.key_written(&id)?.to_owned())));
            wrote.extend(written);
        }
        match (judge_knowing(change, claim, situation, &wrote), slow) {
            (Ok(Judgement::NeedsDocument), _) => assert!(change.touches_text()),
            (Ok(Judgement::Admitted(fast)), Ok(Judgement::Admitted(slow))) => {
                assert_eq!(fast.door, Door::Fast);
                assert_eq!((&fast.encoded, &fast.cells), (&slow.encoded, &slow.cells));
                assert_eq!(fast.clock, slow.clock);
            }
            (Err(fast), Err(slow)) => assert_eq!(fast, *slow),
            (fast, slow) => panic!("{fast:?} by the index, {slow:?} by the document: {change:?}"),
        }
    }

    /// Judges a change of whoever owns its actor, with whatever hash it has: what a sender who encodes
    /// honestly can claim. A change that the rules refuse is never encoded.
    pub fn judge_claimed(&self, change: &Change) -> Verdict {
        let sender = change.actor.replica();
        match self.judge(change, &[], sender) {
            Verdict::Refused(Reason::HashMismatch) => {
                self.judge(change, &change.encode().hash.0[..4], sender)
            }
            other => other,
        }
    }

    /// Takes an honest change in, and says how it came.
    pub fn take(&mut self, change: &Change, encoded: &EncodedChange) -> Box<Admitted> {
        match self.judge(change, &encoded.hash.0[..4], change.actor.replica()) {
            Verdict::Admitted(admitted) => {
                self.index.insert(encoded.hash, change.max_op(), admitted.clock.clone());
                self.log.push(admitted.encoded.clone());
                self.cells = admitted.cells.clone();
                admitted
            }
            other => panic!("{other:?} for {change:?}"),
        }
    }
}
