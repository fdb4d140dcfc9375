//! What the tests of the whole system share: the deterministic simulation, and the real programs.

pub mod bench;
pub mod binaries;
pub mod fixtures;
pub mod fuzz;
pub mod harness;
pub mod kills;
pub mod load;
pub mod model;
pub mod organisation;
#[cfg(debug_assertions)]
pub mod planted;
pub mod real_server;
pub mod simulator;
pub mod standard;
pub mod vfs;
