//! What came of the scenes about access, each looked up where it must show: on the devices, in their files,
//! and in the server's audit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use client_sdk::{Client, Paging};
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use serde::Serialize;

use super::cast::Cast;
use super::scenes::{Attempt, COMMISSION, LEARNT, NEXT_STEP, Scenes};
use super::world::Device;

/// What came of the scenes about access.
#[derive(Debug, Serialize)]
pub struct Access {
    /// A rep tried to change a commission.
    pub refused_on_device: RefusedOnDevice,
    /// A patched app sent it anyway.
    pub refused_by_server: RefusedByServer,
    /// An account changed hands while its rep was offline.
    pub handed_over: HandedOver,
    /// Who sees the finance section.
    pub finance: Finance,
    /// By name: where every edit of each device is now.
    pub accounting: BTreeMap<String, Counts>,
    /// The server's record of who did what; nothing when it is broken.
    pub audit: Option<Audit>,
}

/// A rep tried to change a commission.
#[derive(Debug, Serialize)]
pub struct RefusedOnDevice {
    /// Whether it ended as it should: refused before anything was stored.
    pub holds: bool,
    /// Whether the form would have offered the field.
    pub offered: bool,
    /// The reason that the rep was told.
    pub reason: Option<String>,
}

/// A patched app sent it anyway.
#[derive(Debug, Serialize)]
pub struct RefusedByServer {
    /// Whether it ended as it should.
    pub holds: bool,
    /// Disputes on the device.
    pub disputes: usize,
    /// The words of their reasons.
    pub codes: Vec<String>,
    /// The sentences of their reasons.
    pub reasons: Vec<String>,
    /// The fields that were tried, and are kept for the user.
    pub tried: Vec<String>,
    /// Devices on which the later edit shows, of those that may see the deal.
    pub later_edit_on: usize,
    /// Devices on which anything of the refused edit shows.
    pub refused_edit_on: usize,
}

/// An account changed hands while its rep was offline.
#[derive(Debug, Serialize)]
pub struct HandedOver {
    /// Whether it ended as it should.
    pub holds: bool,
    /// Whether the account has left the rep's device.
    pub left_the_device: bool,
    /// Edits of the rep's that wait on the rep's own device as disputes.
    pub disputes: usize,
    /// Edits of the rep's that the server keeps beside the account, as the new manager sees them.
    pub kept_edits: usize,
    /// Kept edits that reach the rep's device, or the former manager's: none should.
    pub kept_edits_elsewhere: usize,
    /// Whether the new manager, having taken them over, shows what the rep had learnt.
    pub taken_over: bool,
}

/// Who sees the finance section.
#[derive(Debug, Serialize)]
pub struct Finance {
    /// Whether it is as it should be.
    pub holds: bool,
    /// Whether the manager sees the commission as it was noted.
    pub manager_sees: bool,
    /// Reps who see one.
    pub reps_who_see: usize,
    /// How often the commission stands in the files of the manager's device.
    pub found_in_managers_files: usize,
    /// How often it stands in the files of the reps' devices.
    pub found_in_reps_files: usize,
}

/// Where every edit of a device is now.
#[derive(Debug, Serialize)]
pub struct Counts {
    /// Edits that were confirmed to the user.
    pub submitted: u64,
    /// In the server's log.
    pub accepted: u64,
    /// Refused, and kept.
    pub disputed: u64,
    /// Not answered.
    pub pending: u64,
}

/// The server's record of who did what.
#[derive(Debug, Serialize)]
pub struct Audit {
    /// Its entries.
    pub entries: u64,
    /// Accepted batches among them.
    pub accepted: u64,
    /// Refused batches among them.
    pub refused: u64,
}

/// An edit that the server keeps for the people of its record.
pub struct KeptEdit {
    /// Its own id.
    pub id: RecordId,
    /// The record that it was meant for.
    pub record: RecordId,
}

