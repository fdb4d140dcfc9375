//! The eight fuzz targets over their committed corpus, and over mutations of it from a seed.
//!
//! `FIELDBOOK_CASES=100` tries a hundred times as many. `FIELDBOOK_FUZZ_SEED=n` begins with another seed, and
//! `FIELDBOOK_WRITE_CORPUS=1` writes the honest inputs anew.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use tests::fuzz::{Mutator, Target, corpus, corpus_folder, seeds, target};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// One target at a time, so that the memory that is counted is its own.
static ALONE: Mutex<()> = Mutex::new(());

/// Inputs of each target.
const INPUTS: u64 = 4_000;
/// The longest that one input may take.
const TIME_MAX: Duration = Duration::from_millis(250);
/// The most memory that one input may use beyond what is there before it.
const MEMORY_MAX: usize = 64 << 20;
/// All committed inputs together, bytes.
const CORPUS_BYTES_MAX: u64 = 200_000;

/// Says which input broke a promise, when one does.
struct Replay<'a> {
    target: &'a str,
    bytes: &'a [u8],
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { target, bytes, seed } = self;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!(
                "FIELDBOOK_FUZZ_SEED={seed} cargo test -p tests --test fuzz {target}; the input: {hex}"
            );
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fuzz(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = target(name).unwrap();
    let inputs = corpus(name).unwrap();
    assert!(!inputs.is_empty(), "an empty corpus finds nothing");
    for bytes in &inputs {
        try_one(&target, bytes, 0);
    }
    let (mut slowest, mut most, begun) = (Duration::ZERO, 0, Instant::now());
    let first = number("FIELDBOOK_FUZZ_SEED", 1);
    let count = INPUTS * number("FIELDBOOK_CASES", 1);
    for seed in first..first + count {
        let bytes = Mutator::new(seed).next(&inputs);
        let (took, memory) = try_one(&target, &bytes, seed);
        (slowest, most) = (slowest.max(took), most.max(memory));
    }
    println!(
        "{name}: {count} inputs in {:?}, slowest {slowest:?}, most {} KiB",
        begun.elapsed(),
        most >> 10
    );
}

/// Runs an input; a long time is measured again, since another process may have had the core.
fn try_one(target: &Target, bytes: &[u8], seed: u64) -> (Duration, usize) {
    let replay = Replay { target: target.name, bytes, seed };
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let mut took = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        (target.run)(bytes);
        took = took.min(begun.elapsed());
        if took < TIME_MAX / 10 {
            break;
        }
    }
    let memory = HEAP.peak_usage().saturating_sub(before);
    // The first input of all builds what lives as long as the process.
    assert!(took < TIME_MAX || seed == 0, "{took:?}");
    assert!(memory < MEMORY_MAX, "{memory} bytes");
    drop(replay);
    (took, memory)
}

#[test]
fn frames_end_in_at_most_one_goodbye_and_no_more_than_was_granted() {
    fuzz("frames");
}

#[test]
fn message_decoding_loses_nothing() {
    fuzz("message");
}

#[test]
fn change_judged_leaves_everything_readable() {
    fuzz("change");
}

#[test]
fn document_bytes_load_as_they_say_or_not_at_all() {
    fuzz("document");
}

#[test]
fn stored_row_damage_is_an_error() {
    fuzz("stored_row");
}

#[test]
fn token_bytes_are_good_only_as_they_were_signed() {
    fuzz("token");
}

#[test]
fn csv_rows_are_read_or_reported() {
    fuzz("csv");
}

#[test]
fn schema_policy_texts_parse_to_the_same_again() {
    fuzz("schema_policy");
}

#[test]
fn the_corpus_is_small_and_holds_the_honest_inputs() {
    let write = std::env::var_os("FIELDBOOK_WRITE_CORPUS").is_some();
    let mut bytes = 0;
    for target in tests::fuzz::TARGETS {
        let folder = corpus_folder(target.name);
        for (name, honest) in seeds(target.name) {
            let path = folder.join(name);
            if write {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &honest).unwrap();
            }
            assert!(path.exists(), "{} is missing", path.display());
        }
        bytes += corpus(target.name).unwrap().iter().map(|one| one.len() as u64).sum::<u64>();
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}
