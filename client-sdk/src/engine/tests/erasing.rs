//! Erasures: asked while a session is open, answered once each, and never left without an answer.

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::protocol::{EraseRecord, Erasure, Refusal};

use super::*;

fn record() -> RecordId {
    RecordId::from_source_key("contact", "1")
}

fn erase(request: u64) -> Input {
    Input::Erase { request, record: record() }
}

fn answers(rig: &Rig) -> Vec<(u64, Result<u64, EraseFailure>)> {
    let answers = rig.outward.iter().filter_map(|outward| match outward {
        Outward::ErasureAnswered { request, answer } => Some((*request, answer.clone())),
        _ => None,
    });
    answers.collect()
}

fn live() -> Rig {
    let mut rig = Rig::new(1);
    rig.give(Input::Start);
    rig.connect();
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    rig
}

#[test]
fn an_erasure_is_sent_while_a_session_is_open_and_answered_by_the_server() {
    let mut rig = live();
    rig.give(erase(7));
    let asked = Message::Erase(EraseRecord { request: 7, record: record() });
    assert!(rig.sent().contains(&asked));
    assert_eq!(answers(&rig), []);
    rig.receive(&Message::Erasure(Erasure { request: 7, outcome: Ok(12) }));
    assert_eq!(answers(&rig), [(7, Ok(12))]);

    let refusal = Refusal {
        code: "forbidden".to_owned(),
        text: "the policy does not allow it".to_owned(),
        document: Some(DocumentId::main(record())),
        field: None,
        rule: None,
    };
    rig.give(erase(8));
    rig.receive(&Message::Erasure(Erasure { request: 8, outcome: Err(refusal.clone()) }));
    assert_eq!(answers(&rig).last(), Some(&(8, Err(EraseFailure::Refused(refusal)))));
    assert_eq!(rig.engine.phase(), SyncPhase::Live);
}

#[test]
fn without_a_session_it_fails_at_once_and_nothing_is_sent_later() {
    let mut rig = Rig::new(1);
    rig.give(erase(1));
    assert_eq!(answers(&rig), [(1, Err(EraseFailure::Offline))]);
    rig.give(Input::Start);
    rig.give(erase(2));
    rig.connect();
    rig.give(erase(3));
    assert!(answers(&rig)[1..].iter().all(|(_, answer)| *answer == Err(EraseFailure::Offline)));
    assert_eq!(answers(&rig).len(), 3);
    rig.receive(&Message::Welcome(Box::new(welcome(0))));
    assert!(!rig.sent().iter().any(|message| matches!(message, Message::Erase(_))));
}

#[test]
fn a_session_that_ends_leaves_no_erasure_without_an_answer() {
    let mut rig = live();
    (1..=3).for_each(|request| rig.give(erase(request)));
    rig.receive(&Message::Erasure(Erasure { request: 2, outcome: Ok(5) }));
    rig.give(Input::Disconnected(ConnectionId(1), "cut".into()));
    let interrupted = Err(EraseFailure::Interrupted);
    assert_eq!(answers(&rig), [(2, Ok(5)), (1, interrupted.clone()), (3, interrupted)]);
}

#[test]
fn too_many_at_once_are_refused_and_an_answer_that_nobody_waits_for_ends_the_session() {
    let mut rig = live();
    (1..=20).for_each(|request| rig.give(erase(request)));
    assert!(answers(&rig).iter().all(|(_, answer)| *answer == Err(EraseFailure::Busy)));
    let sent = rig.sent();
    let asked = sent.iter().filter(|message| matches!(message, Message::Erase(_))).count();
    assert_eq!(asked + answers(&rig).len(), 20);

    let mut rig = live();
    rig.receive(&Message::Erasure(Erasure { request: 9, outcome: Ok(5) }));
    assert_ne!(rig.engine.phase(), SyncPhase::Live);
    assert_eq!(answers(&rig), []);
}
