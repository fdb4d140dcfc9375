//! What an operator can ask of a workspace, and the answers: the same values whether a command opens the
//! workspace itself or asks the server that has it open.

use std::fmt;

use crdt_core::id::{DeviceId, MemberId, RecordId};
use crdt_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::erasure::{CertificateLines, HoldingsLines};
use super::recovery::{RecoveryLines, RestoredLine};
use crate::workspace::Device;

/// A request and the workspace that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCall {
    /// The workspace's name.
    pub workspace: String,
    /// What is asked.
    pub request: AdminRequest,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Adds a member to the directory.
    AddMember {
        /// The member's id; without it, a new one.
        id: Option<MemberId>,
        /// What its entry says; the name is needed.
        fields: MemberFields,
    },
    /// Changes what the directory says of a member.
    SetMember {
        /// Who.
        id: MemberId,
        /// What to change.
        fields: MemberFields,
    },
    /// Shuts a member out, or lets it in again.
    SetActive {
        /// Who.
        id: MemberId,
        /// Whether it may work.
        active: bool,
    },
    /// Lists the members.
    ListMembers,
    /// Gives a member a local account, or its account a new password.
    SetPassword {
        /// Whose.
        id: MemberId,
        /// The name to log in with.
        login: String,
        /// The password.
        password: Secret,
    },
    /// Lists devices.
    ListDevices {
        /// Only those of this member.
        member: Option<MemberId>,
    },
    /// Shuts a device out.
    RevokeDevice {
        /// Which.
        #[serde(with = "device_id")]
        device: DeviceId,
    },
    /// Says what an erasure would remove.
    PreviewErasure {
        /// The record.
        record: RecordId,
    },
    /// Erases a record for good.
    Erase {
        /// The record.
        record: RecordId,
    },
    /// Shows the certificate of an erasure.
    ShowErasure {
        /// The record.
        record: RecordId,
    },
    /// Checks a policy against the workspace's schema.
    CheckPolicy {
        /// Its text.
        text: String,
        /// What problems call its file.
        file: String,
    },
    /// Puts a policy in force.
    SetPolicy {
        /// Its text.
        text: String,
        /// What problems call its file.
        file: String,
    },
    /// Shows the policy in force.
    ShowPolicy,
    /// Says what a member may do with a record, and by which rules.
    Explain {
        /// Who.
        member: MemberId,
        /// The record.
        record: RecordId,
    },
    /// Notes a backup of the log, which devices are told of.
    NoteBackup {
        /// The log's identity.
        epoch: [u8; 16],
        /// Up to where the backup holds it.
        position: u64,
        /// When it was made.
        at: Timestamp,
    },
    /// Says how far the workspace has come back since it was restored.
    Recovery,
    /// Ends the time in which devices give back what others wrote.
    CloseRecovery,
    /// Goes on with a workspace's file that somebody put back to an older state.
    ConfirmRestore {
        /// Up to where its log is what devices know; 0 when nobody knows.
        common: u64,
    },
    /// Says what a policy would change for each member.
    Simulate {
        /// Its text.
        text: String,
        /// What problems call its file.
        file: String,
    },
}

/// What a member's entry says; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFields {
    /// The name, for people to read.
    pub name: Option<String>,
    /// The role.
    pub role: Option<String>,
    /// All territories; empty for none.
    pub territories: Option<Vec<String>>,
    /// All teams; empty for none.
    pub teams: Option<Vec<String>>,
    /// The region; empty for none.
    pub region: Option<String>,
    /// The address.
    pub email: Option<String>,
}

/// A text that is not shown when the value around it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminReply {
    /// It is done.
    Done,
    /// A member was added.
    Added {
        /// Its id.
        id: MemberId,
        /// Whether no member may administer the workspace.
        without_admin: bool,
    },
    /// The members, by name.
    Members(Vec<MemberLine>),
    /// The devices, those seen last first.
    Devices(Vec<DeviceLine>),
    /// What an erasure would remove.
    Holdings(HoldingsLines),
    /// What was erased.
    Erasure(Box<CertificateLines>),
    /// A policy.
    Policy {
        /// Its version.
        version: u64,
        /// Its text.
        text: String,
    },
    /// What a member may do with a record.
    Explanation(ExplanationLines),
    /// What a policy would change.
    Simulation(SimulationLines),
    /// Whether a backup was noted: only one of the present log is.
    Noted(bool),
    /// How far the workspace has come back.
    Recovery(Box<RecoveryLines>),
    /// How the new log begins.
    Restored(RestoredLine),
}

/// A member as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    /// The id.
    pub id: MemberId,
    /// The name.
    pub name: String,
    /// The role by which the member is judged; nothing when the policy gives it none.
    pub role: Option<String>,
    /// Its territories.
    pub territories: Vec<String>,
    /// Its teams.
    pub teams: Vec<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether it may work.
    pub active: bool,
}

/// One replica on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLine {
    /// The device.
    #[serde(with = "device_id")]
    pub device: DeviceId,
    /// What it calls itself.
    pub name: String,
    /// Whose it is.
    pub member: MemberId,
    /// The member's name.
    pub member_name: String,
    /// The replica, in hexadecimal digits.
    pub replica: String,
    /// When it was here last.
    pub last_seen: Timestamp,
    /// Whether it is shut out.
    pub revoked: bool,
}

impl DeviceLine {
    pub(super) fn new(device: Device, member_name: String) -> Self {
        Self {
            device: device.device,
            name: device.name,
            member: device.member,
            member_name,
            replica: device.replica.to_string(),
            last_seen: device.last_seen,
            revoked: device.revoked_at.is_some(),
        }
    }
}

/// What a member may do with a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationLines {
    /// The role by which the member is judged.
    pub role: Option<String>,
    /// The record's entity.
    pub entity: String,
    /// The scopes that the record stands in.
    pub scopes: Vec<String>,
    /// The member's subscriptions that bring something of it; empty when its devices hold nothing of it.
    pub shown_by: Vec<String>,
    /// One line for each question.
    pub lines: Vec<ExplanationLine>,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationLine {
    /// What would be done.
    pub action: String,
    /// In which section.
    pub section: String,
    /// Fields that are treated differently from the others of the section; empty for the section as a whole.
    pub fields: Vec<String>,
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that allows it, or why none does.
    pub because: String,
}

/// What a policy would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulationLines {
    /// The version of the policy in force.
    pub from: u64,
    /// The version of the policy that was simulated.
    pub to: u64,
    /// One line for each member, also when nothing changes.
    pub members: Vec<SimulationLine>,
}

/// What a policy would change for one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulationLine {
    /// Who.
    pub member: MemberId,
    /// The member's name.
    pub name: String,
    /// Records that the member would see anew.
    pub records_gained: u64,
    /// Records that the member would no longer see.
    pub records_lost: u64,
    /// Bytes of the documents gained.
    pub bytes_gained: u64,
    /// Bytes of the documents lost.
    pub bytes_lost: u64,
}

/// A device id in the digits in which people see it.
///
/// # Errors
/// When the text is not 32 hexadecimal digits.
pub fn parse_device(text: &str) -> Result<DeviceId, &'static str> {
    let message = "a device id is 32 hexadecimal digits, as `device list` shows them";
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(message);
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| message)?;
    Ok(DeviceId(number.to_be_bytes()))
}

pub(super) mod device_id {
    use crdt_core::id::DeviceId;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::admin) fn serialize<S: Serializer>(
        id: &DeviceId,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(in crate::admin) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<DeviceId, D::Error> {
        super::parse_device(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
