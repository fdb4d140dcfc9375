//! Handshakes: who stands where, and whether they may go on from there.

use crdt_core::id::{Lease, MemberId};
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::policy::Subscription;
use crdt_core::protocol::{
    Cursor, Goodbye, GoodbyeCode, Hello, Outcome, Receipt, ScopeCursor, VERSIONS, Welcome,
};
use crdt_core::record::{SeedKind, seed};
use crdt_core::schema::{FieldKind, Schema};
use crdt_core::time::Timestamp;

use super::feed::Known;
use super::recovery::{OutOfLog, Unserved, in_present_log};
use super::relay::recovery_at;
use super::{Feed, Workspace};
use crate::store::access::MemberRow;
use crate::store::erasure::Confirmation;
use crate::store::{self, Read, ReplicaRow, StoreError, Write};

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
    /// Answers a handshake of `member`, whose token was verified: when that ends is for the caller to put
    /// into the welcome. Ends nothing by itself: the caller ends the replica's other session.
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
        let version = self.may_speak(hello)?;
        let (schema, policy) = (self.rules.schema.clone(), self.rules.policy.clone());
        let listed = self.rules.directory.get(&member).cloned();
        let standing = self.rules.directory.standing(member);
        let granted = policy.subscriptions(&standing, &schema);
        let scopes: Vec<String> = granted.iter().map(Subscription::name).collect();
        let limits = self.limits;
        let store = self.store();
        let mut problem = None;
        let greeted = store::write(&*store, |tx| {
            problem = None;
            let admitted = admit(tx, now, new_lease, member, listed.as_ref(), hello)?;
            let Admitted { row, known, hello } = match admitted {
                Ok(admitted) => admitted,
                Err(error) => {
                    problem = Some(error);
                    return Ok(None);
                }
            };
            let log = tx.log()?;
            let feed = Feed::new(&hello, &granted, &known, log.head);
            let row = self.remember(tx, row, &scopes, &feed)?;
            let all = planted(Bug::ReceiptsDropped);
            tx.drop_receipts(&row.id, if all { row.last_receipt } else { hello.receipt })?;
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
                backed_up_to: tx.backup()?.map_or(0, |backup| backup.position),
                head: log.head,
                member,
                member_name: listed.as_ref().map(|row| row.name.clone()).unwrap_or_default(),
                policy_version: policy.version(),
                policy: (hello.policy_version != policy.version())
                    .then(|| policy.text().to_owned()),
                standing: standing.clone(),
                token_expires: now,
                recovery: recovery_at(tx, now)?,
            };
            Ok(Some((welcome, feed)))
        })?;
        match (greeted, problem) {
            (Some((welcome, feed)), _) => {
                Ok(Greeting { welcome, feed: feed.with_stride(self.stride) })
            }
            (None, Some(error)) => {
                if matches!(&error, HelloError::Refused(goodbye) if OutOfLog::is_ahead(goodbye)) {
                    self.note_ahead(now, member, hello)?;
                }
                Err(error)
            }
            (None, None) => Err(refused(GoodbyeCode::Internal, "the handshake was not finished")),
        }
    }

    /// The version that both speak, when the workspace is served and the replica's name is nobody else's.
    fn may_speak(&self, hello: &Hello) -> Result<u32, HelloError> {
        if self.is_halted {
            return Err(HelloError::Refused(Unserved::PutBack.goodbye()));
        }
        let version = common_version(hello)?;
        if hello.replica == self.rules.server {
            return Err(refused(GoodbyeCode::ReplicaTaken, "the replica id is the server's own"));
        }
        if is_seed_prefix(&self.rules.schema, hello.replica.as_bytes()) {
            return Err(refused(GoodbyeCode::Protocol, "the replica id is one that seeds use"));
        }
        Ok(version)
    }

    /// Writes the replica's row with what it is granted and what it may not have dropped yet, and
    /// how far it knows of erasures.
    fn remember(
        &self,
        tx: &mut dyn Write,
        mut row: ReplicaRow,
        granted: &[String],
        feed: &Feed,
    ) -> Result<ReplicaRow, StoreError> {
        for name in granted.iter().filter(|name| !row.previous_scopes.contains(name)) {
            tx.note_granted(&row.member, name)?;
        }
        row.scopes = granted.iter().cloned().chain(feed.losing()).collect();
        tx.put_replica(&row)?;
        if !self.rules.erased.is_empty() {
            let (up_to, at) = (feed.erased_up_to(), row.last_seen);
            tx.confirm_erasures(&Confirmation { replica: row.id, up_to, at })?;
        }
        Ok(row)
    }
}

