//! I/O errors at every operation of the standard workload's steps, once and twice in a row: a typed error,
//! memory and file as before, reads go on, the next write works, and a power cut right after takes nothing
//! that was confirmed. After a failed sync nothing is taken for durable that was written before it.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use client_sdk::{Client, Edits, Paging, StoreError};
use crdt_core::id::MemberId;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sync_server::store::StoreError as StorageError;
use sync_server::workspace::Workspace;
use tests::harness::replay_command;
use tests::standard::device::{DeviceStep, config};
use tests::standard::server::{self, ServerStep};
use tests::standard::truth::state;
use tests::standard::{Stand, Syncs, Tape, Taped, rehearse};
use tests::vfs::{Counts, Trouble};

/// Where a trouble strikes.
#[derive(Debug, Clone, Copy)]
struct Strike {
    step: usize,
    trouble: Trouble,
    after: u64,
    times: u64,
}

/// The states of a step's database, and the operations at which trouble can strike.
struct Plain {
    before: u64,
    after: u64,
    counts: Counts,
}

/// Of each kind of step the first, and the one that does most.
fn chosen<S: std::fmt::Debug>(tape: &Tape<S>, kind: impl Fn(&S) -> String) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut kinds: Vec<String> = tape.steps.iter().map(|taped| kind(&taped.step)).collect();
    kinds.sort();
    kinds.dedup();
    for wanted in kinds {
        let of = || (0..tape.steps.len()).filter(|step| kind(&tape.steps[*step].step) == wanted);
        let most = of().max_by_key(|step| tape.steps[*step].ops.len());
        chosen.extend(of().next().into_iter().chain(most));
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn strikes(steps: &[usize], plain: &[Plain]) -> Vec<Strike> {
    let mut strikes = Vec::new();
    for (step, plain) in steps.iter().zip(plain) {
        for trouble in Trouble::ALL {
            for after in 0..plain.counts.of(trouble) {
                for times in [1, 2] {
                    strikes.push(Strike { step: *step, trouble, after, times });
                }
            }
        }
    }
    if let Ok(seed) = std::env::var("FIELDBOOK_SEED") {
        let wanted: usize = seed.parse().expect("FIELDBOOK_SEED is a number");
        strikes = strikes.into_iter().skip(wanted).take(1).collect();
    }
    strikes
}

/// Strikes on every core; panics with the first thing that went wrong. Gives how many failed and how many
/// were absorbed.
fn sweep(
    what: &str,
    strikes: &[Strike],
    check: impl Fn(&Stand, &Strike) -> Result<Seen, String> + Sync,
) {
    println!("{what}: {} strikes", strikes.len());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let check = &check;
    let runs = thread::scope(|scope| {
        let runs: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let stand = Stand::new();
                    let own = strikes.iter().enumerate().skip(worker).step_by(workers);
                    own.map(|(number, strike)| (number, check(&stand, strike))).collect::<Vec<_>>()
                })
            })
            .collect();
        let runs = runs.into_iter();
        runs.flat_map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    if std::env::var("FIELDBOOK_SEED").is_ok() {
        return runs.into_iter().for_each(|(_, found)| assert!(found.is_ok(), "{found:?}"));
    }
    let count = |seen| runs.iter().filter(|(_, found)| *found == Ok(seen)).count();
    let (failed, absorbed) = (count(Seen::Failed), count(Seen::Absorbed));
    println!("{what}: {} strikes, {failed} failed, {absorbed} absorbed", runs.len());
    let mut wrong: Vec<_> =
        runs.iter().filter_map(|(number, found)| Some((number, found.as_ref().err()?))).collect();
    wrong.sort();
    if let Some((number, problem)) = wrong.first() {
        for (number, problem) in wrong.iter().take(12) {
            eprintln!("{:?}: {problem}", strikes[**number]);
        }
        panic!(
            "{} of {} strikes at the {what} went wrong; the first, {:?}: {problem}\n{}",
            wrong.len(),
            runs.len(),
            strikes[**number],
            replay_command(**number as u64)
        );
    }
    assert!(failed > runs.len() / 2, "most strikes are felt");
}

/// What became of a strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The step said that it failed.
    Failed,
    /// The step was done all the same.
    Absorbed,
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

// ------------------------------------------------------------------------------------------- device

/// Opens the file as the device does; a step done again draws the same random bytes.
fn open_device(stand: &Stand, path: &Path) -> Result<Client, StoreError> {
    Client::open(config(path, "ada", Some(stand.disk()), 77))
}

fn plain_device(tape: &Tape<DeviceStep>, taped: &Taped<DeviceStep>) -> Plain {
    let stand = Stand::new();
    let path = stand.put(&tape.path, &taped.before);
    if matches!(taped.step, DeviceStep::Open) {
        let before = stand.disk().counts();
        let client = open_device(&stand, &path).expect("a sound disk opens");
        let counts = since(before, stand.disk().counts());
        drop(client);
        let after = state(&stand, &path).expect("a sound file can be read");
        return Plain { before: after, after, counts };
    }
    let client = open_device(&stand, &path).expect("a sound disk opens");
    let before = state(&stand, &path).expect("a sound file can be read");
    let from = stand.disk().counts();
    taped.step.run(&client).expect("a sound disk takes every step");
    let counts = since(from, stand.disk().counts());
    Plain { before, after: state(&stand, &path).expect("a sound file can be read"), counts }
}

