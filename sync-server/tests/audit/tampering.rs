//! Whatever is done to the rows of an audit is found and named.

use proptest::prelude::*;
use sync_server::audit::{Finding, Head, Summary, Verifier, Witness};

use super::entries::{Row, chain, entry};

/// A sound audit: its rows and its head, which is also its own note.
fn sound(length: u64) -> (Vec<Row>, Head) {
    chain(Head::empty(), (1..=length).map(entry))
}

fn verify(rows: &[Row], own: Head, saved: Option<Head>) -> Result<Summary, Finding> {
    let mut verifier = Verifier::new(saved);
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|(number, _, _)| *number);
    for (number, bytes, hash) in rows {
        verifier.row(*number, bytes, hash)?;
    }
    verifier.finish(Some((own.number as i64, &own.hash)))
}

#[test]
fn a_sound_audit_is_sound_also_against_every_head_that_it_ever_had() {
    let (rows, head) = sound(24);
    let summary = verify(&rows, head, None).unwrap();
    assert_eq!((summary.head, summary.accepted, summary.refused, summary.acts), (head, 2, 2, 18));
    for (number, _, hash) in &rows {
        let hash = hash[..].try_into().unwrap();
        let saved = Head { number: *number as u64, hash };
        assert!(verify(&rows, head, Some(saved)).is_ok());
    }
    assert!(verify(&rows, head, Some(Head::empty())).is_ok());
    assert!(verify(&[], Head::empty(), None).is_ok());
}

#[test]
fn every_flipped_bit_of_every_entry_and_hash_is_found_at_its_entry() {
    let (rows, head) = sound(12);
    for place in 0..rows.len() {
        let number = place as u64 + 1;
        for (column, length) in [(1, rows[place].1.len()), (2, 32)] {
            for at in 0..length {
                let mut tampered = rows.clone();
                let row = &mut tampered[place];
                let bytes = if column == 1 { &mut row.1 } else { &mut row.2 };
                bytes[at] ^= 1 << (at % 8);
                let found = verify(&tampered, head, None).unwrap_err();
                let at_number = matches!(found, Finding::Altered { number: n } | Finding::Moved { number: n, .. } if n == number);
                assert!(at_number, "byte {at} of column {column} of entry {number}: {found}");
            }
        }
    }
}

#[test]
fn a_removed_entry_is_named() {
    let (rows, head) = sound(12);
    for (place, first) in [(0, 1), (5, 6)] {
        let mut tampered = rows.clone();
        tampered.remove(place);
        let found = verify(&tampered, head, None).unwrap_err();
        assert_eq!(found, Finding::Removed { first, last: first });
        assert_eq!(found.to_string(), format!("entry {first} was removed"));
    }
    // What was behind it moved up, so that no gap is left.
    let mut tampered = rows;
    tampered.remove(5);
    tampered[5..].iter_mut().for_each(|row| row.0 -= 1);
    let found = verify(&tampered, head, None).unwrap_err();
    assert_eq!(found, Finding::Moved { number: 6, holds: 7 });
}

#[test]
fn a_truncated_end_is_found_by_the_audits_own_note_and_by_a_saved_head() {
    let (rows, head) = sound(12);
    let (short, short_head) = sound(11);
    let found = verify(&rows[..11], head, None).unwrap_err();
    let by = |known_from| Finding::Truncated { last: 11, expected: 12, known_from };
    assert_eq!(found, by(Witness::OwnHead));
    assert!(found.to_string().contains("ends at entry 11"), "{found}");
    // The note was put back as well: only what was kept elsewhere knows.
    assert!(verify(&short, short_head, None).is_ok());
    assert_eq!(verify(&short, short_head, Some(head)).unwrap_err(), by(Witness::SavedHead));
    let nothing = Finding::Truncated { last: 0, expected: 12, known_from: Witness::SavedHead };
    assert_eq!(verify(&[], Head::empty(), Some(head)).unwrap_err(), nothing);
}

#[test]
fn swapped_and_inserted_entries_are_named() {
    let (rows, head) = sound(12);
    let mut swapped = rows.clone();
    (swapped[3].0, swapped[7].0) = (swapped[7].0, swapped[3].0);
    assert_eq!(verify(&swapped, head, None).unwrap_err(), Finding::Moved { number: 4, holds: 8 });
    // The inserted one is made so that it fits what is before it.
    let before = Head { number: 5, hash: rows[4].2[..].try_into().unwrap() };
    let (forged, _) = chain(before, [entry(99)]);
    let mut inserted = rows.clone();
    inserted[5..].iter_mut().for_each(|row| row.0 += 1);
    inserted.splice(5..5, forged);
    assert_eq!(verify(&inserted, head, None).unwrap_err(), Finding::Moved { number: 7, holds: 6 });
    let (appended, _) = chain(head, [entry(99)]);
    let longer = [rows, appended].concat();
    assert_eq!(verify(&longer, head, None).unwrap_err(), Finding::Added { first: 13 });
}

