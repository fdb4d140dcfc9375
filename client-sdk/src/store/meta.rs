//! What the store knows about itself: who it is, where it stands with the server.

use std::collections::BTreeSet;

use crdt_core::id::{ActorId, DeviceId, Epoch, Lease, MemberId, ReplicaId};
use crdt_core::policy::Standing;
use crdt_core::time::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, ToSql};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// The store's standing, as the `meta` table holds it. The copy in memory changes after a commit only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) workspace: String,
    pub(crate) member: MemberId,
    pub(crate) replica: ReplicaId,
    pub(crate) incarnation: u32,
    pub(crate) lease: Option<Lease>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) receipt: u64,
    pub(crate) clock: Option<Measured>,
    pub(crate) policy_version: u64,
    pub(crate) backed_up_to: u64,
    /// The last position at which something left the device; 0 when nothing did.
    pub(crate) left: u64,
}

/// How far the device's clock is from the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    /// What to add to the device's time, milliseconds.
    pub(crate) offset: i64,
    /// The server's time at the measurement: the last contact.
    pub(crate) at: Timestamp,
}

impl Meta {
    /// The actor under which this replica writes.
    pub(crate) fn actor(&self) -> ActorId {
        ActorId::of(self.replica, self.incarnation)
    }

    /// What to add to the device's time, milliseconds; 0 until it was measured.
    pub(crate) fn offset(&self) -> i64 {
        self.clock.map_or(0, |measured| measured.offset)
    }

    /// Reads the table; nothing when it is empty.
    pub(crate) fn read(connection: &Connection) -> Result<Option<Self>, StoreError> {
        let Some(replica) = bytes::<12>(connection, "replica")? else { return Ok(None) };
        let missing = |what| StoreError::Malformed(what);
        let member = bytes::<16>(connection, "member")?.ok_or_else(|| missing("member"))?;
        let incarnation = number(connection, "incarnation")?.unwrap_or(0);
        let clock =
            match (number(connection, "clock_offset")?, number(connection, "clock_measured_at")?) {
                (Some(offset), Some(at)) => {
                    Some(Measured { offset, at: Timestamp::from_millis(at) })
                }
                _ => None,
            };
        let unsigned =
            |key| Ok::<_, StoreError>(number(connection, key)?.unwrap_or(0).cast_unsigned());
        Ok(Some(Self {
            workspace: text(connection, "workspace")?.ok_or_else(|| missing("workspace"))?,
            member: MemberId(uuid::Uuid::from_bytes(member)),
            replica: ReplicaId(replica),
            incarnation: u32::try_from(incarnation).map_err(|_| missing("incarnation"))?,
            lease: bytes::<16>(connection, "lease")?.map(Lease),
            epoch: bytes::<16>(connection, "epoch")?.map(Epoch),
            receipt: unsigned("receipt")?,
            clock,
            policy_version: unsigned("policy_version")?,
            backed_up_to: unsigned("backed_up_to")?,
            left: unsigned("left")?,
        }))
    }

    /// Writes what differs from `before`; everything when there was nothing.
    pub(crate) fn write(
        &self,
        connection: &Connection,
        before: Option<&Self>,
    ) -> Result<(), StoreError> {
        if before == Some(self) {
            return Ok(());
        }
        put(connection, "workspace", &self.workspace)?;
        put(connection, "member", self.member.as_bytes())?;
        put(connection, "replica", &self.replica.0)?;
        put(connection, "incarnation", &self.incarnation)?;
        put(connection, "lease", &self.lease.map(|lease| lease.0))?;
        put(connection, "epoch", &self.epoch.map(|epoch| epoch.0))?;
        put(connection, "receipt", &self.receipt.cast_signed())?;
        put(connection, "clock_offset", &self.clock.map(|clock| clock.offset))?;
        put(connection, "clock_measured_at", &self.clock.map(|clock| clock.at.as_millis()))?;
        put(connection, "policy_version", &self.policy_version.cast_signed())?;
        put(connection, "backed_up_to", &self.backed_up_to.cast_signed())?;
        put(connection, "left", &self.left.cast_signed())
    }
}

/// What the last welcome granted this member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Grant {
    /// The policy's version and text, when the device has the one in force.
    pub(crate) policy: Option<(u64, String)>,
    /// What the directory says of the member; nothing before the first welcome.
    pub(crate) standing: Option<Standing>,
    /// When the session's token ends, by the server's clock.
    pub(crate) token_expires: Option<Timestamp>,
}

/// A standing as the table holds it; whose it is stands in a row of its own.
#[derive(Serialize, Deserialize)]
struct StoredStanding {
    role: Option<String>,
    territories: BTreeSet<String>,
    teams: BTreeSet<String>,
    region: Option<String>,
    active: bool,
}

impl Grant {
    pub(crate) fn read(connection: &Connection, member: MemberId) -> Result<Self, StoreError> {
        let version = number(connection, "policy_held")?.map(i64::cast_unsigned);
        let stored = text(connection, "standing")?.map(|text| serde_json::from_str(&text));
        let stored = stored.transpose().map_err(|_| StoreError::Malformed("standing"))?;
        Ok(Self {
            policy: version.zip(text(connection, "policy")?),
            standing: stored.map(|stored: StoredStanding| Standing {
                member,
                role: stored.role,
                territories: stored.territories,
                teams: stored.teams,
                region: stored.region,
                active: stored.active,
            }),
            token_expires: number(connection, "token_expires")?.map(Timestamp::from_millis),
        })
    }

    pub(crate) fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let policy = self.policy.as_ref();
        let stored = self.standing.clone().map(|standing| StoredStanding {
            role: standing.role,
            territories: standing.territories,
            teams: standing.teams,
            region: standing.region,
            active: standing.active,
        });
        let stored = stored.map(|stored| serde_json::to_string(&stored)).transpose();
        let stored = stored.map_err(|_| StoreError::Malformed("standing"))?;
        put(connection, "policy_held", &policy.map(|(version, _)| version.cast_signed()))?;
        put(connection, "policy", &policy.map(|(_, text)| text))?;
        put(connection, "standing", &stored)?;
        put(connection, "token_expires", &self.token_expires.map(|at| at.as_millis()))
    }
}

/// The device's id, when one was made for the file.
pub(crate) fn device(connection: &Connection) -> Result<Option<DeviceId>, StoreError> {
    Ok(bytes::<16>(connection, "device")?.map(DeviceId))
}

/// Writes one row of the table.
pub(crate) fn put(connection: &Connection, key: &str, value: &dyn ToSql) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value
               WHERE value IS NOT excluded.value";
    connection.prepare_cached(sql)?.execute((key, value))?;
    Ok(())
}

/// A text of the table.
pub(crate) fn text(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    one(connection, key, |value| match value {
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    })
}

/// A number of the table.
pub(crate) fn number(connection: &Connection, key: &str) -> Result<Option<i64>, StoreError> {
    one(connection, key, |value| value.as_i64().ok())
}

fn bytes<const N: usize>(
    connection: &Connection,
    key: &str,
) -> Result<Option<[u8; N]>, StoreError> {
    one(connection, key, |value| value.as_blob().ok()?.try_into().ok())
}

fn one<T>(
    connection: &Connection,
    key: &str,
    read: impl Fn(ValueRef<'_>) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let found = statement.query_row([key], |row| {
        let value = row.get_ref(0)?;
        Ok(if matches!(value, ValueRef::Null) { None } else { read(value) })
    });
    Ok(found.optional()?.flatten())
}
