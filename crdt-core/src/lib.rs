//! The pure middle of Fieldbook: records, merging, the door, the schema and the wire format.
//!
//! Nothing here opens a socket or a file, reads a clock, draws a random number or spawns a task: time,
//! identity and randomness arrive as arguments. Wire bytes appear only under [`protocol`], Automerge's API
//! only under [`record`].
#![warn(clippy::unwrap_used)]

pub mod id;
pub mod limits;
pub mod planted;
pub mod policy;
pub mod protocol;
pub mod record;
pub mod schema;
pub mod time;
