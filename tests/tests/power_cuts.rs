//! Power cuts at every operation of the standard workload: unsynced writes are lost, torn and reordered, and
//! everything that was confirmed is there, whole, in a sound file that takes the next write.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use client_sdk::{Client, Edits};
use crdt_core::id::MemberId;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tests::harness::replay_command;
use tests::standard::device::{DeviceStep, config};
use tests::standard::digest::{connect, digest, fault};
use tests::standard::truth::Truth;
use tests::standard::{Rehearsed, Stand, Syncs, Tape, rehearse, server};
use tests::vfs::medium::Image;

/// Cuts of each database unless `FIELDBOOK_POWER_CUTS` says otherwise.
const CUTS: usize = 10_000;
/// The device's file is made on the disk; the server's is found there by its first operation.
const FIRST: usize = 0;
const FOUND: usize = 1;
/// After one cut in so many the real store opens the file and goes on; after the others SQLite alone does.
const OPENED: u64 = 8;
/// After one cut in so many everything is read: indexes, and each document's history.
const SAMPLE: u64 = 100;

/// The rehearsal on honest disks, gone through once.
fn rehearsed() -> &'static Rehearsed {
    static REHEARSED: OnceLock<Rehearsed> = OnceLock::new();
    REHEARSED.get_or_init(|| rehearse(Syncs::Honest))
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// One cut: behind which operation, and by which seed.
#[derive(Debug, Clone, Copy)]
struct Cut {
    ops: usize,
    seed: u64,
}

/// Spreads `wanted` cuts over all operations from `first` on; where everything is synced one cut is as good
/// as many.
fn cuts<S>(tape: &Tape<S>, first: usize, wanted: usize) -> Vec<Cut> {
    let mut replay = tape.recording.replay();
    let places: Vec<(usize, bool)> = (first..=tape.recording.len())
        .map(|ops| {
            replay.advance_to(ops);
            (ops, replay.is_synced())
        })
        .collect();
    let open = places.iter().filter(|(_, synced)| !*synced).count();
    let each = wanted.saturating_sub(places.len() - open).div_ceil(open.max(1));
    let mut cuts = Vec::new();
    for (ops, synced) in places {
        for _ in 0..if synced { 1 } else { each } {
            cuts.push(Cut { ops, seed: cuts.len() as u64 });
        }
    }
    if let Some(seed) = number("FIELDBOOK_SEED") {
        cuts.retain(|cut| cut.seed == seed as u64);
    }
    cuts
}

/// Makes the cuts on every core; gives what is wrong after them, by seed.
fn strike<S: Sync>(
    tape: &Tape<S>,
    cuts: &[Cut],
    check: impl Fn(&Stand, &Path, Cut) -> Result<(), String> + Sync,
) -> Vec<(Cut, String)> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let check = &check;
    thread::scope(|scope| {
        let runs: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let stand = Stand::new();
                    let mut replay = tape.recording.replay();
                    let mut wrong = Vec::new();
                    for cut in cuts.iter().skip(worker).step_by(workers) {
                        replay.advance_to(cut.ops);
                        let image = replay.after_power_cut(&mut StdRng::seed_from_u64(cut.seed));
                        let path = stand.put(&tape.path, &image);
                        if let Err(problem) = check(&stand, &path, *cut) {
                            wrong.push((*cut, problem));
                        }
                    }
                    wrong
                })
            })
            .collect();
        let wrong = runs.into_iter();
        wrong.flat_map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn report(what: &str, cuts: &[Cut], wrong: &[(Cut, String)]) {
    let Some((cut, problem)) = wrong.first() else { return };
    panic!(
        "{} of {} cuts of the {what} went wrong; the first, behind operation {}: {problem}\n{}",
        wrong.len(),
        cuts.len(),
        cut.ops,
        replay_command(cut.seed)
    );
}

