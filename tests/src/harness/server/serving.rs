//! Serving connections: what threads and sockets do around a session, one event at a time.

use std::collections::BTreeMap;

use crdt_core::id::{Lease, MemberId, ReplicaId};
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{
    Batch, Compare, EraseRecord, Goodbye, GoodbyeCode, Hello, Outcome, Receipt, Relay,
};
use crdt_core::time::Timestamp;
use rand::RngCore as _;
use sync_server::session::{BuiltPage, Effect, Greeted, Input, Renewed, Session};
use sync_server::store::{self, StoreError};
use sync_server::workspace::{Feed, HelloError, Recent, RelayedBy, Slice, Submitted};

use super::{Act, BOUNDS, Build, CrashPoint, Moment, Seat, Served, SimServer};
use crate::harness::network::{Packet, Wire};
use crate::harness::time::WORLD_BEGINS_MS;

/// The simulation's tokens last longer than it unless they say when they end.
const TOKENS_EXPIRE_MS: i64 = 4_000_000_000_000;

/// A token of the simulation: a member, and when it ends, if it does. Who may connect is not its subject.
struct Token {
    member: MemberId,
    ends_at: Option<u64>,
}

impl Token {
    fn read(text: &str, now: u64) -> Result<Self, Goodbye> {
        let bad = || goodbye(GoodbyeCode::Unauthorized, "not a token of the simulation");
        let (member, ends_at) = match text.split_once(' ') {
            Some((member, ends_at)) => (member, Some(ends_at.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        if ends_at.is_some_and(|ends_at| ends_at <= now) {
            return Err(goodbye(GoodbyeCode::TokenExpired, "the token has expired"));
        }
        Ok(Self { member: member.parse().map_err(|_| bad())?, ends_at })
    }

    fn renewed(&self) -> Renewed {
        let Some(expires_at) = self.ends_at else {
            let expires = Timestamp::from_millis(TOKENS_EXPIRE_MS);
            return Renewed { expires, expires_at: u64::MAX };
        };
        let expires = Timestamp::from_millis(WORLD_BEGINS_MS + expires_at.cast_signed());
        Renewed { expires, expires_at }
    }
}

impl SimServer {
    pub(in crate::harness) fn accept(&mut self, wire: Wire, now: u64) {
        if let Some(running) = &mut self.running {
            let session = Session::new(BOUNDS, now);
            running.served.insert(wire, Served { session, seat: None, build: None, built: None });
        }
    }

    pub(in crate::harness) fn take(&mut self, at: Moment, wire: Wire, packet: Packet) -> Vec<Act> {
        let input = match packet {
            Packet::Frame(frame) => Input::Frame(frame),
            Packet::Text => Input::Text,
            Packet::Ping => Input::Heard,
            Packet::Close => {
                self.leave(wire);
                return Vec::new();
            }
        };
        self.feed(at, wire, input)
    }

    pub(in crate::harness) fn tick(&mut self, at: Moment, wire: Wire) -> Option<Vec<Act>> {
        let running = self.running.as_mut()?;
        if !running.served.contains_key(&wire) {
            return None;
        }
        // One thread folds for all sessions.
        if running.served.keys().next() == Some(&wire) {
            running.fold();
            running.scrub(at.wall);
        }
        let mut acts = self.catch_up_commit(at);
        acts.extend(self.feed(at, wire, Input::Tick));
        Some(acts)
    }

    /// Whether a connection is served.
    pub(in crate::harness) fn serves(&self, wire: Wire) -> bool {
        self.running.as_ref().is_some_and(|running| running.served.contains_key(&wire))
    }

    pub(in crate::harness) fn build(&mut self, at: Moment, wire: Wire) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let Some(served) = running.served.get_mut(&wire) else { return Vec::new() };
        if let Some(built) = served.built.take() {
            return self.feed(at, wire, built);
        }
        let (Some(seat), Some(build)) = (&mut served.seat, served.build.take()) else {
            return Vec::new();
        };
        let recent = running.workspace.recent();
        let page = store::read(&*running.workspace.store(), |tx| match &build {
            Build::Page { flush } => next_page(&mut seat.feed, tx, &recent, *flush),
            Build::Whole(documents) => {
                seat.feed.want(documents);
                next_page(&mut seat.feed, tx, &recent, false)
            }
        });
        let input = match page {
            Ok(page) => Input::PageBuilt(page),
            Err(_) => Input::End(goodbye(GoodbyeCode::Internal, "a page could not be built")),
        };
        if self.builds_slowly {
            served.built = Some(input);
            return vec![Act::BuildSoon(wire)];
        }
        self.feed(at, wire, input)
    }

    /// Runs an input through a session and carries its effects out, what follows from one before the next.
    fn feed(&mut self, at: Moment, wire: Wire, input: Input) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(running) = &mut self.running else { return acts };
            let Some(served) = running.served.get_mut(&wire) else { return acts };
            for effect in served.session.handle(at.now, input) {
                inputs.extend(self.carry_out(at, wire, effect, &mut acts));
            }
        }
        acts
    }

