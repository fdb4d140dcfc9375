//! The audit: what an entry says, and that nobody changes it unnoticed.

#[path = "audit/committed.rs"]
mod committed;
#[path = "audit/entries.rs"]
mod entries;
#[path = "audit/on_disk.rs"]
mod on_disk;
#[path = "audit/saying.rs"]
mod saying;
#[path = "support/shared.rs"]
mod support;
#[path = "audit/tampering.rs"]
mod tampering;