fn since(from: Counts, to: Counts) -> Counts {
    Counts {
        reads: to.reads - from.reads,
        writes: to.writes - from.writes,
        syncs: to.syncs - from.syncs,
    }
}

fn is_typed(error: &StoreError, trouble: Trouble) -> bool {
    match trouble {
        Trouble::Full => matches!(error, StoreError::Full),
        Trouble::ReadError | Trouble::ShortRead | Trouble::WriteError | Trouble::SyncError => {
            matches!(error, StoreError::Io(_))
        }
    }
}

fn strike_device(
    tape: &Tape<DeviceStep>,
    plain: &Plain,
    stand: &Stand,
    strike: &Strike,
) -> Result<Seen, String> {
    let taped = &tape.steps[strike.step];
    let path = stand.put(&tape.path, &taped.before);
    let opens = matches!(taped.step, DeviceStep::Open);
    let disk = stand.disk();
    let arm = || disk.fail(strike.trouble, strike.after, strike.times);
    let (client, done) = if opens {
        arm();
        match open_device(stand, &path) {
            Ok(client) => (Some(client), Ok(())),
            Err(error) => (None, Err(error)),
        }
    } else {
        let client = open_device(stand, &path).map_err(text)?;
        arm();
        let done = taped.step.run(&client);
        (Some(client), done)
    };
    let (_, struck) = disk.calm();
    if let Err(error) = &done {
        ensure(is_typed(error, strike.trouble), || format!("the error is {error:?}"))?;
        ensure(struck > 0, || format!("without a strike: {error}"))?;
    }
    let client = match client {
        Some(client) => client,
        None => open_device(stand, &path).map_err(|error| format!("not opened again: {error}"))?,
    };
    let damaged = client.open_report().damaged.as_ref();
    ensure(damaged.is_none(), || "a sound file was set aside".to_owned())?;
    if !opens {
        check_step(&taped.step, plain, &done, stand, &path)?;
    }
    go_on(client, stand, &path, strike)?;
    Ok(if done.is_ok() { Seen::Absorbed } else { Seen::Failed })
}

/// The file is as before a step that failed and as after one that did not, where a step is one transaction.
fn check_step(
    step: &DeviceStep,
    plain: &Plain,
    done: &Result<(), StoreError>,
    stand: &Stand,
    path: &Path,
) -> Result<(), String> {
    let now = state(stand, path).map_err(text)?;
    let (is_before, is_after) = (now == plain.before, now == plain.after);
    match (step.is_durable(), done) {
        (true, Ok(())) => ensure(is_after, || "it returned, and is not in the file".to_owned()),
        (true, Err(error)) => {
            ensure(is_before, || format!("it failed, and is in the file: {error}"))
        }
        // A page with what follows it, and idle work, are several transactions.
        (false, _) => Ok(()),
    }
}

/// Reads, writes, and a power cut.
fn go_on(client: Client, stand: &Stand, path: &Path, strike: &Strike) -> Result<(), String> {
    client
        .query("SELECT count(*) FROM account", &[], Paging::first(1))
        .map_err(|error| format!("no reading: {error}"))?;
    let hello = client.hello(String::new()).map_err(text)?;
    let next = client
        .create("account", Edits::new().set("name", "Next"))
        .map_err(|error| format!("the next write: {error}"))?;
    ensure(client.accounting().map_err(text)?.balances(), || "no balance".to_owned())?;
    let unsent = client.unsent().map_err(text)?;
    stand.disk().power_off(&mut StdRng::seed_from_u64(strike.after));
    drop(client);

    let client = open_device(stand, path).map_err(|error| format!("after the cut: {error}"))?;
    let damaged = client.open_report().damaged.as_ref().map(|damaged| damaged.problem.clone());
    damaged.map_or(Ok(()), |problem| Err(format!("the cut left damage: {problem}")))?;
    ensure(client.get(next).map_err(text)?.is_some(), || "the cut took a record".to_owned())?;
    ensure(client.unsent().map_err(text)? == unsent, || "the cut took a batch".to_owned())?;
    let again = client.hello(String::new()).map_err(text)?;
    ensure(
        (again.lease, again.receipt, again.replica) == (hello.lease, hello.receipt, hello.replica),
        || "the cut took what memory knew".to_owned(),
    )?;
    ensure(client.accounting().map_err(text)?.balances(), || "no balance at last".to_owned())
}