    fn carry_out(
        &mut self,
        at: Moment,
        wire: Wire,
        effect: Effect,
        acts: &mut Vec<Act>,
    ) -> Option<Input> {
        match effect {
            Effect::Greet(hello) => {
                return Some(Input::Greeted(self.greet(at, wire, &hello, acts)));
            }
            Effect::VerifyToken(token) => {
                let verified = Token::read(&token, at.now);
                let renewed = verified.map(|token| token.renewed());
                return Some(Input::TokenVerified(renewed));
            }
            Effect::Submit(batches) => self.submit(wire, batches, acts),
            Effect::Compare(compare) => return self.compare(wire, &compare),
            Effect::Relay(relay) => return self.relay(at, wire, relay, acts),
            Effect::Acknowledge(receipt) => self.acknowledge(at, wire, receipt, acts),
            Effect::ConfirmErasures(up_to) => self.confirm(at, wire, up_to),
            Effect::Erase(asked) => return self.erase(at, wire, asked, acts),
            Effect::BuildPage { flush } => self.build_soon(wire, Build::Page { flush }, acts),
            Effect::BuildWhole(numbers) => self.build_soon(wire, Build::Whole(numbers), acts),
            Effect::Send(frame) => acts.push(Act::Send(wire, frame)),
            Effect::Close(_) => {
                acts.push(Act::Close(wire));
                self.leave(wire);
            }
        }
        None
    }

    fn build_soon(&mut self, wire: Wire, build: Build, acts: &mut Vec<Act>) {
        let running = self.running.as_mut();
        if let Some(served) = running.and_then(|running| running.served.get_mut(&wire)) {
            served.build = Some(build);
            acts.push(Act::BuildSoon(wire));
        }
    }

    fn greet(
        &mut self,
        at: Moment,
        wire: Wire,
        hello: &Hello,
        acts: &mut Vec<Act>,
    ) -> Result<Greeted, Goodbye> {
        let token = Token::read(&hello.token, at.now)?;
        let member = token.member;
        acts.extend(self.commit(at));
        let mut lease = [0; 16];
        self.leases.fill_bytes(&mut lease);
        let stopped = || goodbye(GoodbyeCode::Restart, "the workspace is stopping");
        let running = self.running.as_mut().ok_or_else(stopped)?;
        if !running.is_recovered() {
            return Err(storage_failed());
        }
        let greeting = running.workspace.hello(at.wall, Lease(lease), member, hello);
        acts.extend(self.settle_access(at));
        let greeting = match greeting {
            Ok(greeting) => greeting,
            Err(HelloError::Refused(goodbye)) => return Err(goodbye),
            Err(HelloError::Store(error)) => {
                acts.extend(self.failed(at, &error));
                return Err(storage_goodbye(&error));
            }
        };
        if !planted(Bug::FencingSkipped) {
            let superseded = goodbye(GoodbyeCode::Superseded, "another session took over");
            acts.extend(self.end(at, &hello.replica, superseded));
        }
        let running = self.running.as_mut().ok_or_else(stopped)?;
        running.kept_back.retain(|(replica, _)| *replica != hello.replica);
        running.seats.insert(hello.replica, wire);
        if let Some(served) = running.served.get_mut(&wire) {
            served.seat = Some(Seat { replica: hello.replica, member, feed: greeting.feed });
        }
        let mut welcome = Box::new(greeting.welcome);
        let Renewed { expires, expires_at } = token.renewed();
        welcome.token_expires = expires;
        Ok(Greeted { welcome, expires_at })
    }

    fn submit(&mut self, wire: Wire, batches: Vec<Batch>, acts: &mut Vec<Act>) {
        let Some(running) = &mut self.running else { return };
        let Some((replica, member)) = running.current(wire) else { return };
        if running.group.is_empty() {
            acts.push(Act::CommitSoon);
        }
        let submitted = batches.into_iter().map(|batch| Submitted { replica, member, batch });
        running.group.extend(submitted);
    }

    fn compare(&self, wire: Wire, compare: &Compare) -> Option<Input> {
        let running = self.running.as_ref()?;
        let seat = running.served.get(&wire)?.seat.as_ref()?;
        let comparison = seat.feed.comparison();
        let lacking = store::read(&*running.workspace.store(), |tx| comparison.answer(tx, compare));
        Some(Input::Compared(lacking.expect("the server's storage can be read")))
    }

