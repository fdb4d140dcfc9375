//! The promises of a workspace: what it takes, what it refuses, and that a refusal harms nothing else.

#[path = "support/shared.rs"]
mod support;

mod workspace {
    mod accepting;
    mod access {
        mod children;
        mod devices;
        mod kept;
        mod leaks;
        mod managing;
        mod policies;
        mod roles;
    }
    mod handshakes;
    mod identity;
    mod refusing;
    mod storage;
}
