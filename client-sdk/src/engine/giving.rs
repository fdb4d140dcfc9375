//! After the server was restored: what is asked, given back and awaited, one thing at a time.

use std::collections::VecDeque;

use crdt_core::protocol::{Compare, Fetch, Lacking, Message, Recovery, Relay, Welcome};

use super::jobs::{Job, Jobs};
use super::phase::Phase;
use super::{Engine, Input, Turn};
use crate::store::relay::RelayStep;

/// What is under way.
#[derive(Debug)]
pub(super) struct Giving {
    state: State,
    /// Something has changed since the store was asked what comes next.
    stale: bool,
}

#[derive(Debug)]
enum State {
    /// The store is to be asked what comes next.
    Unread,
    /// It is being asked.
    Reading,
    /// The server compares these.
    Asked(Compare),
    /// The answer is being stored.
    Storing(Compare),
    /// These are given back, the first of them now.
    Giving(Compare, VecDeque<Relay>),
    /// What was given is being noted.
    Noting,
    /// Something else comes first: receipts, or a page.
    Waiting,
    /// Nothing is to be given back.
    Done,
}

impl Giving {
    pub(super) fn begin(welcome: &Welcome) -> Self {
        let state = match welcome.recovery {
            Recovery::Unknown => State::Done,
            Recovery::Closed | Recovery::Open => State::Unread,
        };
        Self { state, stale: false }
    }

    /// Whether there is nothing to give back and nothing to take.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Receipts or a page were stored.
    pub(super) fn stored(&mut self) {
        self.stale = true;
        if matches!(self.state, State::Waiting) {
            self.state = State::Unread;
        }
    }

    /// Asks the store what comes next, when that is due.
    pub(super) fn settle(&mut self, jobs: &mut Jobs) {
        if matches!(self.state, State::Unread) {
            self.state = State::Reading;
            self.stale = false;
            jobs.read_relay();
        }
    }

    /// The store says what comes next.
    pub(super) fn read(&mut self, step: RelayStep) -> Option<Message> {
        let (state, message) = match step {
            RelayStep::Compare(compare) => {
                (State::Asked(compare.clone()), Some(Message::Compare(compare)))
            }
            RelayStep::Fetch(documents) => {
                (State::Waiting, Some(Message::Fetch(Fetch { documents })))
            }
            RelayStep::Wait if self.stale => (State::Unread, None),
            RelayStep::Wait => (State::Waiting, None),
            RelayStep::Done => (State::Done, None),
        };
        self.state = state;
        message
    }

    /// The server says what it lacks.
    pub(super) fn take_lacking(&mut self, lacking: Lacking, jobs: &mut Jobs) -> Result<(), String> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Asked(compare) if compare.documents.len() == lacking.documents.len() => {
                jobs.store_lacking(compare.clone(), lacking);
                self.state = State::Storing(compare);
                Ok(())
            }
            _ => Err("the server answered a comparison that was not asked for".to_owned()),
        }
    }

    /// That is stored, and these are to be given back.
    pub(super) fn lacking_stored(&mut self, relays: Vec<Relay>) -> Option<Message> {
        let State::Storing(compare) = std::mem::replace(&mut self.state, State::Unread) else {
            return None;
        };
        let mut relays = VecDeque::from(relays);
        let first = relays.pop_front().map(Message::Relay);
        if first.is_some() {
            self.state = State::Giving(compare, relays);
        }
        first
    }

    /// The server has judged what was given.
    pub(super) fn take_relayed(&mut self, jobs: &mut Jobs) -> Result<Option<Message>, String> {
        let State::Giving(compare, mut relays) = std::mem::replace(&mut self.state, State::Done)
        else {
            return Err("the server answered for what was not given back".to_owned());
        };
        if let Some(next) = relays.pop_front() {
            self.state = State::Giving(compare, relays);
            return Ok(Some(Message::Relay(next)));
        }
        jobs.store_relayed(compare);
        self.state = State::Noting;
        Ok(None)
    }

    /// That is noted.
    pub(super) fn noted(&mut self) {
        self.state = State::Unread;
    }
}

impl Engine {
    /// The store has done its part of giving back what the server lost.
    pub(super) fn given(&mut self, turn: &mut Turn<'_>, input: Input) {
        let job = self.jobs.answered(|job| {
            matches!(
                (job, &input),
                (Job::Relay, Input::RelayRead(_))
                    | (Job::Lacking, Input::LackingStored(_))
                    | (Job::Relayed, Input::RelayedStored)
            )
        });
        let (Some(_), Phase::Live { live, .. }) = (job, &mut self.phase) else { return };
        live.given(input).iter().for_each(|message| turn.send(message));
    }
}
