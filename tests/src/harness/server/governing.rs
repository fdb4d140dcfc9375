//! Governing: what an operator does to the workspace while it serves, and what sessions are told of it.

use crdt_core::protocol::GoodbyeCode;
use sync_server::store;
use sync_server::workspace::{Rescoping, Workspace};

use super::serving::goodbye;
use super::{Act, Moment, SimServer};

impl SimServer {
    /// Does an operator's work on the workspace, between two commits.
    pub(in crate::harness) fn govern<T>(
        &mut self,
        at: Moment,
        work: impl FnOnce(&mut Workspace) -> T,
    ) -> (T, Vec<Act>) {
        let mut acts = self.commit(at);
        let running = self.running.as_mut().expect("an operator speaks to a running server");
        let done = work(&mut running.workspace);
        acts.extend(self.announce(at));
        acts.extend(self.settle_access(at));
        (done, acts)
    }

    /// Ends the sessions of those whose rights have changed, after everything that they were to be told, and
    /// finds scopes again where that is due.
    pub(super) fn settle_access(&mut self, at: Moment) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let aftermath = running.workspace.take_aftermath();
        let seats = running.served.values().filter_map(|served| served.seat.as_ref());
        let changed = seats.filter(|seat| aftermath.access_changed.contains(&seat.member));
        let changed: Vec<_> = changed.map(|seat| seat.replica).collect();
        let seated: Vec<_> = running.seats.keys().copied().collect();
        let mut acts = Vec::new();
        if let Some(unserved) = aftermath.everyone {
            for replica in &seated {
                acts.extend(self.end(at, replica, unserved.goodbye()));
            }
        }
        if self.is_rescoping() {
            acts.push(Act::RescopeSoon);
        }
        for replica in &aftermath.revoked {
            let revoked = goodbye(GoodbyeCode::DeviceRevoked, "this device was shut out");
            acts.extend(self.end(at, replica, revoked));
        }
        for replica in &changed {
            let changed = goodbye(GoodbyeCode::AccessChanged, "what you may see has changed");
            acts.extend(self.end(at, replica, changed));
        }
        acts
    }

    /// One step of finding scopes again.
    pub(in crate::harness) fn rescope(&mut self, at: Moment) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        if !running.is_recovered() {
            return vec![Act::RescopeSoon];
        }
        match running.workspace.rescope_step(at.wall) {
            Err(error) => {
                let mut acts = self.failed(at, &error);
                acts.push(Act::RescopeSoon);
                acts
            }
            Ok(Rescoping::Idle) => Vec::new(),
            Ok(Rescoping::Step { .. }) => {
                let mut acts = self.announce(at);
                acts.push(Act::RescopeSoon);
                acts
            }
        }
    }

    /// Whether scopes are still to be found again.
    #[must_use]
    pub fn is_rescoping(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let next = store::read(&*running.workspace.store(), |tx| tx.next_rescope());
            next.is_ok_and(|next| next.is_some())
        })
    }
}
