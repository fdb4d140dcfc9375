//! Identities: what each names and how long it lives. None of them can be built from a malformed value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A byte string had the wrong length for the identity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected} bytes, not {got}")]
pub struct WrongLength {
    /// The identity that was expected.
    pub what: &'static str,
    /// Its length in bytes.
    pub expected: usize,
    /// The length that came.
    pub got: usize,
}

/// Text did not spell the identity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct BadSpelling {
    /// The identity that was expected.
    pub what: &'static str,
    /// The text that came.
    pub text: String,
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes, as stored and as sent.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = WrongLength;

            fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
                <[u8; $len]>::try_from(bytes).map(Self).map_err(|_| WrongLength {
                    what: $what,
                    expected: $len,
                    got: bytes.len(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

bytes_id!(
    /// One database file of the SDK: the part of every actor id that the server binds to it at first use.
    ReplicaId, 12, "a replica id"
);
bytes_id!(
    /// Automerge's actor: the replica's 12 bytes, then its 4-byte incarnation; or a seed's hash.
    ActorId, 16, "an actor id"
);
bytes_id!(
    /// Names a batch for ever, across re-authoring and resending.
    BatchId, 16, "a batch id"
);
bytes_id!(
    /// The hardware that replicas live on: what an operator lists and revokes.
    DeviceId, 16, "a device id"
);
bytes_id!(
    /// Proof that a database file is the one last connected, not a copy.
    Lease, 16, "a lease"
);
bytes_id!(
    /// Identity of the server's log; a new one begins when the server is restored.
    Epoch, 16, "an epoch"
);
bytes_id!(
    /// What tells a record to those who have it, and nothing to others: of erased records a device that never
    /// saw them learns nothing, not even when they were made.
    RecordMark, 16, "a record's mark"
);
bytes_id!(
    /// SHA-256 of a change, Automerge's own.
    ChangeHash, 32, "a change hash"
);

impl ActorId {
    /// The actor under which `replica` writes in its `incarnation`.
    #[must_use]
    pub fn of(replica: ReplicaId, incarnation: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&replica.0);
        bytes[12..].copy_from_slice(&incarnation.to_be_bytes());
        Self(bytes)
    }

    /// The replica that owns this actor.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&self.0[..12]);
        ReplicaId(bytes)
    }

    /// The incarnation: raised whenever sequence numbers may have been spent on withdrawn changes.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        u32::from_be_bytes([self.0[12], self.0[13], self.0[14], self.0[15]])
    }
}

impl ChangeHash {
    /// The first four bytes: how the wire names a change that both sides hold.
    #[must_use]
    pub const fn short(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The bytes, as stored and as sent.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id of something that another system names `key` in its collection `kind`: the same
            /// words give the same id everywhere (a version 8 UUID over SHA-256), so importing twice
            /// names the same things.
            #[must_use]
            pub fn from_source_key(kind: &str, key: &str) -> Self {
                let mut hasher = Sha256::new();
                hasher.update(b"fieldbook source key");
                hasher.update((kind.len() as u64).to_be_bytes());
                hasher.update(kind.as_bytes());
                hasher.update(key.as_bytes());
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&hasher.finalize()[..16]);
                Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = WrongLength;

            fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
                Uuid::from_slice(bytes)
                    .map(Self)
                    .map_err(|_| WrongLength { what: $what, expected: 16, got: bytes.len() })
            }
        }

        impl FromStr for $name {
            type Err = BadSpelling;

            fn from_str(text: &str) -> Result<Self, BadSpelling> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| BadSpelling { what: $what, text: text.chars().take(80).collect() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }
    };
}

uuid_id!(
    /// Names a record: a UUIDv7 when it was made here, a v8 when its name comes from another system.
    RecordId, "a record id"
);
uuid_id!(
    /// Names a person in the workspace; also the id of that person's `member` record.
    MemberId, "a member id"
);

impl RecordId {
    /// A new record's id from the time and 10 random bytes (a version 7 UUID).
    #[must_use]
    pub fn new(now: crate::time::Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Its mark: the first 16 bytes of SHA-256("fieldbook record" ‖ id).
    #[must_use]
    pub fn mark(&self) -> RecordMark {
        let mut hasher = Sha256::new();
        hasher.update(b"fieldbook record");
        hasher.update(self.as_bytes());
        let mut mark = [0; 16];
        mark.copy_from_slice(&hasher.finalize()[..16]);
        RecordMark(mark)
    }
}

impl From<MemberId> for RecordId {
    fn from(member: MemberId) -> Self {
        Self(member.0)
    }
}

/// The part of a record's fields that shares one access rule. `main` always exists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Section(Box<str>);

impl Section {
    /// The section that every record has.
    pub const MAIN: &'static str = "main";

    /// The section that every record has.
    #[must_use]
    pub fn main() -> Self {
        Self(Self::MAIN.into())
    }

    /// Whether this is the section that every record has.
    #[must_use]
    pub fn is_main(&self) -> bool {
        &*self.0 == Self::MAIN
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Section {
    type Err = BadSpelling;

    fn from_str(text: &str) -> Result<Self, BadSpelling> {
        if is_name(text) {
            Ok(Self(text.into()))
        } else {
            Err(BadSpelling { what: "a section name", text: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({})", self.0)
    }
}

/// Names a document: one section of one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// The record.
    pub record: RecordId,
    /// Its section.
    pub section: Section,
}

impl DocumentId {
    /// The document that every record has.
    #[must_use]
    pub fn main(record: RecordId) -> Self {
        Self { record, section: Section::main() }
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.record, self.section)
    }
}

/// Whether `text` is a name as the schema spells them: a lower case letter, then up to 63 lower case
/// letters, digits and `_`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= crate::limits::NAME_BYTES_MAX
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
