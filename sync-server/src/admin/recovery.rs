//! How a workspace comes back after it was restored, as an operator sees it.

use std::collections::BTreeMap;

use crdt_core::id::{DeviceId, MemberId, ReplicaId};
use crdt_core::protocol::Recovery;
use crdt_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::AdminError;
use super::request::AdminReply;
use crate::store::recovery::Restoration;
use crate::workspace::{Recovering, RecoveryStatus, RelayStatus, SERVER, Workspace};

/// How a restored log begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredLine {
    /// The new log's identity.
    pub epoch: String,
    /// The last position of the backup.
    pub position: u64,
    /// The last position of the log that was replaced, when it could be read.
    pub ended: Option<u64>,
    /// Batches that the log lost, as far as is known.
    pub lost: u64,
}

impl RestoredLine {
    pub(super) fn of(status: &RecoveryStatus, restoration: &Restoration) -> Self {
        Self {
            epoch: status.epoch.to_string(),
            position: status.head,
            ended: restoration.ended,
            lost: status.lost,
        }
    }
}

/// How far a workspace has come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryLines {
    /// The present log's identity.
    pub epoch: String,
    /// Its last position.
    pub head: u64,
    /// The latest backup of it.
    pub backup: Option<BackupLine>,
    /// How it began; nothing when it is the workspace's first.
    pub restored: Option<RestorationLine>,
    /// Batches that it lost, as far as is known.
    pub lost: u64,
    /// Those of them that came back.
    pub returned: u64,
    /// Those that did not, by their old places; the first of them.
    pub missing: Vec<MissingLine>,
    /// Those that did not, beside the ones above.
    pub more_missing: u64,
    /// Every database, those with something missing first.
    pub devices: Vec<RecoveringLine>,
    /// Databases that stand beyond the end of the log.
    pub ahead: Vec<AheadLine>,
    /// Whether nobody is served until the operator has spoken.
    pub halted: bool,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupLine {
    /// Up to where it holds the log.
    pub position: u64,
    /// When it was made.
    pub at: Timestamp,
}

/// How a log began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorationLine {
    /// The last position that it has in common with the one before.
    pub position: u64,
    /// When.
    pub at: Timestamp,
    /// Where the one before ended, when that is known.
    pub ended: Option<u64>,
    /// Whether devices give back what others wrote.
    pub open: bool,
    /// Changes of others that came back so.
    pub relayed: u64,
    /// How many devices brought them.
    pub relayed_by: u64,
    /// Changes that wait for what they depend on.
    pub parked: u64,
}

/// A batch that has not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingLine {
    /// Its place in the lost log.
    pub position: u64,
    /// Its name.
    pub batch: String,
    /// The database that made it.
    pub replica: String,
    /// Whose it is.
    pub member_name: String,
}

/// A database after a restoration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveringLine {
    /// The device that it is on; nothing when only the lost log knew it.
    pub device: Option<String>,
    /// What that calls itself.
    pub name: String,
    /// The database.
    pub replica: String,
    /// Whose it is.
    pub member_name: String,
    /// When it was here last.
    pub last_seen: Option<Timestamp>,
    /// Whether it was here since.
    pub seen_since: bool,
    /// Its lost batches that came back.
    pub returned: u64,
    /// Its lost batches that did not.
    pub missing: u64,
}

/// A database that stands beyond the end of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AheadLine {
    /// The device that it is on.
    pub device: String,
    /// Whose it is.
    pub member_name: String,
    /// Where it stands.
    pub position: u64,
    /// When it said so first.
    pub at: Timestamp,
}

/// How far a workspace has come back.
pub(super) fn recovery(workspace: &Workspace, now: Timestamp) -> Result<AdminReply, AdminError> {
    let status = workspace.recovery()?;
    let relay = workspace.relay_status(now)?;
    let names: BTreeMap<MemberId, String> =
        workspace.members().map(|row| (row.standing.member, row.name.clone())).collect();
    let name = |member: &MemberId| match names.get(member) {
        Some(name) => name.clone(),
        None if *member == SERVER => "the operator".to_owned(),
        None => member.to_string(),
    };
    let missing = status.missing.iter().take(MISSING_SHOWN).map(|lost| MissingLine {
        position: lost.position,
        batch: lost.batch.to_string(),
        replica: lost.replica.to_string(),
        member_name: name(&lost.member),
    });
    let ahead = status.ahead.iter().map(|row| AheadLine {
        device: row.device.to_string(),
        member_name: name(&row.member),
        position: row.position,
        at: row.at,
    });
    let missing_len = status.missing.len() as u64;
    Ok(AdminReply::Recovery(Box::new(RecoveryLines {
        epoch: status.epoch.to_string(),
        head: status.head,
        backup: status.backup.map(|backup| BackupLine { position: backup.position, at: backup.at }),
        restored: status
            .restoration
            .zip(relay)
            .map(|(restoration, relay)| restoration_line(&restoration, &relay)),
        lost: status.lost,
        returned: status.lost.saturating_sub(missing_len),
        missing: missing.collect(),
        more_missing: missing_len.saturating_sub(MISSING_SHOWN as u64),
        devices: devices(&status, &name),
        ahead: ahead.collect(),
        halted: status.is_halted,
    })))
}

fn restoration_line(restoration: &Restoration, relay: &RelayStatus) -> RestorationLine {
    let givers = relay.relayed.iter().filter(|row| row.relayed.taken > 0);
    RestorationLine {
        position: restoration.from.last,
        at: restoration.at,
        ended: restoration.ended,
        open: relay.recovery == Recovery::Open,
        relayed: givers.clone().map(|row| row.relayed.taken).sum(),
        relayed_by: givers.count() as u64,
        parked: relay.parked.changes,
    }
}

fn devices(status: &RecoveryStatus, name: &dyn Fn(&MemberId) -> String) -> Vec<RecoveringLine> {
    let mut missing: BTreeMap<ReplicaId, (MemberId, u64)> = BTreeMap::new();
    for lost in &status.missing {
        missing.entry(lost.replica).or_insert((lost.member, 0)).1 += 1;
    }
    let line = |row: &Recovering| RecoveringLine {
        device: Some(row.device)
            .filter(|device| *device != DeviceId([0; 16]))
            .map(|id| id.to_string()),
        name: row.device_name.clone(),
        replica: row.replica.to_string(),
        member_name: name(&row.member),
        last_seen: Some(row.last_seen),
        seen_since: row.is_met,
        returned: row.returned,
        missing: missing.get(&row.replica).map_or(0, |(_, count)| *count),
    };
    let mut lines: Vec<RecoveringLine> = status.replicas.iter().map(line).collect();
    let known = |replica: &ReplicaId| status.replicas.iter().any(|row| row.replica == *replica);
    let unknown = missing.iter().filter(|(replica, _)| !known(replica));
    lines.extend(unknown.map(|(replica, (member, count))| RecoveringLine {
        device: None,
        name: String::new(),
        replica: replica.to_string(),
        member_name: name(member),
        last_seen: None,
        seen_since: false,
        returned: 0,
        missing: *count,
    }));
    lines.sort_by_key(|line| {
        (std::cmp::Reverse(line.missing), line.seen_since, line.replica.clone())
    });
    lines
}

/// Missing batches that are listed one by one.
const MISSING_SHOWN: usize = 1_000;