#[test]
fn a_chain_written_anew_is_found_against_a_saved_head_only() {
    let (_, head) = sound(12);
    let (forged, forged_head) = chain(Head::empty(), (1..=20).map(|n| entry(n + 100)));
    assert!(verify(&forged, forged_head, None).is_ok());
    let found = verify(&forged, forged_head, Some(head)).unwrap_err();
    assert_eq!(found, Finding::Rewritten { number: 12 });
}

#[test]
fn a_note_that_does_not_fit_is_found() {
    let (rows, head) = sound(3);
    let wrong = Head { hash: [0; 32], ..head };
    assert_eq!(verify(&rows, wrong, None).unwrap_err(), Finding::HeadAltered { number: 3 });
    let mut verifier = Verifier::new(None);
    rows.iter().for_each(|(number, bytes, hash)| verifier.row(*number, bytes, hash).unwrap());
    assert_eq!(verifier.finish(None).unwrap_err(), Finding::HeadAltered { number: 3 });
}

#[derive(Debug, Clone)]
enum Tamper {
    Edit { row: usize, at: usize, bit: u8 },
    Delete { row: usize },
    DeleteClosingTheGap { row: usize },
    Insert { row: usize, n: u64 },
    Swap { one: usize, other: usize },
    Truncate { keep: usize },
    RewriteFrom { row: usize, n: u64 },
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let row = 0..40usize;
    prop_oneof![
        (row.clone(), 0..400usize, 0..8u8).prop_map(|(row, at, bit)| Tamper::Edit { row, at, bit }),
        row.clone().prop_map(|row| Tamper::Delete { row }),
        row.clone().prop_map(|row| Tamper::DeleteClosingTheGap { row }),
        (row.clone(), 100..200u64).prop_map(|(row, n)| Tamper::Insert { row, n }),
        (row.clone(), 1..40usize)
            .prop_map(|(one, by)| Tamper::Swap { one, other: (one + by) % 40 }),
        row.clone().prop_map(|keep| Tamper::Truncate { keep }),
        (row, 100..200u64).prop_map(|(row, n)| Tamper::RewriteFrom { row, n }),
    ]
}

/// Chains rows anew from a place on, as somebody with the whole file can.
fn chained_again(rows: &[Row], from: usize, first: Option<u64>) -> Vec<Row> {
    let head = match from {
        0 => Head::empty(),
        n => Head { number: n as u64, hash: rows[n - 1].2[..].try_into().unwrap() },
    };
    let entries = (from..40).map(|place| match first {
        Some(n) if place == from => entry(n),
        _ => entry(place as u64 + 1),
    });
    [rows[..from].to_vec(), chain(head, entries).0].concat()
}

fn tampered(rows: &[Row], how: &Tamper) -> Vec<Row> {
    let mut rows = rows.to_vec();
    match *how {
        Tamper::Edit { row, at, bit } => {
            let at = at % rows[row].1.len();
            rows[row].1[at] ^= 1 << bit;
        }
        Tamper::Delete { row } => drop(rows.remove(row)),
        Tamper::DeleteClosingTheGap { row } => {
            rows.remove(row);
            rows[row..].iter_mut().for_each(|row| row.0 -= 1);
        }
        Tamper::Insert { row, n } => {
            let before = chained_again(&rows, row, Some(n))[row].clone();
            rows[row..].iter_mut().for_each(|row| row.0 += 1);
            rows.insert(row, before);
        }
        Tamper::Swap { one, other } => {
            (rows[one].0, rows[other].0) = (rows[other].0, rows[one].0);
        }
        Tamper::Truncate { keep } => rows.truncate(keep),
        Tamper::RewriteFrom { row, n } => rows = chained_again(&rows, row, Some(n)),
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn with_a_saved_head_every_tamper_is_found_even_when_the_note_is_forged_too(how in tamper()) {
        let (rows, head) = sound(40);
        let tampered = tampered(&rows, &how);
        let own = match tampered.iter().max_by_key(|row| row.0) {
            Some((number, _, hash)) => Head { number: *number as u64, hash: hash[..].try_into().unwrap() },
            None => Head::empty(),
        };
        prop_assert!(verify(&tampered, own, Some(head)).is_err(), "{how:?}");
    }
}
