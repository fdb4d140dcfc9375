//! Corners: circumstances that faults at random hardly ever bring together, by seeds.

use tests::harness::corners;
use tests::simulator::cores::on_every_core;
use tests::simulator::seeds::seeds_of;

/// Schedules unless `FIELDBOOK_SCHEDULES` says otherwise: ten of each corner.
const SCHEDULES: u64 = 60;

#[test]
fn whatever_comes_together_in_a_corner_everybody_agrees_and_nothing_is_lost() {
    let seeds = seeds_of("FIELDBOOK_SCHEDULES", SCHEDULES);
    on_every_core(&seeds, |seed| corners::run(*seed));
    println!("{} schedules", seeds.len());
}
