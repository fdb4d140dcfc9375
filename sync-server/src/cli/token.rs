//! `sync-server token`: tokens of the server's own key, for development and for scripts.

use std::time::Duration;

use clap::Args;
use crdt_core::id::MemberId;
use sync_server::clock;
use sync_server::config::ServerConfig;
use sync_server::token::{TTL_S_MAX, TokenKey};

use super::{Failure, Target, machine, say};

#[derive(Args)]
pub(crate) struct TokenCommand {
    #[command(flatten)]
    target: Target,
    /// The member's id, as `member add` printed it
    #[arg(long, value_name = "UUID")]
    member: MemberId,
    /// How long it is valid; without it, as configured
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TTL_S_MAX))]
    ttl: Option<u64>,
}

pub(super) fn run(config: &ServerConfig, command: &TokenCommand) -> Result<(), Failure> {
    let key = TokenKey::open_or_create(&config.token_key()).map_err(machine)?;
    let ttl = command.ttl.map_or(config.token.ttl, Duration::from_secs);
    say(&key.mint(&command.target.workspace, command.member, clock::now(), ttl))
}
