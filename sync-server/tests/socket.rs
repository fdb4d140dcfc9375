//! The promises of the whole server, over real sockets on a free port.

#[path = "support/shared.rs"]
mod support;

mod socket {
    mod access;
    mod bombs;
    mod client;
    mod crowds;
    mod identity;
    mod limits;
    mod panics;
    mod sessions;
}
