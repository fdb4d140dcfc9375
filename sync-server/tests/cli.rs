//! The program as operators use it: with a server that holds the data directory, and without one.

#[path = "cli/auditing.rs"]
mod auditing;
#[cfg(unix)]
#[path = "cli/channel.rs"]
mod channel;
#[path = "cli/devices.rs"]
mod devices;
#[path = "cli/erasing.rs"]
mod erasing;
#[path = "cli/members.rs"]
mod members;
#[path = "cli/operator.rs"]
mod operator;
#[path = "cli/policies.rs"]
mod policies;
#[path = "cli/restore_killed.rs"]
mod restore_killed;
#[path = "cli/restoring.rs"]
mod restoring;
#[path = "cli/workspaces.rs"]
mod workspaces;
