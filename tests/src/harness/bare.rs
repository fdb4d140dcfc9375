//! A workspace without a network around it: batches are handed to it one at a time, by hands that know the
//! server's own state and write whatever they are told, and pages are read from it as a device reads them.

mod hand;
mod reader;

use std::path::Path;
use std::sync::Arc;

use crdt_core::id::{DocumentId, Epoch, Lease, MemberId, RecordId, Section};
use crdt_core::limits;
use crdt_core::protocol::{Outcome, Page, PeerLimits};
use crdt_core::record::Cells;
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{self, DocumentRow, Store};
use sync_server::workspace::{Feed, Rescoping, Stride, Submitted, Workspace};

pub use hand::{Hand, Part, Writing};
pub use reader::Reader;

use super::time::WORLD_BEGINS_MS;

/// A workspace with its store.
pub struct Bare {
    workspace: Workspace,
    store: Arc<dyn Store>,
    now_ms: i64,
    leases: u64,
}

/// The server's limits for a device.
const PEER: PeerLimits = PeerLimits {
    batches_in_flight: limits::BATCHES_IN_FLIGHT_MAX as u32,
    pages_in_flight: limits::PAGES_IN_FLIGHT_MAX as u32,
};
/// Pages after which a feed counts as endless.
const PAGES_MAX: usize = 10_000;

impl Bare {
    /// A new workspace with the built-in schema and without a policy, in a folder.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn create(folder: &Path, stride: Stride) -> Self {
        let path = folder.join("bare.db");
        SqliteStore::create(&path, Epoch([9; 16]), Schema::builtin().text())
            .expect("an empty folder takes a workspace");
        let store: Arc<dyn Store> = Arc::new(
            SqliteStore::open(&path, SqliteOptions::default()).expect("the new file opens"),
        );
        let workspace =
            Workspace::open(Arc::clone(&store), PEER).expect("the workspace can be opened");
        let workspace = workspace.with_stride(stride);
        Self { workspace, store, now_ms: WORLD_BEGINS_MS, leases: 0 }
    }

    /// Adds a member without a record.
    ///
    /// # Panics
    /// When the storage fails.
    pub fn add_member(&mut self, member: MemberId) {
        self.workspace.put_member(&member, "Somebody").expect("a member can be added");
    }

    /// Puts a policy in force, and everything into its scopes.
    ///
    /// # Panics
    /// When it is not a policy, or the storage fails.
    pub fn put_policy(&mut self, text: &str) {
        let now = self.tick();
        if let Err(problem) = self.workspace.set_policy(now, text, "policy.toml") {
            panic!("the policy is refused: {problem}\n{text}");
        }
        self.settle();
    }

    /// A hand of a member's: its replica is known to the server from now on.
    ///
    /// # Panics
    /// When the server does not greet it.
    pub fn hand(&mut self, member: MemberId, number: u8) -> Hand {
        let hand = Hand::new(member, number);
        let mut reader = Reader::new(member, hand.replica());
        self.connect(&mut reader).expect("the server greets whom it knows");
        hand
    }

    /// Says hello for a reader; nothing when the server does not want it.
    pub fn connect(&mut self, reader: &mut Reader) -> Option<Feed> {
        let now = self.tick();
        self.leases += 1;
        let mut lease = [0; 16];
        lease[..8].copy_from_slice(&self.leases.to_be_bytes());
        let hello = reader.hello(self.workspace.schema().version());
        let greeting = self.workspace.hello(now, Lease(lease), reader.member, &hello).ok()?;
        reader.welcomed(&greeting.welcome);
        Some(greeting.feed)
    }

    /// Connects a reader and lets it read all; `look` sees every page.
    ///
    /// # Panics
    /// When the storage fails or pages never end.
    pub fn read_all(&mut self, reader: &mut Reader, mut look: impl FnMut(&Page)) -> bool {
        let Some(mut feed) = self.connect(reader) else { return false };
        for _ in 0..PAGES_MAX {
            let page = store::read(&*self.store, |tx| feed.next_page(tx, true));
            let Some(page) = page.expect("pages can be built") else { return true };
            look(&page);
            reader.take(&page);
        }
        panic!("the pages never end");
    }

    /// Hands in a batch that writes these parts; gives the answer.
    ///
    /// # Panics
    /// When the storage fails.
    pub fn push(&mut self, hand: &mut Hand, parts: &[Part]) -> Outcome {
        let now = self.tick();
        let documents: Vec<_> = parts
            .iter()
            .map(|part| {
                let row = self.row(&part.id());
                hand.write(now, part, row.as_ref())
            })
            .collect();
        let batch = hand.batch(self.workspace.schema().version(), documents);
        let submitted = Submitted { replica: hand.replica(), member: hand.member, batch };
        let mut committed =
            self.workspace.commit(now, &[submitted]).expect("the storage takes the batch");
        let (_, receipt) = committed.receipts.pop().expect("a batch is answered");
        // Stored: what comes later is not taken for something that builds on it.
        self.workspace
            .acknowledge(&hand.replica(), receipt.number)
            .expect("the storage takes an acknowledgement");
        receipt.outcome
    }

    /// Finds the scopes of everything that waits for it.
    ///
    /// # Panics
    /// When the storage fails or the work never ends.
    pub fn settle(&mut self) {
        for _ in 0..PAGES_MAX {
            let now = self.tick();
            let step = self.workspace.rescope_step(now).expect("scopes can be found again");
            if step == Rescoping::Idle {
                return;
            }
        }
        panic!("the queue of records never empties");
    }

    /// What the server has of a document.
    ///
    /// # Panics
    /// When the storage fails.
    #[must_use]
    pub fn row(&self, id: &DocumentId) -> Option<DocumentRow> {
        store::read(&*self.store, |tx| tx.find_document(id)).expect("the server can be read")
    }

    /// What a document says.
    ///
    /// # Panics
    /// When the storage fails.
    #[must_use]
    pub fn cells(&self, record: RecordId, section: &Section) -> Option<Cells> {
        let row = self.row(&DocumentId { record, section: section.clone() })?;
        Some(Cells::from_stored(&row.cells).expect("stored cells can be read"))
    }

    /// Every document of the server's.
    ///
    /// # Panics
    /// When the storage fails.
    #[must_use]
    pub fn documents(&self) -> Vec<DocumentRow> {
        let rows = store::read(&*self.store, |tx| {
            let mut rows = Vec::new();
            let mut last = 0;
            while let Some(number) = tx.document_after(last)? {
                rows.extend(tx.document(number)?);
                last = number;
            }
            Ok(rows)
        });
        rows.expect("the server can be read")
    }

    /// The server's clock goes on by a second.
    fn tick(&mut self) -> Timestamp {
        self.now_ms += 1_000;
        Timestamp::from_millis(self.now_ms)
    }
}
