//! What the sync loop asks of the store: to say hello, to send, and to store what comes back. Each call is
//! one transaction and never waits for a network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{BatchId, ReplicaId};
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{
    Batch, Compare, Hello, Lacking, Page, Receipt, Recovery, Relay, ScopeCursor, VERSIONS, Welcome,
};
use crdt_core::schema::Schema;

use super::maintenance::{Occasion, Unless};
use super::{Access, Client};
use crate::error::StoreError;
use crate::store::incoming::{self, PageApplied, purge};
use crate::store::meta::{Grant, Measured};
use crate::store::projection::tables;
use crate::store::receipts::{self, ReceiptsApplied};
use crate::store::relay::{self, RelayStep};
use crate::store::restamp::{self, Moment};
use crate::store::scope::Named;
use crate::store::{Author, Durability, Session, lock, meta, outbox, recovery, scope};

/// What became of a welcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WelcomeApplied {
    /// What became of its receipts.
    pub receipts: ReceiptsApplied,
    /// Batches that were stamped again because the device's clock was wrong.
    pub restamped: usize,
    /// Batches that are sent again because the server lost them.
    pub again: usize,
    /// Whether a new schema was taken.
    pub schema_changed: bool,
    /// Documents that are still to be fetched whole, beside those that the receipts name.
    pub fetch: Vec<u64>,
}

impl Client {
    /// What to say first.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[doc(hidden)]
    pub fn hello(&self, token: String) -> Result<Hello, StoreError> {
        let state = self.inner.store.state();
        // A replica that never had a lease is new to the server, also when it was another one's copy.
        let is_known = state.meta.lease.is_some();
        let named = if is_known { Named::Exceptions } else { Named::All };
        let (cursor, exceptions) = self.read(|connection| scope::cursors(connection, named))?;
        let grant = self.read(|connection| Grant::read(connection, state.meta.member))?;
        let held = grant.policy.map(|(version, _)| version);
        let device = match self.inner.config.device {
            Some(device) => device,
            None => self.read(meta::device)?.ok_or(StoreError::Malformed("device"))?,
        };
        Ok(Hello {
            versions: VERSIONS.to_vec(),
            token,
            replica: state.meta.replica,
            lease: state.meta.lease,
            epoch: state.meta.epoch,
            receipt: state.meta.receipt,
            schema_version: state.schema.version(),
            cursor,
            exceptions,
            client: concat!("fieldbook-sdk/", env!("CARGO_PKG_VERSION")).to_owned(),
            policy_version: held.unwrap_or(0),
            device,
            device_name: self.inner.config.device_name.clone(),
            left: state.meta.left,
            short_receipts: true,
        })
    }

    /// Stores the server's answer to hello; `round_trip_ms` is how long it took.
    ///
    /// # Errors
    /// When the store cannot write, the schema cannot be used, or the server takes the user for somebody
    /// else; nothing is stored then.
    #[doc(hidden)]
    pub fn apply_welcome(
        &self,
        welcome: &Welcome,
        round_trip_ms: u64,
    ) -> Result<WelcomeApplied, StoreError> {
        let clock = &self.inner.config.clock;
        let delay = i64::try_from(round_trip_ms / 2).unwrap_or(0);
        let server = welcome.server_time.plus_millis(delay);
        let moment = Moment { server, monotonic_ms: clock.monotonic_ms(), boot: clock.boot() };
        let measured = Measured { offset: server.since(clock.wall()), at: server };
        let (applied, access) = self.write(Durability::Full, |session| {
            if welcome.member != session.state.meta.member {
                return Err(StoreError::NotYours { what: "member" });
            }
            if receipts::tell_of_unknown(session, &welcome.receipts)? {
                return Err(StoreError::PutBack);
            }
            let again = recovery::adopt_epoch(session, welcome)?;
            relay::welcome(session, welcome.recovery)?;
            let mut applied =
                WelcomeApplied { again: again.unwrap_or(0), ..WelcomeApplied::default() };
            adopt_member(session, welcome)?;
            applied.schema_changed = adopt_schema(session, welcome)?;
            if scope::adopt(&session.tx, &welcome.scopes)? {
                session.changes.table("scope");
            }
            if again.is_some() && welcome.recovery != Recovery::Unknown {
                relay::compare_lost(session)?;
            }
            adopt_grant(session, welcome)?;
            session.state.meta.lease = Some(welcome.lease);
            session.state.meta.policy_version = welcome.policy_version;
            session.state.meta.backed_up_to = welcome.backed_up_to;
            applied.receipts = purge::watch(session, |session| {
                receipts::apply(session, &welcome.receipts, &BTreeSet::new(), server)
            })?;
            let before = session.state.meta.clock.replace(measured);
            applied.restamped = restamp::correct(session, &moment, measured, before)?;
            let limit = crdt_core::limits::PAGE_ENTRIES_MAX;
            applied.fetch = incoming::to_fetch(&session.tx, limit)?;
            applied.fetch.retain(|number| !applied.receipts.fetch.contains(number));
            // Once this is stored nothing may fail any more.
            Ok((applied, Access::read(&session.tx, &session.state)?))
        })?;
        self.inner.contact.hear(server, moment.monotonic_ms, moment.boot);
        self.purge_erased(&welcome.receipts);
        self.adopt_access(access);
        Ok(applied)
    }

