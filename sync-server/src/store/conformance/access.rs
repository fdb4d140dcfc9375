//! Routes, the queue of records, the directory, devices.

use crdt_core::id::{DeviceId, MemberId, RecordId};
use crdt_core::policy::{Route, Standing};

use super::Harness;
use super::material::{NOW, Paper, member};
use crate::store::access::{Follower, MemberRow, Rescope};
use crate::store::{StoreError, read, write};

fn record(n: u8) -> RecordId {
    RecordId::new(NOW, [n; 10])
}

pub(super) fn routes(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let whole = Route {
        entity: "contact".to_owned(),
        owner: Some(member()),
        territory: Some("west".to_owned()),
        team: Some("blue".to_owned()),
        parent: Some(record(1)),
        merged_into: Some(record(9)),
    };
    let child = Route { parent: Some(record(1)), ..Route::default() };
    write(&*store, |tx| {
        tx.put_route(&record(2), &child)?;
        tx.put_route(&record(2), &whole)?;
        tx.put_route(&record(3), &child)?;
        tx.put_route(&record(4), &Route { merged_into: Some(record(1)), ..Route::default() })
    })?;
    read(&*store, |tx| {
        assert_eq!(tx.route(&record(1))?, None);
        assert_eq!(tx.route(&record(2))?.as_ref(), Some(&whole));
        assert_eq!(tx.route(&record(3))?.as_ref(), Some(&child));
        assert!(tx.is_followed(&record(1))? && tx.is_followed(&record(9))?);
        assert!(!tx.is_followed(&record(2))?);
        let all =
            [Follower::Child(record(2)), Follower::Child(record(3)), Follower::Merged(record(4))];
        assert_eq!(tx.followers(&record(1), None, 9)?, all);
        assert_eq!(tx.followers(&record(1), None, 2)?, all[..2]);
        assert_eq!(tx.followers(&record(1), Some(record(2)), 9)?, all[1..]);
        assert_eq!(tx.followers(&record(3), None, 9)?, []);
        assert_eq!(tx.records_after(None, 9)?, [record(2), record(3), record(4)]);
        assert_eq!(tx.records_after(Some(record(2)), 1)?, [record(3)]);
        Ok(())
    })
}

pub(super) fn queue(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    assert_eq!(read(&*store, |tx| tx.next_rescope())?, None);
    write(&*store, |tx| {
        tx.queue_rescope(&Rescope::of(Some(record(5)), 3))?;
        tx.queue_rescope(&Rescope::of(Some(record(1)), 0))?;
        tx.queue_rescope(&Rescope::of(None, 0))?;
        tx.advance_rescope(Some(record(5)), Some(record(7)))
    })?;
    let after = Some(record(7));
    let first = Rescope { after, ..Rescope::of(Some(record(5)), 3) };
    assert_eq!(read(&*store, |tx| tx.next_rescope())?, Some(first));
    // Put again, all of it is done again, and it keeps its turn.
    write(&*store, |tx| tx.queue_rescope(&Rescope::of(Some(record(5)), 2)))?;
    let again = Rescope::of(Some(record(5)), 2);
    assert_eq!(read(&*store, |tx| tx.next_rescope())?, Some(again));
    for next in [Some(record(5)), Some(record(1)), None] {
        assert_eq!(read(&*store, |tx| tx.next_rescope())?.map(|rescope| rescope.of), Some(next));
        write(&*store, |tx| tx.advance_rescope(next, None))?;
    }
    assert_eq!(read(&*store, |tx| tx.next_rescope())?, None);
    Ok(())
}

pub(super) fn members(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let other = MemberId(record(8).0);
    let row = MemberRow {
        name: "Ada".to_owned(),
        standing: Standing {
            member: member(),
            role: Some("rep".to_owned()),
            territories: ["a\nb".to_owned(), "west".to_owned()].into(),
            teams: ["blue".to_owned()].into(),
            region: Some("americas".to_owned()),
            active: false,
        },
        has_record: true,
    };
    write(&*store, |tx| {
        tx.put_member_row(&MemberRow::unlisted(member(), "nobody".to_owned()))?;
        tx.put_member_row(&row)?;
        tx.put_member(&other, "Ben")
    })?;
    read(&*store, |tx| {
        let ben = MemberRow::unlisted(other, "Ben".to_owned());
        assert_eq!(tx.members()?, [row.clone(), ben]);
        assert_eq!(tx.member(&member())?.as_deref(), Some("Ada"));
        Ok(())
    })?;
    write(&*store, |tx| tx.put_member(&member(), "Ada Lovelace"))?;
    let renamed = read(&*store, |tx| tx.members())?.remove(0);
    assert_eq!(renamed, MemberRow { name: "Ada Lovelace".to_owned(), ..row });
    Ok(())
}

pub(super) fn devices(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (lost, kept) = (DeviceId([1; 16]), DeviceId([2; 16]));
    write(&*store, |tx| {
        tx.revoke(&lost, NOW)?;
        tx.revoke(&lost, NOW.plus_millis(5))?;
        tx.note_granted(&member(), "territory:west")?;
        tx.note_granted(&member(), "territory:west")
    })?;
    let store = {
        drop(store);
        harness.open()?
    };
    read(&*store, |tx| {
        assert_eq!(tx.revoked_at(&lost)?, Some(NOW), "the first time counts");
        assert_eq!(tx.revoked_at(&kept)?, None);
        assert_eq!(tx.revoked()?, [(lost, NOW)]);
        assert!(tx.was_granted(&member(), "territory:west")?);
        assert!(!tx.was_granted(&member(), "territory:east")?);
        assert!(!tx.was_granted(&MemberId(record(8).0), "territory:west")?);
        assert_eq!(tx.replicas()?, []);
        Ok(())
    })
}

pub(super) fn documents(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (main, finance) = write(&*store, |tx| {
        let main = Paper::create(tx, 1, "main")?;
        let mut finance = Paper::create(tx, 1, "finance")?;
        let position = finance.write(tx, "more")?;
        tx.fold(finance.number, b"a snapshot", position)?;
        Paper::create(tx, 2, "main")?;
        Ok((main, finance))
    })?;
    read(&*store, |tx| {
        let (main, finance) =
            ((main.number, main.id.clone()), (finance.number, finance.id.clone()));
        assert_eq!(tx.documents_of(&record(1))?, [finance.clone(), main]);
        assert_eq!(tx.documents_of(&record(9))?, []);
        let sizes = tx.document_sizes(0, 2)?;
        assert_eq!(sizes.len(), 2);
        assert!(sizes[0].bytes > 0, "what is not folded counts");
        assert_eq!((sizes[1].id.clone(), sizes[1].bytes), (finance.1, 10), "the snapshot alone");
        assert_eq!(tx.document_sizes(2, 9)?.len(), 1);
        Ok(())
    })
}