/// The best version that both speak.
fn common_version(hello: &Hello) -> Result<u32, HelloError> {
    let common = hello.versions.iter().filter(|version| VERSIONS.contains(version)).max();
    common.copied().ok_or_else(|| {
        refused(GoodbyeCode::Version, "no version in common; update the app or the server")
    })
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

/// Who may go on.
struct Admitted {
    /// The replica's row with its new lease.
    row: ReplicaRow,
    /// The subscriptions that the device knows.
    known: Vec<String>,
    /// What it said, in terms of the present log.
    hello: Hello,
}

/// How the replica goes on, or why it may not.
fn admit(
    tx: &dyn Read,
    now: Timestamp,
    new_lease: Lease,
    member: MemberId,
    listed: Option<&MemberRow>,
    hello: &Hello,
) -> Result<Result<Admitted, HelloError>, StoreError> {
    if let Err(text) = plausible(hello) {
        return Ok(Err(refused(GoodbyeCode::Protocol, text)));
    }
    let stored = tx.replica(&hello.replica)?;
    let devices = [Some(hello.device), stored.as_ref().map(|row| row.device)];
    for device in devices.into_iter().flatten() {
        // A copy of the file on other hardware is wiped as well.
        if tx.revoked_at(&device)?.is_some() {
            let text = "this device was revoked; what it holds of the workspace is to be wiped";
            return Ok(Err(refused(GoodbyeCode::DeviceRevoked, text)));
        }
    }
    if let Err((code, text)) = welcome_member(listed) {
        return Ok(Err(refused(code, text)));
    }
    let hello = match in_present_log(tx, hello)? {
        Ok(hello) => hello,
        Err(out) => return Ok(Err(HelloError::Refused(out.goodbye()))),
    };
    let Some(row) = stored else {
        let row = first_row(&hello, member, new_lease, now);
        let known = claimed(tx, member, &hello, Vec::new())?;
        return Ok(Ok(Admitted { row, known, hello }));
    };
    if row.member != member {
        let text = "this database belongs to another member; open one of your own";
        return Ok(Err(refused(GoodbyeCode::ReplicaTaken, text)));
    }
    if let Err((code, text)) = holds_lease(tx, &row, &hello)? {
        return Ok(Err(refused(code, text)));
    }
    // What the device knows came with the lease that it shows. With one that a restored server never gave it
    // knows what it was granted before; what it was granted since, it is sent anew.
    let current = hello.lease == Some(row.lease) || hello.lease != row.previous_lease;
    let known = if current { row.scopes.clone() } else { row.previous_scopes.clone() };
    let row = ReplicaRow {
        lease: new_lease,
        previous_lease: hello.lease,
        scopes: Vec::new(),
        previous_scopes: known.clone(),
        // After a loss of the newest data the device may have seen higher numbers: none comes twice.
        last_receipt: row.last_receipt.max(hello.receipt),
        last_seen: now,
        device: hello.device,
        device_name: hello.device_name.clone(),
        is_met: true,
        ..row
    };
    let known = claimed(tx, member, &hello, known)?;
    Ok(Ok(Admitted { row, known, hello }))
}

/// The row of a replica that was never here.
fn first_row(hello: &Hello, member: MemberId, lease: Lease, now: Timestamp) -> ReplicaRow {
    ReplicaRow {
        id: hello.replica,
        member,
        lease,
        // One that a restored server does not know shows the lease of another log until it has this one.
        previous_lease: hello.lease,
        scopes: Vec::new(),
        previous_scopes: Vec::new(),
        last_receipt: hello.receipt,
        last_seen: now,
        device: hello.device,
        device_name: hello.device_name.clone(),
        is_met: true,
    }
}

/// Whether this is the database file that was connected last, as it was then.
fn holds_lease(
    tx: &dyn Read,
    row: &ReplicaRow,
    hello: &Hello,
) -> Result<Result<(), (GoodbyeCode, &'static str)>, StoreError> {
    if planted(Bug::LeaseIgnored) || planted(Bug::SeqReused) {
        return Ok(Ok(()));
    }
    // A device that never saw its first welcome has no lease yet. Another log's lease tells nothing.
    if row.is_met && hello.lease != Some(row.lease) && hello.lease != row.previous_lease {
        let text = "this database is a copy of one that has been connected since";
        return Ok(Err((GoodbyeCode::LeaseOutdated, text)));
    }
    // Receipts are dropped once they are stored on the device, and what is stored stays: a device that is
    // behind a dropped one was put back to an older state.
    let kept = tx.receipts_after(&row.id, hello.receipt)?.len() as u64;
    if row.last_receipt.saturating_sub(hello.receipt) > kept {
        let text = "this database is older than what it has acknowledged";
        return Ok(Err((GoodbyeCode::LeaseOutdated, text)));
    }
    Ok(Ok(()))
}

/// What the device knows, with what it says that it holds and that its member was granted once. So a copy
/// that counts as a new replica drops what it may not hold; and a device that names scopes which its member
/// never had learns nothing of them.
fn claimed(
    tx: &dyn Read,
    member: MemberId,
    hello: &Hello,
    mut known: Vec<String>,
) -> Result<Vec<String>, StoreError> {
    for ScopeCursor { scope, cursor } in &hello.exceptions {
        let is_known = known.iter().any(|entry| Known::read(entry).name == scope);
        if !is_known && tx.was_granted(&member, scope)? {
            known.push(Known::claimed(scope, *cursor));
        }
    }
    Ok(known)
}

fn welcome_member(listed: Option<&MemberRow>) -> Result<(), (GoodbyeCode, &'static str)> {
    match listed {
        None => Err((
            GoodbyeCode::Unauthorized,
            "the member is not in the workspace; add it with `sync-server member add`",
        )),
        Some(row) if !row.standing.active => {
            Err((GoodbyeCode::MemberDisabled, "the member is switched off"))
        }
        Some(_) => Ok(()),
    }
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