    /// Stores answers to batches while no other batch is under way.
    ///
    /// # Errors
    /// When the store cannot write; nothing is stored then.
    #[doc(hidden)]
    pub fn apply_receipts(&self, receipts: &[Receipt]) -> Result<ReceiptsApplied, StoreError> {
        self.apply_receipts_while(receipts, &BTreeSet::new())
    }

    /// Stores answers to batches while the batches `in_flight` are under way: what was refused is brought to
    /// an end once nothing that builds on it is among them.
    ///
    /// # Errors
    /// When the store cannot write; nothing is stored then.
    #[doc(hidden)]
    pub fn apply_receipts_while(
        &self,
        receipts: &[Receipt],
        in_flight: &BTreeSet<BatchId>,
    ) -> Result<ReceiptsApplied, StoreError> {
        let wall = self.inner.config.clock.wall();
        let applied = self.write(Durability::Full, |session| {
            let now = wall.plus_millis(session.state.meta.offset());
            purge::watch(session, |session| receipts::apply(session, receipts, in_flight, now))
        })?;
        self.purge_erased(receipts);
        Ok(applied)
    }

    /// Removes from the file what is left of records that answers to batches say were erased.
    fn purge_erased(&self, receipts: &[Receipt]) {
        if receipts.iter().any(|receipt| !receipt.erased.is_empty()) {
            // The receipts are stored; what cannot be removed now is due until it is.
            let _due = self.purge(Occasion::Page);
        }
    }

    /// Stores a page with its cursors. When it is the last one for now, what left the device with it or
    /// before is then removed from the file without a trace.
    ///
    /// # Errors
    /// When the store cannot write; nothing is stored then, and the page comes again.
    #[doc(hidden)]
    pub fn apply_page(&self, page: &Page) -> Result<PageApplied, StoreError> {
        self.take_page(page.clone())
    }

    /// As [`apply_page`](Self::apply_page), with a page that nobody needs any more.
    pub(crate) fn take_page(&self, page: Page) -> Result<PageApplied, StoreError> {
        if planted(Bug::CursorFirst) {
            self.write(Durability::Full, |session| scope::advance(&session.tx, &page.cursors))?;
        }
        let whole = |at: &ScopeCursor| at.cursor.from.is_none() && at.cursor.position >= page.head;
        let is_last = !page.dropped.is_empty() || page.cursors.iter().all(whole);
        let applied = self.write(Durability::Normal, |session| incoming::apply(session, page))?;
        // The page is stored; what cannot be built now is due until it is.
        let _due = self.end_loading(Unless::CatchingUp);
        if is_last {
            // The page is stored; what cannot be removed now is due until it is.
            let _due = self.purge(Occasion::Page);
        }
        Ok(applied)
    }

