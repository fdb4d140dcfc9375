//! The audit: one entry for every answered batch and every administrative act, chained by hashes.
//!
//! An entry says who did what, by which rule, and with what outcome; it names records and fields and never
//! holds a value. Entry `n` is kept as its canonical bytes (`audit/encoding.rs`) beside
//! `h_n = SHA-256(h_{n-1} ‖ bytes of entry n)`, with `h_0 = SHA-256("fieldbook audit 1")`, in the
//! transaction of what it tells of. The chain shows what was changed, removed, moved or put in between. It
//! cannot show by itself that its end was cut off or that somebody with the whole file wrote all of it
//! anew: for that a [`Head`] is kept elsewhere and compared.

mod chain;
mod encoding;
mod export;
mod line;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crdt_core::id::{BatchId, DeviceId, MemberId, RecordId, ReplicaId, Section};
use crdt_core::time::Timestamp;

use crate::store::audit::AuditRow;
use crate::store::{StoreError, Write};

pub(crate) use chain::sha256;
pub use chain::{Finding, Summary, Verifier, Witness, first_hash, next_hash};
pub use encoding::EncodingError;
pub use export::{CSV_HEADER, csv_lines, json_line};
pub use line::{RECORDS_MAX, REFUSALS_MAX, member_acts};

/// How far the chain goes: the number of its last entry and that entry's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last entry's number; 0 while there is none.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Head {
    /// The head of a chain without entries.
    #[must_use]
    pub fn empty() -> Self {
        Self { number: 0, hash: first_hash() }
    }
}

impl fmt::Display for Head {
    /// `HASH@N`, as `audit verify --head` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", Hex(&self.hash), self.number)
    }
}

/// A text is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a head is 64 hexadecimal digits, `@` and a number, as `audit head` prints it")]
pub struct BadHead;

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (hash, number) = text.trim().split_once('@').ok_or(BadHead)?;
        let number = number.parse().map_err(|_| BadHead)?;
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadHead);
        }
        let mut bytes = [0; 32];
        for (byte, place) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hash[place..place + 2], 16).map_err(|_| BadHead)?;
        }
        Ok(Self { number, hash: bytes })
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One entry, without its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the server took it in.
    pub received_at: Timestamp,
    /// Who did it.
    pub who: Who,
    /// The policy by which it was judged; 0 for an act of the operator.
    pub policy_version: u64,
    /// What was done.
    pub what: What,
}

/// Who did something. Nothing known at all is the operator, at the server's command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// The member.
    pub member: Option<MemberId>,
    /// The replica that sent it; the server's own for what the server wrote.
    pub replica: Option<ReplicaId>,
    /// The device that the replica lives on.
    pub device: Option<DeviceId>,
    /// The role by which the member was judged.
    pub role: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A batch was answered.
    Batch(Judged),
    /// A change that the server had lost was given back: the entry's `who` is its author.
    Relayed(Relayer, Judged),
    /// An administrative act was done.
    Act(Act),
}

/// Who gave a change back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayer {
    /// The member.
    pub member: MemberId,
    /// The replica.
    pub replica: ReplicaId,
    /// The device that the replica lives on.
    pub device: Option<DeviceId>,
}

/// An answered batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its name.
    pub batch: BatchId,
    /// When its user made it, by the device's clock; nothing when it holds no edits.
    pub edited_at: Option<Timestamp>,
    /// The answer.
    pub verdict: Verdict,
    /// The records that it touches; at most [`RECORDS_MAX`].
    pub records: Vec<RecordLine>,
    /// How many records more.
    pub more_records: u64,
}

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// In the log, at this position.
    Accepted {
        /// Its place.
        position: u64,
    },
    /// In the log before, at this position: sent again.
    Already {
        /// Its place.
        position: u64,
    },
    /// Not in the log.
    Refused {
        /// Why; at most [`REFUSALS_MAX`].
        reasons: Vec<ReasonLine>,
        /// How many reasons more.
        more: u64,
    },
}

