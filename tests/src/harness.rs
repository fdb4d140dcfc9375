//! A deterministic simulation of whole workspaces: real clients, a real server, real SQLite; simulated time
//! and network. One seed decides everything, and a failure prints it.

pub mod bare;
pub mod corners;
pub mod device;
pub mod digest;
pub mod files;
pub mod given_back;
mod images;
pub mod ledger;
pub mod network;
pub mod probes;
pub mod put_back;
pub mod schedule;
pub mod server;
pub mod survey;
pub mod tally;
pub mod time;
pub mod trace;
pub mod user;
pub mod workday;
pub mod world;

/// The command that replays the running test with a seed.
#[must_use]
pub fn replay_command(seed: u64) -> String {
    let program = std::env::args().next().unwrap_or_default();
    let file = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let target = file.rsplit_once('-').map_or(file, |(name, _)| name);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    format!(
        "replay: FIELDBOOK_SEED={seed} cargo test -p tests --test {target} -- {test} --exact --nocapture"
    )
}
