//! Histories: a few replicas of one record, edited at random, exchanging changes at random.

pub mod random;
pub mod values;

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ActorId, ChangeHash, ReplicaId, Section};
use crdt_core::record::document::{Purpose, is_seeded};
use crdt_core::record::{
    Author, Cells, Change, Clock, DELETED, Deletion, Document, Edit, EncodedChange, Known, Scalar,
    SeedKind, Splice, scalar_for, seed,
};
use crdt_core::schema::{Entity, Field, FieldKind, Schema};
use crdt_core::time::Timestamp;

use random::Random;

/// When histories begin, milliseconds.
pub const BEGIN_MS: i64 = 1_750_000_000_000;

/// One thing that happens. What exactly is drawn from `dice`.
#[derive(Debug, Clone)]
pub struct Step {
    pub who: usize,
    pub what: What,
    pub dice: u64,
}

#[derive(Debug, Clone, Copy)]
pub enum What {
    Edit,
    Prose,
    Delete,
    Restore,
    /// Sends everything to another replica.
    Send,
    /// Sends the earlier half of it.
    SendSome,
}

impl What {
    pub const ALL: [Self; 10] = [
        Self::Edit,
        Self::Edit,
        Self::Edit,
        Self::Edit,
        Self::Prose,
        Self::Delete,
        Self::Restore,
        Self::Send,
        Self::Send,
        Self::SendSome,
    ];
}

/// One copy of the record.
#[derive(Clone)]
pub struct Replica {
    pub actor: ActorId,
    pub cells: Cells,
    pub document: Document,
    /// What it holds, by place in [`History::changes`], in the order in which it came.
    pub held: Vec<usize>,
    clock_error_ms: i64,
}

/// A record, its replicas and everything that was ever written.
#[derive(Clone)]
pub struct History {
    pub entity: &'static Entity,
    pub section: Section,
    pub replicas: Vec<Replica>,
    /// In the order of writing: dependencies come first.
    pub changes: Vec<(Change, EncodedChange)>,
    now_ms: i64,
}

impl History {
    /// A record that the first replica has just created.
    pub fn new(entity: &str, replicas: usize, random: &mut Random) -> Self {
        let entity = Schema::builtin().entity(entity).unwrap();
        let replica = |_| Replica {
            actor: ActorId::of(ReplicaId(random.bytes()), random.below(3) as u32),
            cells: Cells::default(),
            document: Document::load(Purpose::Verify, None, []).unwrap(),
            held: Vec::new(),
            clock_error_ms: random.below(5) as i64 * 1_000,
        };
        let replicas = (0..replicas).map(replica).collect();
        let section = Section::main();
        let mut history = Self { entity, section, replicas, changes: Vec::new(), now_ms: BEGIN_MS };
        let edits = history.creation(random);
        history.write(0, &edits);
        history
    }

    /// A history of `steps` random steps, from one number.
    pub fn of_seed(entity: &str, replicas: usize, steps: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut history = Self::new(entity, replicas, &mut random);
        for _ in 0..steps {
            let what = *random.pick(&What::ALL);
            let step = Step { who: random.below(replicas), what, dice: random.next() };
            history.step(&step);
        }
        history
    }

