//! The handshake: what a device says first, and the server's answer.

use super::frame::FrameError;
use super::lineage::Ended;
use super::message::id_field;
use super::receipt::{Receipt, receipts_from_wire};
use super::wire;
use crate::id::{DeviceId, Epoch, Lease, MemberId, ReplicaId};
use crate::limits;
use crate::policy::Standing;
use crate::time::Timestamp;

/// What a device says first.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The versions it speaks.
    pub versions: Vec<u32>,
    /// Who its user is.
    pub token: String,
    /// Its database file.
    pub replica: ReplicaId,
    /// The lease it was given last.
    pub lease: Option<Lease>,
    /// The log it knows.
    pub epoch: Option<Epoch>,
    /// The last receipt it stored.
    pub receipt: u64,
    /// The schema it has.
    pub schema_version: u64,
    /// Where it stands in every scope that is not an exception.
    pub cursor: Cursor,
    /// The scopes in which it stands elsewhere, and those that it holds although the last welcome did not
    /// list them.
    pub exceptions: Vec<ScopeCursor>,
    /// The program and its version, for logs.
    pub client: String,
    /// The policy it has; 0 for none.
    pub policy_version: u64,
    /// The hardware that it runs on.
    pub device: DeviceId,
    /// The device's name, for the people who list and revoke devices.
    pub device_name: String,
    /// The last position at which something left the device, 0 for none: a server that was restored to before
    /// it still counts on the device to hold that.
    pub left: u64,
    /// Whether it takes [`ShortReceipt`](super::ShortReceipt)s.
    pub short_receipts: bool,
}

/// How far a device has come in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cursor {
    /// Everything up to here has been applied; while catching up, everything whose last change or entry
    /// into the scope lies up to here.
    pub position: u64,
    /// While catching up: where it began. Changes after it may be missing in what has not come yet.
    pub from: Option<u64>,
}

/// A cursor in one scope; in every scope when `scope` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeCursor {
    /// The scope's name; empty for all.
    pub scope: String,
    /// Where the device stands.
    pub cursor: Cursor,
}

/// The server's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u32,
    /// The log.
    pub epoch: Epoch,
    /// The logs before it, oldest first.
    pub lineage: Vec<Ended>,
    /// The new lease.
    pub lease: Lease,
    /// Every receipt after the last that the device stored.
    pub receipts: Vec<Receipt>,
    /// The scopes of the device.
    pub scopes: Vec<String>,
    /// What the server takes at once.
    pub limits: PeerLimits,
    /// The server's clock.
    pub server_time: Timestamp,
    /// The schema, when it is not the device's.
    pub schema: Option<String>,
    /// Up to where the log has been backed up.
    pub backed_up_to: u64,
    /// The log's last position.
    pub head: u64,
    /// Who the token says the user is.
    pub member: MemberId,
    /// That member's name.
    pub member_name: String,
    /// The policy in force.
    pub policy_version: u64,
    /// The policy, when it is not the device's.
    pub policy: Option<String>,
    /// What the directory says of the member.
    pub standing: Standing,
    /// When the session's token ends, by the server's clock.
    pub token_expires: Timestamp,
    /// Whether the server compares documents, and takes what it lacks.
    pub recovery: Recovery,
}

/// What a server does for devices that know a log which it lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// It does not know of such things: an older version.
    #[default]
    Unknown,
    /// It compares documents. What it lacks of other people's changes is not taken any more.
    Closed,
    /// It compares documents, and takes what it lacks from everyone who holds it.
    Open,
}

impl Recovery {
    const fn to_wire(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Closed => 1,
            Self::Open => 2,
        }
    }

    const fn from_wire(number: u32) -> Self {
        match number {
            1 => Self::Closed,
            2 => Self::Open,
            _ => Self::Unknown,
        }
    }
}

/// How much may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Batches that are not answered.
    pub batches_in_flight: u32,
    /// Pages that are not acknowledged.
    pub pages_in_flight: u32,
}

impl Hello {
    pub(super) fn to_wire(&self) -> wire::Hello {
        wire::Hello {
            versions: self.versions.clone(),
            token: self.token.clone(),
            replica: self.replica.0.to_vec(),
            lease: self.lease.map(|lease| lease.0.to_vec()),
            epoch: self.epoch.map(|epoch| epoch.0.to_vec()),
            receipt: self.receipt,
            schema_version: self.schema_version,
            cursor: Some(self.cursor.to_wire()),
            exceptions: self.exceptions.iter().map(ScopeCursor::to_wire).collect(),
            client: self.client.clone(),
            policy_version: self.policy_version,
            device: self.device.0.to_vec(),
            device_name: self.device_name.clone(),
            left: self.left,
            short_receipts: self.short_receipts,
        }
    }