    fn relay(
        &mut self,
        at: Moment,
        wire: Wire,
        relay: Relay,
        acts: &mut Vec<Act>,
    ) -> Option<Input> {
        // It comes after what was handed in before it.
        acts.extend(self.commit(at));
        let running = self.running.as_mut()?;
        let (replica, member) = running.current(wire)?;
        let by = RelayedBy { replica, member, relay };
        let (relayed, committed) = match running.workspace.relay(at.wall, &by) {
            Ok(taken) => taken,
            Err(error) => {
                acts.extend(self.end(at, &replica, storage_goodbye(&error)));
                return None;
            }
        };
        if !committed.put_off.is_empty() {
            let busy = goodbye(GoodbyeCode::Busy, "too many changes were given back");
            acts.extend(self.end(at, &replica, Goodbye { retry_after_ms: Some(60_000), ..busy }));
            return None;
        }
        acts.extend(self.announce(at));
        acts.extend(self.settle_access(at));
        Some(Input::Relayed(relayed))
    }

    fn acknowledge(&mut self, at: Moment, wire: Wire, receipt: u64, acts: &mut Vec<Act>) {
        // It comes after what was handed in before it.
        acts.extend(self.commit(at));
        let Some(running) = &mut self.running else { return };
        let Some((replica, _)) = running.current(wire) else { return };
        if let Err(error) = running.workspace.acknowledge(&replica, receipt) {
            acts.extend(self.end(at, &replica, storage_goodbye(&error)));
            acts.extend(self.failed(at, &error));
        }
    }

    /// After a failure of the storage nothing that was under way is answered, and everybody is told so.
    pub(super) fn failed(&mut self, at: Moment, error: &StoreError) -> Vec<Act> {
        let Some(running) = self.running.as_mut().filter(|_| error.is_distrust()) else {
            return Vec::new();
        };
        running.in_doubt = true;
        let seated: Vec<ReplicaId> = running.seats.keys().copied().collect();
        seated.iter().flat_map(|replica| self.end(at, replica, storage_failed())).collect()
    }

    fn confirm(&mut self, at: Moment, wire: Wire, up_to: u64) {
        let Some(running) = &mut self.running else { return };
        let Some((replica, _)) = running.current(wire) else { return };
        // What cannot be noted now, the device says at its next hello.
        let _unnoted = running.workspace.confirm_erasures(at.wall, replica, up_to);
    }

    /// Erases a record for a member, after what was handed in before.
    fn erase(
        &mut self,
        at: Moment,
        wire: Wire,
        asked: EraseRecord,
        acts: &mut Vec<Act>,
    ) -> Option<Input> {
        acts.extend(self.commit(at));
        let running = self.running.as_mut()?;
        let (replica, member) = running.current(wire)?;
        let answer = running.workspace.answer_erasure(at.wall, replica, member, asked);
        let input = match answer {
            Ok(erasure) => Input::Erased(erasure),
            Err(error) => Input::End(storage_goodbye(&error)),
        };
        acts.extend(self.announce(at));
        acts.extend(self.settle_access(at));
        Some(input)
    }

