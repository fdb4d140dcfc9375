//! Hostile changes at the door: 200,000 mutated ones are judged without a panic, cheaply, and none that passes
//! leaves a document that cannot be read.
//!
//! `FIELDBOOK_CASES=25` judges five million. `FIELDBOOK_HOSTILE_SEED=n` judges those of one seed.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[path = "support/mutation.rs"]
mod mutation;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use automerge::transaction::{CommitOptions, Transactable};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Change, Document};
use history::History;
use history::random::{Random, cases};
use peak_alloc::PeakAlloc;
use server::{Server, Verdict};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Mutated changes of one run.
const CHANGES: usize = 200_000;
/// The longest that one judgement may take.
const TIME_MAX: Duration = Duration::from_millis(50);
/// The most memory that all threads together may use beyond what they began with.
const MEMORY_MAX: usize = 32 << 20;

/// What judging showed.
#[derive(Default)]
struct Tally {
    tried: usize,
    admitted: usize,
    refused: BTreeMap<&'static str, usize>,
    slowest: Duration,
}

/// Says how to try a seed again, when its thread panics.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("FIELDBOOK_HOSTILE_SEED={seed} cargo test -p crdt-core --test hostile");
        }
    }
}

#[test]
fn no_mutated_change_panics_costs_much_or_leaves_a_document_that_cannot_be_read() {
    if let Ok(seed) = std::env::var("FIELDBOOK_HOSTILE_SEED") {
        judge_seed(seed.parse().expect("a seed is a number"), &mut Tally::default());
        return;
    }
    // What is made once for the process is no change's cost.
    judge_seed(u64::MAX, &mut Tally::default());
    let (wanted, begun) = (CHANGES * cases(), Instant::now());
    let (seeds, tried) = (AtomicU64::new(0), AtomicUsize::new(0));
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4);
    let work = || {
        let mut tally = Tally::default();
        while tried.load(Ordering::Relaxed) < wanted {
            let already = tally.tried;
            judge_seed(seeds.fetch_add(1, Ordering::Relaxed), &mut tally);
            tried.fetch_add(tally.tried - already, Ordering::Relaxed);
        }
        tally
    };
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("the seed is above")).collect()
    });
    let memory = HEAP.peak_usage().saturating_sub(before);
    let all = tallies.into_iter().fold(Tally::default(), Tally::with);
    println!(
        "{} changes in {:?} on {threads} threads: {} admitted, slowest {:?}, {} KiB, {:?}",
        all.tried,
        begun.elapsed(),
        all.admitted,
        all.slowest,
        memory >> 10,
        all.refused
    );
    assert!(all.tried >= wanted);
    assert!(all.admitted > wanted / 100, "{} passed: too few to mean anything", all.admitted);
    assert!(all.refused.len() >= 15, "too few reasons: {:?}", all.refused);
    assert!(memory < MEMORY_MAX, "{memory} bytes");
}

/// Both held a change that names a removal among its predecessors: cells and index let it in, and the document
/// could not be loaded any more.
#[test]
fn seeds_that_once_broke_a_promise_keep_it() {
    for seed in [452, 817] {
        judge_seed(seed, &mut Tally::default());
    }
}

impl Tally {
    fn with(mut self, other: Self) -> Self {
        self.tried += other.tried;
        self.admitted += other.admitted;
        self.slowest = self.slowest.max(other.slowest);
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self
    }
}

fn judge_seed(seed: u64, tally: &mut Tally) {
    let replay = Replay(seed);
    let history = History::of_seed(["account", "opportunity"][seed as usize % 2], 3, 25, seed);
    let mut random = Random::new(seed ^ 0xBAD);
    let mut server = Server::of(&history.entity.name, history.now());
    for (change, encoded) in &history.changes {
        for _ in 0..16 {
            let mutated = mutation::mutate(change, &history, &mut random);
            tally.tried += 1;
            let before = server.cells.clone();
            let (verdict, took) = timed(&server, &mutated);
            tally.slowest = tally.slowest.max(took);
            assert!(took < TIME_MAX, "{took:?} for {mutated:?}");
            match verdict {
                Verdict::Admitted(passed) => {
                    tally.admitted += 1;
                    assert_readable(&server, &mutated, &passed.encoded.bytes, &passed.cells, seed);
                }
                Verdict::Held => *tally.refused.entry("held").or_default() += 1,
                Verdict::Refused(reason) => {
                    *tally.refused.entry(reason.code()).or_default() += 1;
                }
            }
            assert_eq!(server.cells, before, "judging changes nothing");
        }
        server.take(change, encoded);
    }
    drop(replay);
}

/// Judges, and says how long that takes. A long time is measured again: another process may have had the
/// core, and judging changes nothing.
fn timed(server: &Server, change: &Change) -> (Verdict, Duration) {
    let begun = Instant::now();
    let verdict = server.judge_claimed(change);
    let mut took = begun.elapsed();
    for _ in 0..10 {
        if took < TIME_MAX / 10 {
            break;
        }
        let begun = Instant::now();
        let _again = server.judge_claimed(change);
        took = took.min(begun.elapsed());
    }
    (verdict, took)
}

/// The document with the change loads, has these cells, and takes another local edit of Automerge's own.
fn assert_readable(server: &Server, change: &Change, bytes: &[u8], cells: &Cells, seed: u64) {
    let case = || format!("seed {seed}: {change:?}");
    let mut document = server.document();
    document.apply(&change.encode()).unwrap_or_else(|e| panic!("{e}: {}", case()));
    assert_eq!(change.encode().bytes, bytes, "{}", case());
    assert_eq!(document.cells().unwrap(), *cells, "{}", case());
    let saved = document.save().unwrap();
    let again = Document::load(Purpose::Verify, Some(&saved), []).unwrap_or_else(|e| {
        panic!("{e}: {}", case());
    });
    assert_eq!(again.cells().unwrap(), *cells, "{}", case());
    let mut real = automerge::Automerge::load(&saved).unwrap();
    let mut transaction = real.transaction();
    transaction.put(automerge::ROOT, "probe", 1).unwrap();
    transaction.commit_with(CommitOptions::default());
    assert!(automerge::Automerge::load(&real.save()).is_ok(), "{}", case());
}
