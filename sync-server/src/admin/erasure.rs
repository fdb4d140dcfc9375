//! Erasures as an operator asks for them and is told of them.

use std::collections::BTreeMap;

use crdt_core::id::{MemberId, RecordId};
use crdt_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{AdminError, FaultCode};
use super::request::{AdminReply, DeviceLine};
use crate::store::StoreError;
use crate::store::erasure::ErasureRow;
use crate::workspace::{Certificate, DeviceState, EraseError, Scrubbing, Workspace};

/// What an erasure would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingsLines {
    /// The record.
    pub record: RecordId,
    /// Its entity.
    pub entity: String,
    /// One line for each section that holds something.
    pub sections: Vec<SectionLine>,
    /// Kept edits of it, which go with it.
    pub kept_edits: u64,
    /// Records that hang on it and stay.
    pub followers: u64,
}

/// What a record has in one section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionLine {
    /// The section.
    pub section: String,
    /// Changes in its history.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The certificate of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateLines {
    /// The workspace's log.
    pub epoch: String,
    /// What was erased.
    pub erased: ErasedLine,
    /// Kept edits that went with it.
    pub with: Vec<ErasedLine>,
    /// Whether it stands on the ledger, so that no restore brings it back.
    pub on_ledger: bool,
    /// Whether every device has removed it.
    pub complete: bool,
    /// The devices, those that have not confirmed first.
    pub devices: Vec<ErasedOnLine>,
}

/// One erased record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedLine {
    /// The record.
    pub record: RecordId,
    /// The place of the erasure in the log.
    pub position: u64,
    /// When it was asked for.
    pub at: Timestamp,
    /// The member who asked for it; nothing for the operator.
    pub by: Option<MemberId>,
    /// The member's name.
    pub by_name: Option<String>,
    /// The record's entity; nothing when nothing of it was here.
    pub entity: Option<String>,
    /// Documents that were removed.
    pub documents: u64,
    /// Changes that were removed.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Receipts out of which it was taken.
    pub receipts: u64,
    /// When the last traces were removed from the server's files; nothing while free pages may hold some.
    pub scrubbed_at: Option<Timestamp>,
}

/// What one device knows of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedOnLine {
    /// The device; one that is shut out wipes everything when it comes back.
    #[serde(flatten)]
    pub on: DeviceLine,
    /// When it said that it has removed everything erased by then; nothing while it has not.
    pub confirmed_at: Option<Timestamp>,
}

/// What an erasure would remove.
pub(super) fn preview(workspace: &Workspace, record: RecordId) -> Result<AdminReply, AdminError> {
    if let Some(certificate) = workspace.certificate(record)? {
        return Ok(AdminReply::Erasure(Box::new(lines(workspace, certificate))));
    }
    let Some(holdings) = workspace.holdings(record)? else {
        return Err(EraseError::NoSuchRecord(record).into());
    };
    let sections = holdings.sections.into_iter().map(|(section, of)| SectionLine {
        section: section.to_string(),
        changes: of.changes,
        bytes: of.bytes,
    });
    Ok(AdminReply::Holdings(HoldingsLines {
        record,
        entity: holdings.entity,
        sections: sections.collect(),
        kept_edits: holdings.kept_edits,
        followers: holdings.followers,
    }))
}

/// Erases a record, and removes its traces at once where nobody stands in the way.
pub(super) fn erase(
    workspace: &mut Workspace,
    now: Timestamp,
    record: RecordId,
) -> Result<AdminReply, AdminError> {
    workspace.erase(now, record)?;
    match workspace.scrub(now) {
        Ok(Scrubbing::Idle | Scrubbing::Done | Scrubbing::Busy) => {}
        // The record is erased all the same; the certificate says what is still due.
        Err(error) => tracing::error!(%error, "traces of an erased record could not be removed"),
    }
    certificate(workspace, record)
}

/// What is known of an erasure.
pub(super) fn certificate(
    workspace: &Workspace,
    record: RecordId,
) -> Result<AdminReply, AdminError> {
    let Some(certificate) = workspace.certificate(record)? else {
        let text = format!("the record {record} was not erased here");
        return Err(AdminError::refused(FaultCode::NoSuchRecord, text));
    };
    Ok(AdminReply::Erasure(Box::new(lines(workspace, certificate))))
}

fn lines(workspace: &Workspace, certificate: Certificate) -> CertificateLines {
    let names: BTreeMap<MemberId, &str> =
        workspace.members().map(|row| (row.standing.member, row.name.as_str())).collect();
    let name = |member: &MemberId| names.get(member).map(|name| (*name).to_owned());
    let erased = |row: ErasureRow| ErasedLine {
        record: row.record,
        position: row.position,
        at: row.at,
        by: row.by,
        by_name: row.by.as_ref().and_then(name),
        entity: row.removed.entity,
        documents: row.removed.documents,
        changes: row.removed.changes,
        bytes: row.removed.bytes,
        receipts: row.removed.receipts,
        scrubbed_at: row.scrubbed_at,
    };
    let on = |DeviceState { device, confirmed_at }: DeviceState| {
        let member_name = name(&device.member).unwrap_or_default();
        ErasedOnLine { on: DeviceLine::new(device, member_name), confirmed_at }
    };
    CertificateLines {
        epoch: certificate.epoch.to_string(),
        complete: certificate.devices.iter().all(|state| state.confirmed_at.is_some())
            && certificate.erasure.scrubbed_at.is_some(),
        erased: erased(certificate.erasure),
        with: certificate.with.into_iter().map(erased).collect(),
        on_ledger: certificate.on_ledger,
        devices: certificate.devices.into_iter().map(on).collect(),
    }
}

impl From<EraseError> for AdminError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::NoSuchRecord(_) => {
                Self::refused(FaultCode::NoSuchRecord, error.to_string())
            }
            EraseError::IsMember(_) | EraseError::Refused(_) => {
                Self::refused(FaultCode::Refused, error.to_string())
            }
            EraseError::NoLedger => StoreError::Backend(error.into()).into(),
            EraseError::Store(error) => error.into(),
        }
    }
}
