//! What the example programs share: reading CRM exports into records, a generated sample of one, and the
//! demo's story.
//!
//! [`import`] and [`sample`] know neither SDK nor server: input becomes records with references resolved and
//! a report of every row. [`field_day`] takes them through both.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod field_day;
pub mod import;
pub mod sample;
pub mod stage;
