//! What connections and operators ask of a workspace's thread, one command at a time.

use crdt_core::id::{Lease, MemberId};
use crdt_core::protocol::{Goodbye, GoodbyeCode, Hello};

use super::inbox::{is_current, put};
use super::{Actor, GIVEN_UP_RETRY_MS, Manners, Session, storage_goodbye};
use crate::clock;
use crate::failpoint;
use crate::workspace::{Greeting, HelloError};
use crate::workspaces::handle::{Command, goodbye};
use crate::workspaces::suspects::Deed;

impl Actor {
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::HandIn(handed_in) => put(handed_in, &mut self.turns, &self.sessions),
            Command::Hello { hello, member, lease, session, events, reply } => {
                let replica = hello.replica;
                // A handshake comes after what the same device has handed in before it.
                self.judge_all_of(replica);
                self.write_stored(0);
                let greeted = self.greet(&hello, member, lease);
                if greeted.is_ok() {
                    let text = "another session took over";
                    self.end(&replica, goodbye(GoodbyeCode::Superseded, text, None));
                    self.sessions.insert(replica, Session { number: session, member, events });
                }
                self.after();
                // A connection that has gone meanwhile leaves no session behind.
                if reply.send(greeted.map(Box::new)).is_err() {
                    self.sessions.remove(&replica);
                }
            }
            Command::Relay { session, by } => {
                if is_current(&self.sessions, session, &by.replica) {
                    self.judge_all_of(by.replica);
                    self.write_stored(0);
                    self.relay(&by);
                }
            }
            Command::Leave { session, replica } => {
                if is_current(&self.sessions, session, &replica) {
                    self.sessions.remove(&replica);
                }
            }
            Command::Run(work) => {
                while !self.turns.is_empty() {
                    let group = self.turns.take();
                    self.judge(group, Manners::Finishes);
                }
                self.write_stored(0);
                work(&mut self.workspace);
                self.after();
                self.announce();
            }
        }
    }

    fn greet(
        &mut self,
        hello: &Hello,
        member: MemberId,
        lease: Lease,
    ) -> Result<Greeting, Goodbye> {
        let deed = Deed::Hello(hello.replica);
        if self.suspects.is_given_up(deed) {
            let text = "the server fails on this device's hello";
            return Err(goodbye(GoodbyeCode::Internal, text, Some(GIVEN_UP_RETRY_MS)));
        }
        self.recover()?;
        self.suspects.begin([deed]);
        failpoint::panic_at(failpoint::HELLO, hello.replica);
        let greeted = self.workspace.hello(clock::now(), lease, member, hello);
        self.suspects.done();
        greeted.map_err(|error| match error {
            HelloError::Refused(goodbye) => {
                if goodbye.code == GoodbyeCode::CursorAhead {
                    self.metrics.hellos_ahead.increment(1);
                }
                goodbye
            }
            HelloError::Store(error) => {
                self.failed(&error);
                storage_goodbye(&error)
            }
        })
    }
}
