//! Handshakes: who stands where, and whether they may go on from there.

use crdt_core::id::{Lease, MemberId};
use crdt_core::limits;
use crdt_core::protocol::{
    Cursor, Goodbye, GoodbyeCode, Hello, Outcome, Receipt, VERSIONS, Welcome,
};
use crdt_core::record::{SeedKind, seed};
use crdt_core::schema::{FieldKind, Schema};
use crdt_core::time::Timestamp;

use super::{Feed, Workspace};
use crate::store::{self, Read, ReplicaRow, StoreError};

/// What a good handshake gives.
#[derive(Debug)]
pub struct Greeting {
    /// The answer to send.
    pub welcome: Welcome,
    /// Where to feed the device from.
    pub feed: Feed,
}

/// A handshake fails.
#[derive(Debug)]
pub enum HelloError {
    /// The device is told why; its data is as it was.
    Refused(Goodbye),
    /// The storage fails.
    Store(StoreError),
}

impl From<StoreError> for HelloError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn refused(code: GoodbyeCode, text: &str) -> HelloError {
    HelloError::Refused(Goodbye { code, text: text.to_owned(), retry_after_ms: None })
}

impl Workspace {
    /// Answers a handshake of `member`, whose token was verified. Ends nothing by itself: the caller has
    /// ended the replica's other session before.
    ///
    /// # Errors
    /// A goodbye for the device, or the storage's fault.
    pub fn hello(
        &mut self,
        now: Timestamp,
        new_lease: Lease,
        member: MemberId,
        hello: &Hello,
    ) -> Result<Greeting, HelloError> {
        let common = hello.versions.iter().filter(|version| VERSIONS.contains(version)).max();
        let version = *common.ok_or_else(|| {
            refused(GoodbyeCode::Version, "no version in common; update the app or the server")
        })?;
        if is_seed_prefix(&self.schema, hello.replica.as_bytes()) {
            return Err(refused(GoodbyeCode::Protocol, "the replica id is one that seeds use"));
        }
        let schema = self.schema.clone();
        let sections = sections(&schema);
        let scopes = self.access.scopes_of_member(&member, &sections);
        let limits = self.limits;
        let store = self.store();
        let mut problem = None;
        let greeted = store::write(&*store, |tx| {
            problem = None;
            let row = match admit(tx, now, new_lease, member, hello, &scopes)? {
                Ok(row) => row,
                Err(error) => {
                    problem = Some(error);
                    return Ok(None);
                }
            };
            let log = tx.log()?;
            tx.put_replica(&row)?;
            tx.drop_receipts(&row.id, hello.receipt)?;
            let welcome = Welcome {
                version,
                epoch: log.epoch,
                lineage: log.lineage,
                lease: row.lease,
                receipts: within_a_frame(tx.receipts_after(&row.id, hello.receipt)?),
                scopes: scopes.clone(),
                limits,
                server_time: now,
                schema: (hello.schema_version != schema.version())
                    .then(|| schema.text().to_owned()),
                backed_up_to: 0,
                head: log.head,
                member,
                member_name: tx.member(&member)?.unwrap_or_default(),
                policy_version: 0,
            };
            Ok(Some((welcome, row.previous_scopes)))
        })?;
        match (greeted, problem) {
            (Some((welcome, known)), _) => {
                let feed = Feed::new(hello, &welcome.scopes, &known, welcome.head);
                let feed = feed.with_stride(self.stride);
                Ok(Greeting { welcome, feed })
            }
            (None, Some(error)) => Err(error),
            (None, None) => Err(refused(GoodbyeCode::Internal, "the handshake was not finished")),
        }
    }
}

/// Receipts as they fit into one frame with the welcome: beyond that, they leave the documents' numbers out.
/// A device without the number names the document in full.
fn within_a_frame(mut receipts: Vec<Receipt>) -> Vec<Receipt> {
    let mut bytes = 0;
    for receipt in &mut receipts {
        bytes += receipt.to_stored().len();
        if bytes <= limits::WELCOME_RECEIPT_BYTES {
            continue;
        }
        match &mut receipt.outcome {
            Outcome::Accepted { documents, .. } | Outcome::Already { documents, .. } => {
                documents.clear();
            }
            Outcome::Refused { .. } => {}
        }
    }
    receipts
}

