//! Seeded workdays of an organisation with roles: whatever is refused, moved, taken away or cut off, no accepted
//! edit is lost, no refused value reaches anybody else, every edit is in one place at every step, every queue
//! empties, and in the evening each device holds exactly what its member may see.

use tests::harness::workday::{self, Ran};
use tests::simulator::cores::on_every_core;
use tests::simulator::seeds::seeds_of;

/// Workdays unless `FIELDBOOK_WORKDAYS` says otherwise.
const WORKDAYS: u64 = 60;

#[test]
fn whatever_is_refused_moved_or_taken_away_every_edit_is_in_one_place_and_everybody_has_their_own()
{
    let seeds = seeds_of("FIELDBOOK_WORKDAYS", WORKDAYS);
    let mut ran = Ran::default();
    for one in on_every_core(&seeds, |seed| workday::run(*seed)) {
        ran.confirmed += one.confirmed;
        ran.disputed += one.disputed;
        ran.advised_against += one.advised_against;
        ran.changes_of_access += one.changes_of_access;
    }
    println!("{} workdays: {ran:?}", seeds.len());
    if seeds.len() as u64 >= WORKDAYS {
        assert!(ran.confirmed > 1_000, "{ran:?}");
        assert!(ran.disputed > 100, "{ran:?}");
        assert!(ran.advised_against > 100, "{ran:?}");
        assert!(ran.changes_of_access > 200, "{ran:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_workday() {
    let (one, other) = (workday::run(9_101), workday::run(9_101));
    assert_eq!(one, other);
}
