//! Edits, restores of the server and devices that are gone for good, by seeds.

use tests::harness::given_back;
use tests::simulator::cores::on_every_core;
use tests::simulator::seeds::seeds_of;

/// Schedules unless `FIELDBOOK_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 30;

#[test]
fn whatever_a_device_still_holds_comes_back_once_and_everybody_agrees() {
    let seeds = seeds_of("FIELDBOOK_SCHEDULES", SCHEDULES);
    let all = on_every_core(&seeds, |seed| given_back::run(*seed));
    let restores: usize = all.iter().map(|ran| ran.restores).sum();
    let taken: u64 = all.iter().map(|ran| ran.taken).sum();
    println!("{} schedules, {restores} restores, {taken} changes given back", seeds.len());
    if seeds.len() as u64 >= SCHEDULES {
        assert!(restores >= 30 && taken >= 100, "{restores} restores, {taken} changes given back");
    }
}