#[test]
fn a_device_says_what_failed_keeps_what_it_has_and_goes_on() {
    let tape = rehearse(Syncs::Honest).device;
    let steps = chosen(&tape, |step| format!("{step:?}"));
    let plain: Vec<Plain> =
        steps.iter().map(|step| plain_device(&tape, &tape.steps[*step])).collect();
    let strikes = strikes(&steps, &plain);
    sweep("device", &strikes, |stand, strike| {
        let place = steps.binary_search(&strike.step).map_err(|_| "no such step".to_owned())?;
        strike_device(&tape, &plain[place], stand, strike)
    });
}

// ------------------------------------------------------------------------------------------- server

fn plain_server(tape: &Tape<ServerStep>, taped: &Taped<ServerStep>) -> Plain {
    let stand = Stand::new();
    let path = stand.put(&tape.path, &taped.before);
    let begun = stand.disk().counts();
    let mut workspace = server::open(&path, stand.disk()).expect("a sound disk opens");
    let before = state(&stand, &path).expect("a sound file can be read");
    if matches!(taped.step, ServerStep::Open) {
        let counts = since(begun, stand.disk().counts());
        return Plain { before, after: before, counts };
    }
    let from = stand.disk().counts();
    taped.step.run(&mut workspace).expect("a sound disk takes every step");
    let counts = since(from, stand.disk().counts());
    Plain { before, after: state(&stand, &path).expect("a sound file can be read"), counts }
}

fn is_typed_storage(error: &StorageError, trouble: Trouble) -> bool {
    match trouble {
        Trouble::Full => matches!(error, StorageError::Full),
        Trouble::ReadError | Trouble::ShortRead | Trouble::WriteError | Trouble::SyncError => {
            matches!(error, StorageError::Backend(_))
        }
    }
}

fn strike_server(
    tape: &Tape<ServerStep>,
    plain: &Plain,
    stand: &Stand,
    strike: &Strike,
) -> Result<Seen, String> {
    let taped = &tape.steps[strike.step];
    let path = stand.put(&tape.path, &taped.before);
    let opens = matches!(taped.step, ServerStep::Open);
    let disk = stand.disk();
    let arm = || disk.fail(strike.trouble, strike.after, strike.times);
    let (workspace, done) = if opens {
        arm();
        match server::open(&path, disk) {
            Ok(workspace) => (Some(workspace), Ok(())),
            Err(error) => (None, Err(error)),
        }
    } else {
        let mut workspace = server::open(&path, disk).map_err(text)?;
        arm();
        let done = taped.step.run(&mut workspace).map(drop);
        (Some(workspace), done)
    };
    let (_, struck) = disk.calm();
    if let Err(error) = &done {
        ensure(is_typed_storage(error, strike.trouble), || format!("the error is {error:?}"))?;
        ensure(struck > 0, || format!("without a strike: {error}"))?;
    }
    let workspace = match workspace {
        Some(workspace) => workspace,
        None => server::open(&path, disk).map_err(|error| format!("not opened again: {error}"))?,
    };
    let single = !matches!(taped.step, ServerStep::Rescope | ServerStep::Fold);
    if single {
        let now = state(stand, &path).map_err(text)?;
        match &done {
            Ok(()) => ensure(now == plain.after, || "acknowledged and not stored".to_owned())?,
            Err(error) => ensure(now == plain.before, || format!("failed and stored: {error}"))?,
        }
    }
    go_on_serving(workspace, stand, &path, strike)?;
    Ok(if done.is_ok() { Seen::Absorbed } else { Seen::Failed })
}

fn go_on_serving(
    mut workspace: Workspace,
    stand: &Stand,
    path: &Path,
    strike: &Strike,
) -> Result<(), String> {
    let head = workspace.head().map_err(|error| format!("no reading: {error}"))?;
    workspace.reload().map_err(|error| format!("not read anew: {error}"))?;
    let next = MemberId::from_source_key("standard member", "next");
    workspace.put_member(&next, "Next").map_err(|error| format!("the next write: {error}"))?;
    let kept = state(stand, path).map_err(text)?;
    stand.disk().power_off(&mut StdRng::seed_from_u64(strike.after));
    drop(workspace);
    let workspace =
        server::open(path, stand.disk()).map_err(|error| format!("after the cut: {error}"))?;
    ensure(workspace.head().map_err(text)? == head, || "the cut moved the head".to_owned())?;
    let again = state(stand, path).map_err(text)?;
    ensure(again == kept, || "the cut took what was stored".to_owned())
}

#[test]
fn a_server_acknowledges_nothing_that_is_not_stored_and_goes_on() {
    let tape = rehearse(Syncs::Honest).server;
    let kind = |step: &ServerStep| {
        format!("{step:?}").chars().take_while(char::is_ascii_alphabetic).collect()
    };
    let steps = chosen(&tape, kind);
    let plain: Vec<Plain> =
        steps.iter().map(|step| plain_server(&tape, &tape.steps[*step])).collect();
    let strikes = strikes(&steps, &plain);
    sweep("server", &strikes, |stand, strike| {
        let place = steps.binary_search(&strike.step).map_err(|_| "no such step".to_owned())?;
        strike_server(&tape, &plain[place], stand, strike)
    });
}