    /// The server's clock: a little after every edit.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms + 10_000)
    }

    pub fn step(&mut self, step: &Step) {
        let who = step.who % self.replicas.len();
        let random = &mut Random::new(step.dice);
        let deleted = Deletion::of(&self.replicas[who].cells).is_some();
        match step.what {
            What::Send | What::SendSome => self.send(who, step.what, random),
            _ if self.replicas[who].cells.is_empty() => self.send(0, What::Send, random),
            What::Restore if deleted => {
                let mut edits = vec![Edit::Remove { key: DELETED.to_owned() }];
                edits.extend(self.edits(who, random));
                self.write(who, &edits);
            }
            What::Edit | What::Restore if !deleted => {
                let edits = self.edits(who, random);
                self.write(who, &edits);
            }
            What::Prose if !deleted => self.splice(who, random),
            What::Delete => {
                let clock = self.replicas[who].cells.clock().to_bytes();
                let value = Scalar::Bytes(clock);
                self.write(who, &[Edit::Put { key: DELETED.to_owned(), value }]);
            }
            What::Edit | What::Prose | What::Restore => {}
        }
    }

    /// Writes edits as a replica's next changes.
    pub fn write(&mut self, who: usize, edits: &[Edit]) {
        let author = self.author(who);
        let replica = &mut self.replicas[who];
        for (change, encoded) in author.write(&mut replica.cells, edits) {
            replica.document.apply(&encoded).unwrap();
            replica.held.push(self.changes.len());
            self.changes.push((change, encoded));
        }
    }

    /// Splices the text of `field` as a replica's next changes.
    pub fn splice_at(&mut self, who: usize, splice: Splice) {
        self.seed(who, SeedKind::Text, &splice.field);
        let author = self.author(who);
        let replica = &mut self.replicas[who];
        let written =
            author.write_text(&mut replica.cells, &mut replica.document, &[splice]).unwrap();
        for change in written {
            replica.held.push(self.changes.len());
            self.changes.push(change);
        }
    }

    /// Gives a replica the change at a place of [`History::changes`], unless it holds it.
    pub fn receive(&mut self, who: usize, place: usize) {
        let (change, encoded) = &self.changes[place];
        let replica = &mut self.replicas[who];
        if replica.cells.holds(change) {
            return;
        }
        replica.document.apply(encoded).unwrap();
        replica.cells.apply(change, encoded.hash);
        for op in change.ops.iter().filter(|op| op.is_text()) {
            replica.cells.set_text(&op.key, replica.document.text(&op.key).unwrap());
        }
        replica.held.push(place);
    }

    /// Gives everybody everything.
    pub fn exchange_all(&mut self) {
        for who in 0..self.replicas.len() {
            for place in 0..self.changes.len() {
                self.receive(who, place);
            }
        }
    }

    /// The next author of a replica: time moves on a second.
    pub fn author(&mut self, who: usize) -> Author {
        self.now_ms += 1_000;
        let replica = &self.replicas[who];
        let time = Timestamp::from_millis(self.now_ms + replica.clock_error_ms);
        Author { actor: replica.actor, time }
    }

    /// One to four edits of fields of this section; counters get their seeds.
    pub fn edits(&mut self, who: usize, random: &mut Random) -> Vec<Edit> {
        let fields: Vec<&Field> =
            self.entity.fields.iter().filter(|field| field.section == self.section).collect();
        let mut edits = Vec::new();
        for _ in 0..=random.below(4) {
            let field = *random.pick(&fields);
            if field.kind == FieldKind::Counter {
                self.seed(who, SeedKind::Counter, &field.key);
            }
            edits.extend(values::edit_for(field, random));
        }
        edits
    }

    fn creation(&self, random: &mut Random) -> Vec<Edit> {
        let put = |key: &str, value| Edit::Put { key: key.to_owned(), value };
        let mut edits = vec![
            put("$entity", Scalar::Str(self.entity.name.clone())),
            put("$created_at", Scalar::Timestamp(Timestamp::from_millis(self.now_ms))),
            put("$created_by", Scalar::Bytes(vec![7; 16])),
        ];
        for field in self.entity.fields.iter().filter(|field| field.validation.required) {
            let value = values::value_for(field, random);
            edits.push(put(&field.key, scalar_for(field, &value).unwrap()));
        }
        edits
    }

    fn seed(&mut self, who: usize, kind: SeedKind, field: &str) {
        let replica = &self.replicas[who];
        if is_seeded(&replica.cells, kind, field) {
            return;
        }
        let change = seed(kind, field);
        let encoded = change.encode();
        let known = self.changes.iter().position(|(_, known)| known.hash == encoded.hash);
        let place = known.unwrap_or_else(|| {
            self.changes.push((change, encoded));
            self.changes.len() - 1
        });
        self.receive(who, place);
    }

    fn splice(&mut self, who: usize, random: &mut Random) {
        let fields = self.entity.fields.iter().filter(|field| field.section == self.section);
        let texts: Vec<&Field> = fields.filter(|field| field.kind == FieldKind::Text).collect();
        if texts.is_empty() {
            return;
        }
        let field = random.pick(&texts).key.clone();
        let length = self.replicas[who].document.text(&field).unwrap().chars().count();
        let at = random.below(length + 1);
        let delete = random.below(length - at + 1).min(12);
        let insert = values::prose(random);
        self.splice_at(who, Splice { field, at, delete, insert });
    }

    fn send(&mut self, from: usize, how_much: What, random: &mut Random) {
        let to = (from + 1 + random.below(self.replicas.len() - 1)) % self.replicas.len();
        let mut places = self.replicas[from].held.clone();
        if matches!(how_much, What::SendSome) {
            places.truncate(places.len().div_ceil(2));
        }
        for place in places {
            self.receive(to, place);
        }
    }
}

/// The places of `changes` in a random order in which dependencies come first.
pub fn causal_order(changes: &[(Change, EncodedChange)], random: &mut Random) -> Vec<usize> {
    let mut left: Vec<usize> = (0..changes.len()).collect();
    let mut done = BTreeSet::new();
    let mut order = Vec::new();
    while !left.is_empty() {
        random.shuffle(&mut left);
        let ready = |place: &usize| changes[*place].0.deps.iter().all(|dep| done.contains(dep));
        let at = left.iter().position(ready).expect("a change is written after its dependencies");
        let place = left.swap_remove(at);
        done.insert(changes[place].1.hash);
        order.push(place);
    }
    order
}

/// What the server knows of every change: enough to name the causal past of the next.
#[derive(Debug, Clone, Default)]
pub struct Index(BTreeMap<ChangeHash, (u64, Clock)>);

impl Index {
    pub fn insert(&mut self, hash: ChangeHash, max_op: u64, clock: Clock) {
        self.0.insert(hash, (max_op, clock));
    }

    /// Nothing when a dependency is unknown.
    pub fn past(&self, deps: &[ChangeHash]) -> Option<Known> {
        let mut past = Known::default();
        for dep in deps {
            let (max_op, clock) = self.0.get(dep)?;
            past.add(*max_op, clock);
        }
        Some(past)
    }

    pub fn hashes(&self) -> impl Iterator<Item = &ChangeHash> {
        self.0.keys()
    }
}
