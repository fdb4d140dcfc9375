//! The sync server: takes batches from devices, orders them in each workspace's log, and sends pages.
//!
//! A [`workspace::Workspace`] judges batches through the door of `crdt-core` and keeps the log; it is
//! synchronous and takes time and randomness as arguments. A [`session::Session`] is one connection as a
//! state machine. [`workspaces`] and [`connection`] drive both with threads and sockets, [`server`] puts
//! them on a port.

#![warn(clippy::unwrap_used)]

pub mod admin;
pub mod audit;
pub mod clock;
pub mod config;
pub mod connection;
pub mod failpoint;
pub mod http;
pub mod identity;
pub mod ledger;
pub mod quotas;
mod rate;
pub mod server;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod workspace;
pub mod workspaces;