/// The replica's row with its new lease, or why it may not go on.
fn admit(
    tx: &dyn Read,
    now: Timestamp,
    new_lease: Lease,
    member: MemberId,
    hello: &Hello,
    scopes: &[String],
) -> Result<Result<ReplicaRow, HelloError>, StoreError> {
    if let Err(text) = plausible(hello) {
        return Ok(Err(refused(GoodbyeCode::Protocol, text)));
    }
    if tx.member(&member)?.is_none() {
        let text = "the member is not in the workspace; add it with `sync-server member add`";
        return Ok(Err(refused(GoodbyeCode::Unauthorized, text)));
    }
    let log = tx.log()?;
    if hello.epoch.is_some_and(|epoch| epoch != log.epoch) {
        let text = "the device knows another log; it must compare everything";
        return Ok(Err(refused(GoodbyeCode::UnknownEpoch, text)));
    }
    let ahead = hello.exceptions.iter().map(|exception| exception.cursor);
    if ahead.chain([hello.cursor]).any(|cursor| cursor.position > log.head) {
        let text = "the device is ahead of the log: was the server put back to an older state?";
        return Ok(Err(refused(GoodbyeCode::CursorAhead, text)));
    }
    let Some(row) = tx.replica(&hello.replica)? else {
        return Ok(Ok(ReplicaRow {
            id: hello.replica,
            member,
            lease: new_lease,
            previous_lease: None,
            scopes: scopes.to_vec(),
            previous_scopes: Vec::new(),
            last_receipt: hello.receipt,
            last_seen: now,
        }));
    };
    if row.member != member {
        let text = "this database belongs to another member; open one of your own";
        return Ok(Err(refused(GoodbyeCode::ReplicaTaken, text)));
    }
    let current = hello.lease == Some(row.lease);
    // A device that never saw its first welcome has no lease yet.
    let previous = hello.lease == row.previous_lease;
    if !current && !previous {
        let text = "this database is a copy of one that has been connected since";
        return Ok(Err(refused(GoodbyeCode::LeaseOutdated, text)));
    }
    // Receipts are dropped once they are stored on the device, and what is stored stays: a device that is
    // behind a dropped one was put back to an older state.
    let kept = tx.receipts_after(&row.id, hello.receipt)?.len() as u64;
    if row.last_receipt.saturating_sub(hello.receipt) > kept {
        let text = "this database is older than what it has acknowledged";
        return Ok(Err(refused(GoodbyeCode::LeaseOutdated, text)));
    }
    // What the device knows came with the lease that it shows.
    let known = if current { row.scopes } else { row.previous_scopes };
    Ok(Ok(ReplicaRow {
        lease: new_lease,
        previous_lease: hello.lease,
        scopes: scopes.to_vec(),
        previous_scopes: known,
        // After a loss of the newest data the device may have seen higher numbers: none comes twice.
        last_receipt: row.last_receipt.max(hello.receipt),
        last_seen: now,
        ..row
    }))
}

/// Whether an honest device could say this.
fn plausible(hello: &Hello) -> Result<(), &'static str> {
    let exceptions = hello.exceptions.iter().map(|exception| exception.cursor);
    let began_later = |cursor: Cursor| cursor.from.is_some_and(|from| from > cursor.position);
    if exceptions.chain([hello.cursor]).any(began_later) {
        return Err("a cursor that began beyond where it stands");
    }
    if hello.receipt > limits::RECEIPT_NUMBER_MAX {
        return Err("a receipt number that was never given");
    }
    Ok(())
}

fn sections(schema: &Schema) -> Vec<String> {
    let mut sections: Vec<String> = schema
        .entities()
        .flat_map(|entity| entity.sections())
        .map(|section| section.as_str().to_owned())
        .collect();
    sections.sort_unstable();
    sections.dedup();
    sections
}

/// Whether a replica id is the beginning of a seed's actor: its changes could stand in the place of seeds.
fn is_seed_prefix(schema: &Schema, replica: &[u8]) -> bool {
    schema.entities().flat_map(|entity| &entity.fields).any(|field| {
        let kind = match field.kind {
            FieldKind::Counter => SeedKind::Counter,
            FieldKind::Text => SeedKind::Text,
            _ => return false,
        };
        seed(kind, &field.key).actor.0.starts_with(replica)
    })
}
