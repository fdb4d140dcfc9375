//! The promises of a feed: a device that applies its pages ends with what the server has in its scopes.

#[path = "support/shared.rs"]
mod support;

mod feed {
    mod folding;
    mod following;
    mod losing;
    mod passing;
    mod schedules;
    mod shared;
    mod territories;
}
