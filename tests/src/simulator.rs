//! The simulator: whole workspaces under faults, decided by a seed.

pub mod attempt;
pub mod plan;
pub mod seeds;
pub mod shrink;
pub mod stage;
