//! Stories of the device alone: what it promises to its user without a network, and what it makes of a
//! server's answers and pages. The server is a stand-in that accepts what it is told to.

mod answers;
mod clocks;
mod file;
mod harness;
mod merging;
mod pages;
mod questions;
mod records;
mod simulation;