    pub(super) fn from_wire(wire: wire::Hello) -> Result<Self, FrameError> {
        if wire.token.len() > limits::TOKEN_BYTES_MAX || wire.client.len() > 256 {
            return Err(FrameError::Field("token or client name"));
        }
        if wire.device_name.len() > limits::DEVICE_NAME_BYTES_MAX {
            return Err(FrameError::Field("device name"));
        }
        if wire.exceptions.len() > limits::SCOPES_MAX || wire.versions.len() > 64 {
            return Err(FrameError::TooMany("scopes or versions"));
        }
        let exceptions = wire.exceptions.into_iter().map(ScopeCursor::from_wire);
        Ok(Self {
            versions: wire.versions,
            token: wire.token,
            replica: id_field(&wire.replica, "replica id")?,
            lease: wire.lease.map(|lease| id_field(&lease, "lease")).transpose()?,
            epoch: wire.epoch.map(|epoch| id_field(&epoch, "epoch")).transpose()?,
            receipt: wire.receipt,
            schema_version: wire.schema_version,
            cursor: Cursor::from_wire(wire.cursor.unwrap_or_default())?,
            exceptions: exceptions.collect::<Result<_, _>>()?,
            client: wire.client,
            policy_version: wire.policy_version,
            device: id_field(&wire.device, "device id")?,
            device_name: wire.device_name,
            left: wire.left,
            short_receipts: wire.short_receipts,
        })
    }
}

impl Cursor {
    /// Caught up to a position.
    #[must_use]
    pub const fn at(position: u64) -> Self {
        Self { position, from: None }
    }

    fn to_wire(self) -> wire::Cursor {
        wire::Cursor { position: self.position, from: self.from }
    }

    fn from_wire(wire: wire::Cursor) -> Result<Self, FrameError> {
        match wire.from {
            Some(from) if from > wire.position => Err(FrameError::Field("cursor")),
            from => Ok(Self { position: wire.position, from }),
        }
    }
}

impl ScopeCursor {
    pub(super) fn to_wire(&self) -> wire::ScopeCursor {
        wire::ScopeCursor { scope: self.scope.clone(), cursor: Some(self.cursor.to_wire()) }
    }

    pub(super) fn from_wire(wire: wire::ScopeCursor) -> Result<Self, FrameError> {
        if wire.scope.len() > limits::SCOPE_BYTES_MAX {
            return Err(FrameError::Field("scope"));
        }
        let cursor = Cursor::from_wire(wire.cursor.unwrap_or_default())?;
        Ok(Self { scope: wire.scope, cursor })
    }
}

impl Welcome {
    pub(super) fn to_wire(&self) -> wire::Welcome {
        wire::Welcome {
            version: self.version,
            epoch: self.epoch.0.to_vec(),
            lineage: self.lineage.iter().map(|ended| ended.to_wire()).collect(),
            lease: self.lease.0.to_vec(),
            receipts: self.receipts.iter().map(Receipt::to_wire).collect(),
            scopes: self.scopes.clone(),
            batches_in_flight: self.limits.batches_in_flight,
            pages_in_flight: self.limits.pages_in_flight,
            server_time: self.server_time.as_millis(),
            schema: self.schema.clone(),
            backed_up_to: self.backed_up_to,
            head: self.head,
            member: self.member.as_bytes().to_vec(),
            member_name: self.member_name.clone(),
            policy_version: self.policy_version,
            policy: self.policy.clone(),
            standing: Some(standing_to_wire(&self.standing)),
            token_expires: self.token_expires.as_millis(),
            recovery: self.recovery.to_wire(),
        }
    }

    pub(super) fn from_wire(wire: wire::Welcome) -> Result<Self, FrameError> {
        if wire.scopes.len() > limits::SCOPES_MAX {
            return Err(FrameError::TooMany("scopes"));
        }
        if wire.schema.as_ref().is_some_and(|schema| schema.len() > limits::SCHEMA_BYTES_MAX) {
            return Err(FrameError::Field("schema"));
        }
        if wire.policy.as_ref().is_some_and(|policy| policy.len() > limits::POLICY_BYTES_MAX) {
            return Err(FrameError::Field("policy"));
        }
        let member = id_field(&wire.member, "member id")?;
        Ok(Self {
            version: wire.version,
            epoch: id_field(&wire.epoch, "epoch")?,
            lineage: wire.lineage.into_iter().map(Ended::from_wire).collect::<Result<_, _>>()?,
            lease: id_field(&wire.lease, "lease")?,
            receipts: receipts_from_wire(wire.receipts)?,
            scopes: wire.scopes,
            limits: PeerLimits {
                batches_in_flight: wire.batches_in_flight.max(1),
                pages_in_flight: wire.pages_in_flight.max(1),
            },
            server_time: Timestamp::from_millis(wire.server_time),
            schema: wire.schema,
            backed_up_to: wire.backed_up_to,
            head: wire.head,
            member,
            member_name: wire.member_name,
            policy_version: wire.policy_version,
            policy: wire.policy,
            standing: standing_from_wire(member, wire.standing.unwrap_or_default())?,
            token_expires: Timestamp::from_millis(wire.token_expires),
            recovery: Recovery::from_wire(wire.recovery),
        })
    }
}

fn standing_to_wire(standing: &Standing) -> wire::Standing {
    wire::Standing {
        role: standing.role.clone(),
        territories: standing.territories.iter().cloned().collect(),
        teams: standing.teams.iter().cloned().collect(),
        region: standing.region.clone(),
        inactive: !standing.active,
    }
}

fn standing_from_wire(member: MemberId, wire: wire::Standing) -> Result<Standing, FrameError> {
    if wire.territories.len().max(wire.teams.len()) > limits::DOCUMENT_KEYS_MAX {
        return Err(FrameError::TooMany("territories or teams"));
    }
    Ok(Standing {
        member,
        role: wire.role,
        territories: wire.territories.into_iter().collect(),
        teams: wire.teams.into_iter().collect(),
        region: wire.region,
        active: !wire.inactive,
    })
}
