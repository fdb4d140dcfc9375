//! The promises of a workspace: what it takes, what it refuses, and that a refusal harms nothing else.

#[path = "support/shared.rs"]
mod support;

mod workspace {
    mod accepting;
    mod handshakes;
    mod identity;
    mod refusing;
    mod storage;
}
