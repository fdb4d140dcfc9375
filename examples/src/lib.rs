//! What the example programs share: reading CRM exports into records, and a generated sample of one.
//!
//! Nothing here knows the SDK or the server: input becomes records with references resolved and a
//! report of every row, and the programs decide what to do with them.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod import;
pub mod sample;
