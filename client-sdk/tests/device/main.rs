//! Stories of the device alone: what it promises to its user without a network, and what it makes of a
//! server's answers and pages. The server is a stand-in that accepts what it is told to.

mod access;
mod answers;
mod clocks;
mod disputes;
mod file;
mod harness;
mod identity;
mod losing;
mod merging;
mod pages;
mod questions;
mod rebasing;
mod records;
mod simulation;