/// What SQLite finds: a sound file, a state that may be there, and room for the next write.
fn check_file(truth: Option<&Truth>, stand: &Stand, path: &Path, cut: Cut) -> Result<(), String> {
    let connection = connect(stand.disk(), path).map_err(text)?;
    let sound: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(text)?;
    if sound != "ok" {
        return Err(sound);
    }
    if let Some(truth) = truth {
        let state = digest(&connection).map_err(text)?;
        truth.fault(cut.ops, state).map_or(Ok(()), Err)?;
    }
    let next = "PRAGMA journal_mode = WAL; CREATE TABLE next (value)";
    connection.execute_batch(next).map_err(|error| format!("the next write: {error}"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

// ------------------------------------------------------------------------------------------- device

fn device_states(tape: &Tape<DeviceStep>) -> Truth {
    Truth::of(tape, tape.steps[0].ops.end, DeviceStep::is_durable)
}

fn check_device(
    truth: &Truth,
    born: usize,
    stand: &Stand,
    path: &Path,
    cut: Cut,
) -> Result<(), String> {
    let known = (cut.ops >= born).then_some(truth);
    if known.is_some() && !cut.seed.is_multiple_of(OPENED) {
        return check_file(known, stand, path, cut);
    }
    let config = config(path, "ada", Some(stand.disk()), cut.seed + 1_000);
    let client = Client::open(config).map_err(text)?;
    if let Some(damaged) = &client.open_report().damaged {
        return Err(format!("the file was set aside: {}", damaged.problem));
    }
    let connection = connect(stand.disk(), path).map_err(text)?;
    if let Some(truth) = known {
        let state = digest(&connection).map_err(text)?;
        truth.fault(cut.ops, state).map_or(Ok(()), Err)?;
    }
    let before = client.unsent().map_err(text)?.batches;
    client.create("account", Edits::new().set("name", "Next")).map_err(text)?;
    if client.unsent().map_err(text)?.batches != before + 1 {
        return Err("the next edit is not in the outbox".to_owned());
    }
    if !client.accounting().map_err(text)?.balances() {
        return Err("the account does not balance".to_owned());
    }
    if cut.seed.is_multiple_of(SAMPLE) {
        fault(&connection).map_err(text)?.map_or(Ok(()), Err)?;
        let verified = client.verify().map_err(text)?;
        if !verified.differing.is_empty() {
            return Err(format!("cells differ from history: {:?}", verified.differing));
        }
    }
    client.close();
    Ok(())
}

#[test]
fn a_device_that_loses_its_power_anywhere_has_everything_that_it_confirmed() {
    let tape = &rehearsed().device;
    let truth = device_states(tape);
    let cuts = cuts(tape, FIRST, number("FIELDBOOK_POWER_CUTS").unwrap_or(CUTS));
    let born = tape.steps[0].ops.end;
    let wrong =
        strike(tape, &cuts, |stand, path, cut| check_device(&truth, born, stand, path, cut));
    println!("{} cuts, {} operations, {} states", cuts.len(), tape.recording.len(), truth.len());
    report("device", &cuts, &wrong);
}

// ------------------------------------------------------------------------------------------- server

fn check_server(truth: &Truth, stand: &Stand, path: &Path, cut: Cut) -> Result<(), String> {
    if !cut.seed.is_multiple_of(OPENED) {
        return check_file(Some(truth), stand, path, cut);
    }
    let mut workspace = server::open(path, stand.disk()).map_err(text)?;
    let connection = connect(stand.disk(), path).map_err(text)?;
    let state = digest(&connection).map_err(text)?;
    truth.fault(cut.ops, state).map_or(Ok(()), Err)?;
    if let Some(fault) = fault(&connection).map_err(text)? {
        return Err(fault);
    }
    let head = workspace.head().map_err(text)?;
    let next = MemberId::from_source_key("standard member", "next");
    workspace.put_member(&next, "Next").map_err(text)?;
    if workspace.head().map_err(text)? != head {
        return Err("the head has moved by itself".to_owned());
    }
    Ok(())
}

#[test]
fn a_server_that_loses_its_power_anywhere_has_everything_that_it_acknowledged() {
    let tape = &rehearsed().server;
    let truth = Truth::of(tape, FOUND, |_| true);
    let cuts = cuts(tape, FOUND, number("FIELDBOOK_POWER_CUTS").unwrap_or(CUTS));
    let wrong = strike(tape, &cuts, |stand, path, cut| check_server(&truth, stand, path, cut));
    println!("{} cuts, {} operations, {} states", cuts.len(), tape.recording.len(), truth.len());
    report("server", &cuts, &wrong);
}

// -------------------------------------------------------------------------------------- the check

#[test]
fn disks_that_only_say_that_they_sync_are_found_out() {
    let rehearsed = rehearse(Syncs::Lying);
    let wanted = CUTS / 10;
    let device = &rehearsed.device;
    let truth = device_states(device);
    let born = device.steps[0].ops.end;
    let some: Vec<Cut> = cuts(device, FIRST, wanted).into_iter().step_by(9).collect();
    let wrong =
        strike(device, &some, |stand, path, cut| check_device(&truth, born, stand, path, cut));
    println!("a lying disk: {} of {} cuts of the device are wrong", wrong.len(), some.len());
    assert!(wrong.len() * 2 > some.len(), "the check of the device cannot fail");

    let server = &rehearsed.server;
    let truth = Truth::of(server, FOUND, |_| true);
    let some: Vec<Cut> = cuts(server, FOUND, wanted).into_iter().step_by(9).collect();
    let wrong = strike(server, &some, |stand, path, cut| check_server(&truth, stand, path, cut));
    println!("a lying disk: {} of {} cuts of the server are wrong", wrong.len(), some.len());
    assert!(wrong.len() * 2 > some.len(), "the check of the server cannot fail");
}

#[test]
fn what_is_synced_survives_and_what_is_not_is_lost_or_torn() {
    use tests::vfs::medium::{Medium, Op};
    let name: std::sync::Arc<str> = "file".into();
    let mut medium = Medium::default();
    medium.apply(&Op::Created(name.clone()));
    medium.apply(&Op::Wrote(name.clone(), 0, vec![1; 4_096].into()));
    medium.apply(&Op::Synced(name.clone()));
    medium.apply(&Op::Wrote(name.clone(), 0, vec![2; 4_096].into()));
    let mut seen = [false; 3];
    for seed in 0..200 {
        let image: Image = medium.after_power_cut(&mut StdRng::seed_from_u64(seed));
        let bytes = image[&name].as_ref().expect("the file was synced");
        let kept = bytes.iter().filter(|byte| **byte == 2).count();
        seen[match kept {
            0 => 0,
            4_096 => 1,
            _ => 2,
        }] = true;
    }
    assert_eq!(seen, [true; 3], "lost, kept and torn");
    medium.apply(&Op::SyncFailed(name.clone()));
    medium.apply(&Op::Synced(name.clone()));
    let image = medium.after_power_cut(&mut StdRng::seed_from_u64(1));
    assert_eq!(image[&name].as_deref(), Some(&[1; 4_096][..]), "a failed sync saves nothing later");
    assert_eq!(medium.contents("file"), Some(&[2; 4_096][..]), "and is readable until then");
}
