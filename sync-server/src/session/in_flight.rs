//! Batches of a session that are not answered: how many they are, what they take, and what can be left out of
//! their answers.

use std::collections::VecDeque;

use crdt_core::id::BatchId;
use crdt_core::limits;
use crdt_core::protocol::{Batch, DocumentRef, Message, Outcome, Receipt, ShortReceipt};

#[derive(Debug, Default)]
pub(super) struct InFlight {
    batches: VecDeque<Pushed>,
    bytes: usize,
}

#[derive(Debug)]
struct Pushed {
    id: BatchId,
    number: u64,
    /// Its share of the frame that it came in, inflated.
    bytes: usize,
    /// It named every document by number.
    by_number: bool,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes the batches of a frame that holds so many bytes, at most `limit` at a time.
    pub(super) fn push(
        &mut self,
        batches: &[Batch],
        bytes: usize,
        limit: usize,
    ) -> Result<(), &'static str> {
        if self.batches.len() + batches.len() > limit {
            return Err("more batches in flight than granted");
        }
        if self.bytes + bytes > limits::BYTES_TAKEN_IN_FLIGHT_MAX {
            return Err("more bytes of batches in flight than are taken");
        }
        let share = bytes.div_ceil(batches.len().max(1));
        for batch in batches {
            let documents = &mut batch.documents.iter();
            self.bytes += share;
            self.batches.push_back(Pushed {
                id: batch.id,
                number: batch.number,
                bytes: share,
                by_number: documents.all(|of| matches!(of.document, DocumentRef::Number(_))),
            });
        }
        Ok(())
    }

    /// Batches were answered: the messages that say so, in the order of the receipts.
    pub(super) fn answered(&mut self, receipts: Vec<Receipt>, short: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        for receipt in receipts {
            let pushed = self.remove(&receipt.batch);
            let shortened = pushed.filter(|_| short).and_then(|pushed| pushed.shorten(&receipt));
            match (shortened, messages.last_mut()) {
                (Some(short), Some(Message::ShortReceipts(list))) => list.push(short),
                (Some(short), _) => messages.push(Message::ShortReceipts(vec![short])),
                (None, Some(Message::Receipts(list))) => list.push(receipt),
                (None, _) => messages.push(Message::Receipts(vec![receipt])),
            }
        }
        messages
    }

    /// Batches are answered in their order, mostly.
    fn remove(&mut self, batch: &BatchId) -> Option<Pushed> {
        let place = self.batches.iter().position(|pushed| pushed.id == *batch)?;
        let pushed = self.batches.remove(place)?;
        self.bytes -= pushed.bytes;
        Some(pushed)
    }
}

impl Pushed {
    /// What has to be said of it, when that is little.
    fn shorten(&self, receipt: &Receipt) -> Option<ShortReceipt> {
        let Outcome::Accepted { position, .. } = receipt.outcome else { return None };
        (self.by_number && receipt.erased.is_empty()).then_some(ShortReceipt {
            number: receipt.number,
            batch_number: self.number,
            position,
            policy_version: receipt.policy_version,
        })
    }
}

#[cfg(test)]
mod tests {
    use crdt_core::id::{DocumentId, RecordId};
    use crdt_core::protocol::{DocumentChanges, Identity};

    use super::*;

    fn record() -> RecordId {
        RecordId::from_source_key("note", "1")
    }

    fn batch(n: u8, document: DocumentRef) -> Batch {
        let documents = vec![DocumentChanges { document, changes: Vec::new() }];
        let (id, number) = (BatchId([n; 16]), 40 + u64::from(n));
        Batch { id, number, schema_version: 1, policy_version: 0, documents }
    }

    fn by_number(n: u8) -> Batch {
        batch(n, DocumentRef::Number(9))
    }

    fn answer(n: u8, outcome: Outcome) -> Receipt {
        let (number, batch) = (u64::from(n), BatchId([n; 16]));
        Receipt { number, batch, outcome, policy_version: 7, erased: Vec::new() }
    }

    fn accepted(n: u8) -> Receipt {
        answer(n, Outcome::Accepted { position: 500 + u64::from(n), documents: Vec::new() })
    }

    #[test]
    fn answers_are_short_where_both_sides_know_the_rest_and_keep_their_order() {
        let identity = Identity { id: DocumentId::main(record()), entity: "note".to_owned() };
        let named = batch(3, DocumentRef::Identity(identity));
        let batches = [by_number(1), by_number(2), named, by_number(4), by_number(5), by_number(6)];
        let answers = vec![
            accepted(1),
            accepted(2),
            accepted(3),
            Receipt { erased: vec![record()], ..accepted(4) },
            answer(5, Outcome::Refused { reasons: Vec::new() }),
            accepted(6),
        ];
        let said = |short| {
            let mut in_flight = InFlight::default();
            in_flight.push(&batches, 600, 6).unwrap();
            let messages = in_flight.answered(answers.clone(), short);
            assert!(in_flight.is_empty() && in_flight.bytes == 0);
            messages
        };
        let short = |n| ShortReceipt {
            number: n,
            batch_number: 40 + n,
            position: 500 + n,
            policy_version: 7,
        };
        let [first, rest, last] = &said(true)[..] else { panic!("{:?}", said(true)) };
        assert_eq!(*first, Message::ShortReceipts(vec![short(1), short(2)]));
        assert_eq!(*rest, Message::Receipts(answers[2..5].to_vec()));
        assert_eq!(*last, Message::ShortReceipts(vec![short(6)]));
        assert_eq!(said(false), [Message::Receipts(answers)], "to a device that has not asked");
    }

    #[test]
    fn no_more_is_taken_than_granted_in_number_or_in_bytes() {
        let mut in_flight = InFlight::default();
        in_flight.push(&[by_number(1), by_number(2)], 0, 3).unwrap();
        assert!(in_flight.push(&[by_number(3), by_number(4)], 0, 3).is_err());
        drop(in_flight.answered(vec![accepted(1)], true));
        in_flight.push(&[by_number(3), by_number(4)], 0, 3).unwrap();

        let mut in_flight = InFlight::default();
        let half = limits::BYTES_TAKEN_IN_FLIGHT_MAX / 2;
        in_flight.push(&[by_number(1)], half, 3).unwrap();
        in_flight.push(&[by_number(2)], half, 3).unwrap();
        assert!(in_flight.push(&[by_number(3)], 1, 3).is_err());
        drop(in_flight.answered(vec![accepted(2)], true));
        in_flight.push(&[by_number(3)], half, 3).unwrap();
    }
}