    /// Batches to send after the one with number `after`: at most so many, and so many bytes unless the
    /// first alone is larger.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[doc(hidden)]
    pub fn outbox(
        &self,
        after: u64,
        batches_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Batch>, StoreError> {
        let state = self.inner.store.state();
        let batches = self.read(|connection| {
            outbox::to_send(connection, &state, after, batches_max, bytes_max)
        })?;
        if planted(Bug::OutboxClearedOnSend) {
            self.write(Durability::Full, |session| {
                let numbers = batches.iter().map(|batch| batch.number.cast_signed());
                numbers.into_iter().try_for_each(|number| outbox::remove(session, number))
            })?;
        }
        Ok(batches)
    }

    /// Makes the file a replica of its own, after the server said that it is a copy: new actors, the same
    /// batches under their names.
    ///
    /// # Errors
    /// When the store cannot write.
    #[doc(hidden)]
    pub fn become_new_replica(&self) -> Result<(), StoreError> {
        let mut bytes = [0; 12];
        lock(&self.inner.config.entropy).fill(&mut bytes);
        if planted(Bug::CopyKeepsName) {
            bytes = self.inner.store.state().meta.replica.0;
        }
        self.write(Durability::Full, |session| {
            let old = session.state.meta.replica;
            let author = session.state.authors.get(&old).cloned();
            let name = author.map_or_else(String::new, |author| author.name);
            let author = Author { member: session.state.meta.member, name };
            session.state.meta.replica = ReplicaId(bytes);
            session.state.meta.incarnation = 0;
            session.state.meta.lease = None;
            session.state.meta.receipt = 0;
            outbox::store_author(&session.tx, ReplicaId(bytes), &author)?;
            relay::disown(session)?;
            Arc::make_mut(&mut session.state.authors).insert(ReplicaId(bytes), author);
            restamp::write_again(session, &BTreeMap::new())
        })
    }

    /// What is to be given back, or asked, since the server was restored, while the batches `in_flight` are
    /// under way.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    #[doc(hidden)]
    pub fn next_relay(&self, in_flight: &BTreeSet<BatchId>) -> Result<RelayStep, StoreError> {
        if !self.read(relay::is_any)? {
            return Ok(RelayStep::Done);
        }
        self.write(Durability::Full, |session| relay::next(session, in_flight))
    }

    /// Stores what the server lacks; gives what is to be given back.
    ///
    /// # Errors
    /// When the store cannot write; nothing is stored then.
    #[doc(hidden)]
    pub fn apply_lacking(
        &self,
        compare: &Compare,
        lacking: &Lacking,
    ) -> Result<Vec<Relay>, StoreError> {
        self.write(Durability::Full, |session| relay::lacking(session, compare, lacking))
    }

    /// Notes that what was gathered for these documents was given back.
    ///
    /// # Errors
    /// When the store cannot write; nothing is stored then, and it is given back again.
    #[doc(hidden)]
    pub fn apply_relayed(&self, compare: &Compare) -> Result<(), StoreError> {
        self.write(Durability::Full, |session| relay::given(session, compare))
    }

    /// A note that sync keeps about itself.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[doc(hidden)]
    pub fn status_row(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|connection| meta::text(connection, &format!("status.{key}")))
    }

    /// Keeps a note that sync makes about itself; `None` forgets it.
    ///
    /// # Errors
    /// When the store cannot write.
    #[doc(hidden)]
    pub fn set_status_row(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        self.write(Durability::Normal, |session| {
            meta::put(&session.tx, &format!("status.{key}"), &value)
        })
    }

    /// Documents that could not be applied, not even as a whole.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[doc(hidden)]
    pub fn broken_count(&self) -> Result<u64, StoreError> {
        self.read(incoming::broken)
    }
}

fn adopt_member(session: &mut Session<'_>, welcome: &Welcome) -> Result<(), StoreError> {
    let replica = session.state.meta.replica;
    let author = Author { member: welcome.member, name: welcome.member_name.clone() };
    if session.state.authors.get(&replica) != Some(&author) {
        outbox::store_author(&session.tx, replica, &author)?;
        Arc::make_mut(&mut session.state.authors).insert(replica, author);
    }
    Ok(())
}

/// Takes what the server grants: the policy, and what the directory says of the member. A policy that is in
/// force and did not come is asked for at the next hello.
fn adopt_grant(session: &mut Session<'_>, welcome: &Welcome) -> Result<(), StoreError> {
    let before = Grant::read(&session.tx, welcome.member)?;
    let sent = welcome.policy.clone().map(|text| (welcome.policy_version, text));
    let kept = before.policy.filter(|(version, _)| *version == welcome.policy_version);
    let grant = Grant {
        policy: sent.or(kept),
        standing: Some(welcome.standing.clone()),
        token_expires: Some(welcome.token_expires),
    };
    grant.write(&session.tx)
}

/// Takes the server's schema: tables are altered in place, and documents that did not fit get another try.
fn adopt_schema(session: &mut Session<'_>, welcome: &Welcome) -> Result<bool, StoreError> {
    let Some(text) = &welcome.schema else { return Ok(false) };
    let schema = Schema::parse(text, "the server's schema")?;
    meta::put(&session.tx, "schema", text)?;
    session.state.take_schema(schema);
    tables::ensure(&session.tx, &session.state, &mut session.changes)?;
    incoming::try_broken_again(&session.tx)?;
    Ok(true)
}
