//! Honest members among a crowd that holds sockets half open, does not read, and pushes without end. The
//! server is a process of its own; `cargo run --release -p tests --bin load` plays the same with a large crowd
//! and gives figures.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tests::load::{self, options::Options, report::percentile};

/// Far above what anything here takes, on a machine that has other things to do.
const ENDLESS: Duration = Duration::from_secs(10);

#[test]
fn among_half_open_sockets_deaf_devices_and_flooders_everybody_honest_is_served() {
    let options = Options::small();
    // Every edit of an honest member has to be accepted: the run fails otherwise.
    let report = load::run(&options).unwrap();
    println!("{report}");
    let edits = options.honest * options.rounds * options.pushes;
    let connects = options.honest * options.rounds;
    for measured in [&report.quiet, &report.loaded] {
        assert_eq!((measured.pushes.len(), measured.connects.len()), (edits, connects));
    }
    assert!(percentile(&report.loaded.connects, 1.0) < ENDLESS, "{report}");
    assert!(percentile(&report.loaded.pushes, 1.0) < ENDLESS, "{report}");
    // The crowd was there, and did what it came for.
    let flooded = report.tally.flooded.load(Ordering::Relaxed);
    assert!(flooded > 0 && report.open.1 > 0 && report.open.0 > 0, "{report}");
}
