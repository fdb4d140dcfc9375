//! A record with a history, as the door sees it: cells, log, and the causal past of each change.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crdt_core::id::{ActorId, ChangeHash, ReplicaId, Section};
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Author, Cells, Change, Clock, Document, Edit, EncodedChange, History, Judgement, Known, Scalar,
    SeedKind, Situation, Splice, judge, judge_with, seed,
};
use crdt_core::schema::{Entity, Schema};
use crdt_core::time::Timestamp;

/// A replica that writes here, and that the next change may come from.
pub(super) const WRITER: ReplicaId = ReplicaId([3; 12]);

/// An account that two replicas have written.
pub(super) struct Scene {
    pub(super) entity: &'static Entity,
    pub(super) section: Section,
    pub(super) cells: Cells,
    pub(super) changes: Vec<(Change, EncodedChange)>,
    index: BTreeMap<ChangeHash, (u64, Clock)>,
}

/// The one scene: made once.
pub(super) static SCENE: LazyLock<Scene> = LazyLock::new(Scene::build);

/// When the last change was made, milliseconds.
const NOW_MS: i64 = 1_763_000_100_000;

impl Scene {
    /// The server's clock.
    pub(super) fn now() -> Timestamp {
        Timestamp::from_millis(NOW_MS)
    }

    /// The document with everything in it.
    pub(super) fn document(&self) -> Document {
        let bytes = self.changes.iter().map(|(_, encoded)| &encoded.bytes[..]);
        Document::load(Purpose::Verify, None, bytes).expect("the scene's own changes load")
    }

    /// What the dependencies of a change cover; nothing when one is unknown.
    fn past(&self, deps: &[ChangeHash]) -> Option<Known> {
        let mut past = Known::default();
        for dep in deps {
            let (max_op, clock) = self.index.get(dep)?;
            past.add(*max_op, clock);
        }
        Some(past)
    }

    /// The hash that begins so.
    pub(super) fn hash_like(&self, prefix: u32) -> Option<ChangeHash> {
        let begins = |hash: &&ChangeHash| hash.0.starts_with(&prefix.to_be_bytes());
        self.index.keys().find(begins).copied()
    }

    /// Judges a change as a server does, through the slow door when it must be.
    pub(super) fn judge(&self, change: &Change, claim: &[u8]) -> Option<Judgement> {
        let past = self.past(&change.deps)?;
        let situation = Situation {
            entity: self.entity,
            section: &self.section,
            cells: &self.cells,
            past: &past,
            sender: WRITER,
            now: Self::now(),
            history: History::Current,
        };
        match judge(change, claim, &situation).ok()? {
            Judgement::NeedsDocument => judge_with(change, claim, &situation, self.document()).ok(),
            judged => Some(judged),
        }
    }

    fn build() -> Self {
        let entity = Schema::builtin().entity("account").expect("the built-in schema has it");
        let mut scene = Self {
            entity,
            section: Section::main(),
            cells: Cells::default(),
            changes: Vec::new(),
            index: BTreeMap::new(),
        };
        let put = |key: &str, value| Edit::Put { key: key.to_owned(), value };
        let text = |text: &str| Scalar::Str(text.to_owned());
        scene.write(
            WRITER,
            &[
                put("$entity", text("account")),
                put("$created_at", Scalar::Timestamp(Timestamp::from_millis(NOW_MS - 90_000))),
                put("$created_by", Scalar::Bytes(vec![7; 16])),
                put("name", text("Acme")),
            ],
        );
        scene.write(ReplicaId([4; 12]), &[put("name", text("Acme & Sons"))]);
        scene.write(WRITER, &[put("sector", text("retail")), Edit::add("tags/vip".to_owned())]);
        scene.write(WRITER, &[put("name", text("Acme Ltd"))]);
        scene.splice("notes", "A customer of old");
        scene
    }

    fn take(&mut self, change: Change, encoded: EncodedChange) {
        let past = self.past(&change.deps).expect("it was written on top of what is here");
        let max_op = change.max_op();
        let mut known = past;
        let mut clock = Clock::default();
        clock.extend(change.actor, max_op);
        known.add(max_op, &clock);
        self.index.insert(encoded.hash, (known.max_op, known.clock));
        self.changes.push((change, encoded));
    }

    fn author(&self, replica: ReplicaId) -> Author {
        let time = NOW_MS - 60_000 + 1_000 * self.changes.len() as i64;
        Author { actor: ActorId::of(replica, 0), time: Timestamp::from_millis(time) }
    }

    fn write(&mut self, replica: ReplicaId, edits: &[Edit]) {
        let author = self.author(replica);
        for (change, encoded) in author.write(&mut self.cells, edits) {
            self.take(change, encoded);
        }
    }

    fn splice(&mut self, field: &str, insert: &str) {
        let change = seed(SeedKind::Text, field);
        let encoded = change.encode();
        self.cells.apply(&change, encoded.hash);
        self.take(change, encoded);
        let mut document = self.document();
        self.cells.set_text(field, String::new());
        let splice =
            Splice { field: field.to_owned(), at: 0, delete: 0, insert: insert.to_owned() };
        let author = self.author(WRITER);
        let written = author.write_text(&mut self.cells, &mut document, &[splice]);
        for (change, encoded) in written.expect("a text takes what is spliced into it") {
            self.take(change, encoded);
        }
    }
}
