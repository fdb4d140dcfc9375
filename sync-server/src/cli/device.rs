//! `sync-server device`: which devices there are, and shutting one out.

use clap::Subcommand;
use crdt_core::id::{DeviceId, MemberId};
use sync_server::admin::{AdminReply, AdminRequest, DeviceLine, parse_device};
use sync_server::config::ServerConfig;

use super::table::{Table, or_dash};
use super::{Failure, Output, Target, ask, say, say_json, unexpected};

#[derive(Subcommand)]
pub(crate) enum DeviceCommand {
    /// List devices, those seen last first
    List {
        #[command(flatten)]
        target: Target,
        /// Only this member's
        #[arg(long, value_name = "UUID")]
        member: Option<MemberId>,
        #[command(flatten)]
        output: Output,
    },
    /// Shut a device out: its sessions end, what it sends is refused, and it wipes itself when it comes back
    Revoke {
        #[command(flatten)]
        target: Target,
        /// The device's id, as `device list` shows it
        #[arg(value_parser = parse_device)]
        device: DeviceId,
    },
}

pub(super) fn run(config: &ServerConfig, command: DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::List { target, member, output } => {
            match ask(config, &target, AdminRequest::ListDevices { member })? {
                AdminReply::Devices(devices) if output.json => say_json(&devices),
                AdminReply::Devices(devices) => say(&table(&devices)),
                other => Err(unexpected(&other)),
            }
        }
        DeviceCommand::Revoke { target, device } => {
            match ask(config, &target, AdminRequest::RevokeDevice { device })? {
                AdminReply::Done => say(&format!("device {device} is shut out")),
                other => Err(unexpected(&other)),
            }
        }
    }
}

fn table(devices: &[DeviceLine]) -> String {
    let state = |line: &DeviceLine| if line.revoked { "revoked" } else { "active" }.to_owned();
    device_table("state", devices.iter().map(|line| (line, state(line))))
}

/// Devices, with one thing more about each.
pub(super) fn device_table<'a>(
    more: &str,
    devices: impl Iterator<Item = (&'a DeviceLine, String)>,
) -> String {
    let mut table = Table::new(&["device", "name", "member", "replica", "last seen", more]);
    for (line, more) in devices {
        table.row([
            line.device.to_string(),
            or_dash(Some(line.name.clone())),
            line.member_name.clone(),
            line.replica.clone(),
            line.last_seen.to_string(),
            more,
        ]);
    }
    table.text()
}