impl RefusedOnDevice {
    /// What came of the attempt.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        let holds = !attempt.offered && attempt.refused.is_some() && attempt.stored == 0;
        Self { holds, offered: attempt.offered, reason: attempt.refused.clone() }
    }
}

impl RefusedByServer {
    /// Looks at the rep's disputes, and at the deal on every device that may show it.
    ///
    /// # Errors
    /// When a device cannot be read.
    pub fn look(scenes: &Scenes, devices: &[Device]) -> Result<Self> {
        let disputes = disputes_about(&devices[0].client, scenes.deal)?;
        let reasons = || disputes.iter().flat_map(|dispute| &dispute.reasons);
        let tried = disputes.iter().flat_map(|dispute| &dispute.tried);
        let tried: Vec<String> = tried.flat_map(|tried| tried.values.keys().cloned()).collect();
        let (mut later_edit_on, mut refused_edit_on, mut shown_on) = (0, 0, 0);
        for device in devices {
            let Some(deal) = device.client.get(scenes.deal)? else { continue };
            let commission = deal.value("commission");
            let is_noted = commission.is_null() || *commission == Value::from(COMMISSION);
            shown_on += 1;
            later_edit_on += usize::from(deal.text("next_step") == Some(NEXT_STEP));
            refused_edit_on += usize::from(deal.int("probability") == Some(99) || !is_noted);
        }
        let is_kept = ["commission", "probability"].iter().all(|f| tried.iter().any(|t| t == f));
        let everywhere = shown_on >= Cast::TEAM.len() && later_edit_on == shown_on;
        Ok(Self {
            holds: disputes.len() == 1 && is_kept && everywhere && refused_edit_on == 0,
            disputes: disputes.len(),
            codes: reasons().map(|reason| reason.code.clone()).collect(),
            reasons: reasons().map(|reason| reason.text.clone()).collect(),
            tried,
            later_edit_on,
            refused_edit_on,
        })
    }
}

impl HandedOver {
    /// Looks at the account on the rep's device, and at what the server kept.
    ///
    /// # Errors
    /// When a device cannot be read.
    pub fn look(scenes: &Scenes, devices: &[Device]) -> Result<Self> {
        let rep = &devices[scenes.rep].client;
        let neighbour = &devices[Cast::NEIGHBOUR].client;
        let disputes = disputes_about(rep, scenes.account)?;
        let tried = disputes.iter().flat_map(|dispute| &dispute.tried);
        let tried: BTreeMap<&str, &str> = tried
            .flat_map(|tried| &tried.values)
            .filter_map(|(field, value)| Some((field.as_str(), value.as_str()?)))
            .collect();
        let account = neighbour.get(scenes.account)?;
        let shows = |(field, value): (&str, &str)| {
            account.as_ref().is_some_and(|account| account.text(field) == Some(value))
        };
        let kept = |client: &Client| -> Result<usize> {
            let kept = kept_edits(client)?;
            Ok(kept.iter().filter(|edit| edit.record == scenes.account).count())
        };
        let mut kept_edits_elsewhere = 0;
        for device in &devices[Cast::TEAM] {
            kept_edits_elsewhere += kept(&device.client)?;
        }
        let left_the_device = rep.get(scenes.account)?.is_none();
        let kept_edits = kept(neighbour)?;
        let taken_over = LEARNT.into_iter().all(shows);
        let is_whole = LEARNT.into_iter().collect::<BTreeMap<_, _>>() == tried;
        let is_theirs_alone = kept_edits > 0 && kept_edits_elsewhere == 0;
        Ok(Self {
            holds: left_the_device && is_whole && is_theirs_alone && taken_over,
            left_the_device,
            disputes: disputes.len(),
            kept_edits,
            kept_edits_elsewhere,
            taken_over,
        })
    }
}