    /// Commits what has been handed in, then answers it.
    pub(in crate::harness) fn commit(&mut self, at: Moment) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let group = std::mem::take(&mut running.group);
        if group.is_empty() || !running.is_recovered() {
            return Vec::new();
        }
        if self.crash.take_if(|point| *point == CrashPoint::BeforeCommit).is_some() {
            return vec![Act::Died(self.die())];
        }
        let error = match self.try_commit(at, &group) {
            Ok(acts) => return acts,
            Err(error) => error,
        };
        let mut by_replica: BTreeMap<ReplicaId, Vec<Submitted>> = BTreeMap::new();
        for submitted in group {
            by_replica.entry(submitted.replica).or_default().push(submitted);
        }
        let mut acts = Vec::new();
        let hopeless = matches!(error, StoreError::Full) || error.is_distrust();
        if by_replica.len() == 1 || hopeless {
            for replica in by_replica.keys() {
                acts.extend(self.end(at, replica, storage_goodbye(&error)));
            }
            acts.extend(self.failed(at, &error));
            return acts;
        }
        for (replica, group) in by_replica {
            match self.try_commit(at, &group) {
                Ok(more) => acts.extend(more),
                Err(error) => {
                    acts.extend(self.end(at, &replica, storage_goodbye(&error)));
                    acts.extend(self.failed(at, &error));
                }
            }
            if self.running.as_ref().is_none_or(|running| running.in_doubt) {
                return acts;
            }
        }
        acts
    }

    fn try_commit(&mut self, at: Moment, group: &[Submitted]) -> Result<Vec<Act>, StoreError> {
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let committed = running.workspace.commit(at.wall, group)?;
        self.note(&committed.receipts);
        if self.crash.take().is_some() {
            return Ok(vec![Act::Died(self.die())]);
        }
        let mut receipts = committed.receipts;
        if planted(Bug::FanOutBeforeCommit)
            && let Some(running) = &mut self.running
        {
            std::mem::swap(&mut running.kept_back, &mut receipts);
        }
        let mut acts = self.deliver(at, receipts);
        acts.extend(self.settle_access(at));
        Ok(acts)
    }

    /// Commits what a planted bug has put off, and answers it.
    fn catch_up_commit(&mut self, at: Moment) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let receipts = std::mem::take(&mut running.kept_back);
        if receipts.is_empty() {
            return Vec::new();
        }
        match store::write(&*running.workspace.store(), |_| Ok(())) {
            Ok(()) => self.deliver(at, receipts),
            Err(_) => Vec::new(),
        }
    }

    fn note(&mut self, receipts: &[(ReplicaId, Receipt)]) {
        for (_, receipt) in receipts {
            if let Outcome::Accepted { position, .. } = &receipt.outcome {
                let before = self.log.insert(receipt.batch, *position);
                assert_eq!(before, None, "batch {} was accepted twice", receipt.batch);
            }
        }
    }

    fn deliver(&mut self, at: Moment, receipts: Vec<(ReplicaId, Receipt)>) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let mut by_replica: BTreeMap<ReplicaId, Vec<Receipt>> = BTreeMap::new();
        for (replica, receipt) in receipts {
            by_replica.entry(replica).or_default().push(receipt);
        }
        let answered: Vec<(Wire, Vec<Receipt>)> = by_replica
            .into_iter()
            .filter_map(|(replica, receipts)| Some((*running.seats.get(&replica)?, receipts)))
            .collect();
        let mut acts = Vec::new();
        for (wire, receipts) in answered {
            acts.extend(self.feed(at, wire, Input::Receipts(receipts)));
        }
        acts.extend(self.announce(at));
        acts
    }

    /// Tells everybody that the log has grown.
    pub(super) fn announce(&mut self, at: Moment) -> Vec<Act> {
        let Some(running) = &self.running else { return Vec::new() };
        let live: Vec<Wire> = running.seats.values().copied().collect();
        live.into_iter().flat_map(|wire| self.feed(at, wire, Input::HeadMoved)).collect()
    }

    pub(super) fn end(&mut self, at: Moment, replica: &ReplicaId, goodbye: Goodbye) -> Vec<Act> {
        let wire = self.running.as_mut().and_then(|running| running.seats.remove(replica));
        wire.map_or_else(Vec::new, |wire| self.feed(at, wire, Input::End(goodbye)))
    }

    fn leave(&mut self, wire: Wire) {
        let Some(running) = &mut self.running else { return };
        running.served.remove(&wire);
        running.seats.retain(|_, seated| *seated != wire);
    }
}

pub(super) fn goodbye(code: GoodbyeCode, text: &str) -> Goodbye {
    Goodbye { code, text: text.to_owned(), retry_after_ms: None }
}

fn storage_goodbye(error: &StoreError) -> Goodbye {
    match error {
        StoreError::Full => Goodbye {
            retry_after_ms: Some(30_000),
            ..goodbye(GoodbyeCode::StorageFull, "the server cannot store anything")
        },
        _ => storage_failed(),
    }
}

fn storage_failed() -> Goodbye {
    let text = "the server's storage failed";
    Goodbye { retry_after_ms: Some(5_000), ..goodbye(GoodbyeCode::Internal, text) }
}

/// The next page of a feed. What many are sent alike is read for anybody, and has to be what this one would be
/// sent alone.
fn next_page(
    feed: &mut Feed,
    tx: &dyn store::Read,
    recent: &Recent,
    flush: bool,
) -> Result<Option<BuiltPage>, StoreError> {
    let mut alone = feed.clone();
    let page = alone.next_page(tx, flush)?;
    let page = page.map(|page| BuiltPage::new(&page, alone.erased_up_to()));
    let mut passing = feed.clone();
    if let Some(passed) = passing.pass_over(recent, tx.head()?, flush) {
        assert_eq!(passed, page, "what is passed over says nothing to this device");
        assert_eq!(passing, alone, "passing over leaves a device where reading would");
    }
    if feed.spot(tx.head()?).is_some() {
        let slice = Slice::read(feed, tx)?;
        if let Some(shared) = feed.take(&slice, flush) {
            assert_eq!(shared, page, "a shared page is what would be built for one alone");
            assert_eq!(*feed, alone, "a shared page leaves its device where its own would");
        }
    }
    *feed = alone;
    Ok(page)
}
