//! A server that is put back to random older backups, by seeds.

use tests::harness::put_back;
use tests::simulator::cores::on_every_core;
use tests::simulator::seeds::seeds_of;

/// Schedules unless `FIELDBOOK_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 12;

#[test]
fn whatever_the_server_loses_it_gets_back_once_and_everybody_converges() {
    let seeds = seeds_of("FIELDBOOK_SCHEDULES", SCHEDULES);
    let lost: u64 = on_every_core(&seeds, |seed| put_back::run(*seed)).iter().sum();
    println!("{} schedules: {lost} batches were lost and are back", seeds.len());
    if seeds.len() as u64 >= SCHEDULES {
        assert!(lost > 150, "the schedules lose enough to prove something: {lost}");
    }
}