impl Finance {
    /// Looks at the deal on the manager's and the reps' devices, and for the commission in their files.
    ///
    /// # Errors
    /// When a device or its files cannot be read.
    pub fn look(scenes: &Scenes, devices: &[Device]) -> Result<Self> {
        let commission = |device: &Device| -> Result<Value> {
            let deal = device.client.get(scenes.deal)?;
            Ok(deal.map_or(Value::Null, |deal| deal.value("commission").clone()))
        };
        let manager = &devices[Cast::MANAGER];
        let manager_sees = commission(manager)? == Value::from(COMMISSION);
        let found_in_managers_files = occurrences(&manager.path, COMMISSION)?;
        let (mut reps_who_see, mut found_in_reps_files) = (0, 0);
        for device in &devices[Cast::REPS] {
            reps_who_see += usize::from(!commission(device)?.is_null());
            found_in_reps_files += occurrences(&device.path, COMMISSION)?;
        }
        let hidden = reps_who_see == 0 && found_in_reps_files == 0;
        Ok(Self {
            holds: manager_sees && found_in_managers_files > 0 && hidden,
            manager_sees,
            reps_who_see,
            found_in_managers_files,
            found_in_reps_files,
        })
    }
}

impl Counts {
    /// Where a device's edits are, and whether every edit is in one place and none waits.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn of(client: &Client) -> Result<(Self, bool)> {
        let accounting = client.accounting()?;
        let counts = Self {
            submitted: accounting.submitted,
            accepted: accounting.accepted,
            disputed: accounting.disputed,
            pending: accounting.pending,
        };
        let settled = counts.accepted + counts.disputed;
        let holds = counts.submitted == settled && counts.pending == 0 && accounting.balances();
        Ok((counts, holds))
    }
}

impl Access {
    /// Each scene that did not end as it should.
    pub fn surprises(&self) -> impl Iterator<Item = String> {
        let scenes = [
            (self.refused_on_device.holds, "the commission was not refused on the device"),
            (self.refused_by_server.holds, "what a patched app sent did not end as it should"),
            (self.handed_over.holds, "the account that changed hands is not as it should be"),
            (self.finance.holds, "the finance section is not where it should be, and only there"),
            (self.audit.is_some(), "the audit does not verify"),
        ];
        scenes.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned())
    }
}

/// The edits that the server keeps, open or decided, as a device shows them.
///
/// # Errors
/// When the device cannot be read.
pub fn kept_edits(client: &Client) -> Result<Vec<KeptEdit>> {
    let sql = "SELECT \"_id\", \"record\" FROM \"kept_edit\" ORDER BY \"edited_at\", \"_id\"";
    let rows = client.query(sql, &[], Paging::default())?;
    let kept = rows.rows.iter().map(|row| {
        let [Value::Bytes(id), Value::Bytes(record)] = &row[..] else {
            anyhow::bail!("a kept edit has no id or no record");
        };
        let record = RecordId::try_from(record.as_slice())?;
        Ok(KeptEdit { id: RecordId::try_from(id.as_slice())?, record })
    });
    kept.collect()
}

/// A manager takes over what waits for a decision.
///
/// # Errors
/// When the manager's device refuses.
pub fn take_over(manager: &Device) -> Result<()> {
    for edit in manager.client.kept_edits()? {
        manager.client.accept_kept(edit.id)?;
    }
    Ok(())
}

fn disputes_about(client: &Client, record: RecordId) -> Result<Vec<client_sdk::Dispute>> {
    let mut disputes = client.disputes()?;
    disputes.retain(|dispute| dispute.tried.iter().any(|tried| tried.record == record));
    Ok(disputes)
}

/// How often a text stands in the files of a database.
fn occurrences(database: &Path, text: &str) -> Result<usize> {
    let mut found = 0;
    for ending in ["", "-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        match std::fs::read(PathBuf::from(path)) {
            Ok(bytes) => {
                found += bytes.windows(text.len()).filter(|part| *part == text.as_bytes()).count();
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}
