//! What devices give back after a restore: what waits, what is presumed, what is withdrawn, what is counted.

use crdt_core::id::{ActorId, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::protocol::Relayed;

use super::Harness;
use super::material::{NOW, WRITER, member};
use crate::store::relay::{ParkedRow, ParkedSize, RelayedRow};
use crate::store::{StoreError, read, write};

fn document(n: u8) -> DocumentId {
    DocumentId::main(RecordId::new(NOW, [n; 10]))
}

fn row(n: u8, seq: u64) -> ParkedRow {
    ParkedRow {
        id: 0,
        document: document(n),
        actor: ActorId::of(WRITER, 1),
        seq,
        replica: ReplicaId([9; 12]),
        member: member(),
        parked_at: NOW,
        relay: vec![n; 10],
    }
}

pub(super) fn parked(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    write(&*store, |tx| {
        for (n, seq) in [(1, 3), (2, 1), (1, 2), (1, 3)] {
            tx.park(&row(n, seq))?;
        }
        Ok(())
    })?;
    drop(store);
    let store = harness.open()?;
    let first = read(&*store, |tx| tx.parked_of(&document(1)))?;
    assert_eq!(first.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 2], "one waits once");
    assert_eq!(ParkedRow { id: 0, ..first[0].clone() }, row(1, 3));
    let all = read(&*store, |tx| tx.parked_after(first[0].id, 10))?;
    assert_eq!(all.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2]);
    let size = read(&*store, |tx| tx.parked_size())?;
    assert_eq!(size, ParkedSize { changes: 3, bytes: 30 });
    write(&*store, |tx| tx.unpark(first[0].id))?;
    assert_eq!(read(&*store, |tx| tx.parked_of(&document(1)))?.len(), 1);
    let dropped = write(&*store, |tx| tx.close_relay(NOW))?;
    assert_eq!(dropped, ParkedSize { changes: 2, bytes: 20 });
    read(&*store, |tx| {
        assert_eq!(tx.parked_size()?, ParkedSize::default());
        assert_eq!(tx.relay_closed_at()?, Some(NOW));
        Ok(())
    })
}

pub(super) fn said(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (one, other) = (member(), MemberId::from_source_key("member", "another"));
    let actor = ActorId::of(WRITER, 1);
    write(&*store, |tx| {
        assert_eq!(tx.relay_closed_at()?, None);
        assert_eq!(tx.presumed_member(&WRITER)?, None);
        tx.presume(&WRITER, &one, &other)?;
        tx.presume(&WRITER, &other, &other)?;
        tx.park(&row(1, 4))?;
        tx.park(&row(1, 6))?;
        tx.withdraw(&document(1), &actor, 7)?;
        tx.withdraw(&document(1), &actor, 5)?;
        tx.withdraw(&document(1), &actor, 6)
    })?;
    read(&*store, |tx| {
        assert_eq!(tx.presumed_member(&WRITER)?, Some(one), "what was said first holds");
        let withdrawn = |n, seq| tx.is_withdrawn(&document(n), &actor, seq);
        assert!(!withdrawn(1, 4)? && withdrawn(1, 5)? && withdrawn(1, 9)? && !withdrawn(2, 9)?);
        assert!(!tx.is_withdrawn(&document(1), &ActorId::of(WRITER, 2), 9)?);
        let waiting = tx.parked_of(&document(1))?;
        assert_eq!(waiting.iter().map(|row| row.seq).collect::<Vec<_>>(), [4]);
        Ok(())
    })
}

pub(super) fn counted(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let row = |replica, taken| RelayedRow {
        replica,
        member: member(),
        relayed: Relayed { taken, held: 1, parked: 2, refused: 3 },
        at: NOW,
    };
    let stranger = ReplicaId([2; 12]);
    write(&*store, |tx| {
        tx.count_relayed(&row(WRITER, 5))?;
        tx.count_relayed(&row(stranger, 7))?;
        tx.count_relayed(&RelayedRow { at: NOW.plus_millis(1), ..row(WRITER, 10) })
    })?;
    let counted = read(&*store, |tx| tx.relayed())?;
    let writer = counted.iter().find(|row| row.replica == WRITER);
    let sum = Relayed { taken: 15, held: 2, parked: 4, refused: 6 };
    assert_eq!(writer.map(|row| (row.relayed, row.at)), Some((sum, NOW.plus_millis(1))));
    assert_eq!(counted.len(), 2);
    let places: Vec<ReplicaId> = counted.iter().map(|row| row.replica).collect();
    assert!(places.is_sorted());
    write(&*store, |tx| tx.forget_relayed())?;
    assert_eq!(read(&*store, |tx| tx.relayed())?, []);
    Ok(())
}