/// What a batch does to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLine {
    /// The record; nothing when the sender named a number that no document has.
    pub record: Option<RecordId>,
    /// Its entity, when it is known.
    pub entity: Option<String>,
    /// The names of the fields written, by section. What the schema does not know is [`UNKNOWN_FIELD`].
    pub fields: BTreeMap<Section, Vec<String>>,
    /// The rules that allowed it.
    pub rules: Vec<String>,
}

/// Stands for fields that the schema does not know: their names are the sender's free text.
pub const UNKNOWN_FIELD: &str = "?";

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonLine {
    /// The stable word.
    pub code: String,
    /// The record that it is about.
    pub record: Option<RecordId>,
    /// The section that it is about.
    pub section: Option<Section>,
    /// The field that it is about.
    pub field: Option<String>,
    /// The rule that decided, when one did.
    pub rule: Option<String>,
}

/// An administrative act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A member was added, with these fields.
    MemberAdded {
        /// Who.
        member: MemberId,
        /// The names of the fields that were set.
        fields: Vec<String>,
    },
    /// A member's entry was changed.
    MemberSet {
        /// Who.
        member: MemberId,
        /// The names of the fields that were set.
        fields: Vec<String>,
    },
    /// A member was shut out.
    MemberDisabled {
        /// Who.
        member: MemberId,
    },
    /// A member was let in again.
    MemberEnabled {
        /// Who.
        member: MemberId,
    },
    /// A policy was put in force.
    PolicyPut {
        /// Its version.
        version: u64,
        /// SHA-256 of its text.
        digest: [u8; 32],
    },
    /// A schema was put in force.
    SchemaPut {
        /// Its version.
        version: u64,
        /// SHA-256 of its text.
        digest: [u8; 32],
    },
    /// A device was shut out.
    DeviceRevoked {
        /// Which.
        device: DeviceId,
    },
    /// The log began anew from a backup: what came after this position is given back by devices.
    Restored {
        /// The last position of the backup.
        position: u64,
    },
    /// A member's password was set.
    PasswordSet {
        /// Whose.
        member: MemberId,
    },
    /// A member's refresh tokens were taken back.
    TokensRevoked {
        /// Whose.
        member: MemberId,
    },
    /// A record was erased for good.
    RecordErased {
        /// Which.
        record: RecordId,
    },
}

impl Act {
    /// A stable word for what was done.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::MemberAdded { .. } => "member_added",
            Self::MemberSet { .. } => "member_set",
            Self::MemberDisabled { .. } => "member_disabled",
            Self::MemberEnabled { .. } => "member_enabled",
            Self::PolicyPut { .. } => "policy_put",
            Self::SchemaPut { .. } => "schema_put",
            Self::DeviceRevoked { .. } => "device_revoked",
            Self::Restored { .. } => "restored",
            Self::PasswordSet { .. } => "password_set",
            Self::TokensRevoked { .. } => "tokens_revoked",
            Self::RecordErased { .. } => "record_erased",
        }
    }
}

/// Appends an entry in the transaction of what it tells of, and gives the new head.
///
/// # Errors
/// When the storage fails.
pub fn append(tx: &mut dyn Write, entry: &Entry) -> Result<Head, StoreError> {
    let head = tx.audit_head()?;
    let number = head.number + 1;
    let bytes = entry.to_bytes(number);
    let hash = next_hash(&head.hash, &bytes);
    tx.append_audit(&AuditRow { number, bytes, hash })?;
    Ok(Head { number, hash })
}

/// Appends an act of the operator, which no policy judges.
///
/// # Errors
/// When the storage fails.
pub fn append_act(tx: &mut dyn Write, now: Timestamp, act: Act) -> Result<Head, StoreError> {
    let (who, what) = (Who::default(), What::Act(act));
    append(tx, &Entry { received_at: now, who, policy_version: 0, what })
}
