//! Doing what an operator asks of a workspace, on the thread that owns it.

use std::collections::BTreeMap;

use crdt_core::id::{Epoch, MemberId, RecordId};
use crdt_core::policy::{Decision, Policy};
use crdt_core::time::Timestamp;

use super::backup::new_epoch;
use super::erasure;
use super::error::{AdminError, FaultCode};
use super::recovery::{self, RestoredLine};
use super::request::{
    AdminReply, AdminRequest, DeviceLine, ExplanationLine, ExplanationLines, MemberFields,
    MemberLine, SimulationLine, SimulationLines,
};
use crate::audit::{Act, append_act};
use crate::identity::accounts::{AccountError, revoke_device_tokens, set_password};
use crate::store;
use crate::store::access::MemberRow;
use crate::store::accounts::Whose;
use crate::store::recovery::BackupRow;
use crate::workspace::{
    Device, Explanation, MemberChanges, MemberDelta, MemberError, PolicyError, Workspace,
};

/// Does what is asked. What sessions are to be told of it, the workspace says afterwards.
///
/// # Errors
/// When the request cannot be done; nothing has changed then.
pub fn perform(
    workspace: &mut Workspace,
    now: Timestamp,
    request: AdminRequest,
) -> Result<AdminReply, AdminError> {
    match request {
        AdminRequest::AddMember { id, fields } => add_member(workspace, now, id, &fields),
        AdminRequest::SetMember { id, fields } => {
            workspace.set_member(now, id, &changes(workspace.policy(), &fields)?)?;
            Ok(AdminReply::Done)
        }
        AdminRequest::SetActive { id, active } => set_active(workspace, now, id, active),
        AdminRequest::ListMembers => Ok(AdminReply::Members(members(workspace))),
        AdminRequest::SetPassword { id, login, password } => {
            set_password(&*workspace.store(), &id, &login, &password.0, now)?;
            Ok(AdminReply::Done)
        }
        AdminRequest::ListDevices { member } => devices(workspace, member),
        AdminRequest::RevokeDevice { device } => {
            if !workspace.devices()?.iter().any(|known| known.device == device) {
                let text = format!(
                    "no device {device} was ever here; `device list` shows those that were"
                );
                return Err(AdminError::refused(FaultCode::NoSuchDevice, text));
            }
            workspace.revoke_device(now, device)?;
            revoke_device_tokens(&*workspace.store(), &device)?;
            Ok(AdminReply::Done)
        }
        AdminRequest::PreviewErasure { record } => erasure::preview(workspace, record),
        AdminRequest::Erase { record } => erasure::erase(workspace, now, record),
        AdminRequest::ShowErasure { record } => erasure::certificate(workspace, record),
        AdminRequest::CheckPolicy { text, file } => {
            Policy::parse(&text, &file, workspace.schema())?;
            Ok(AdminReply::Done)
        }
        AdminRequest::SetPolicy { text, file } => {
            Ok(shown(&*workspace.set_policy(now, &text, &file)?))
        }
        AdminRequest::ShowPolicy => Ok(shown(workspace.policy())),
        AdminRequest::Explain { member, record } => explain(workspace, member, record),
        AdminRequest::NoteBackup { epoch, position, at } => {
            let noted = workspace.note_backup(Epoch(epoch), &BackupRow { position, at })?;
            Ok(AdminReply::Noted(noted))
        }
        AdminRequest::Recovery => recovery::recovery(workspace, now),
        AdminRequest::CloseRecovery => {
            workspace.close_relay(now)?;
            recovery::recovery(workspace, now)
        }
        AdminRequest::ConfirmRestore { common } => {
            let restoration = workspace.confirm_restore(now, new_epoch(), common)?;
            let status = workspace.recovery()?;
            Ok(AdminReply::Restored(RestoredLine::of(&status, &restoration)))
        }
        AdminRequest::Simulate { text, file } => {
            let policy = Policy::parse(&text, &file, workspace.schema())?;
            simulate(workspace, &policy)
        }
    }
}

fn shown(policy: &Policy) -> AdminReply {
    AdminReply::Policy { version: policy.version(), text: policy.text().to_owned() }
}

/// What a member's record is to say. A role that the policy does not have would let the member do nothing.
fn changes(policy: &Policy, fields: &MemberFields) -> Result<MemberChanges, AdminError> {
    if let Some(role) = fields.role.as_deref().filter(|role| !role.is_empty())
        && !policy.roles().any(|(name, _)| name == role)
    {
        let roles: Vec<&str> = policy.roles().map(|(name, _)| name).collect();
        let text = format!("the policy has no role `{role}`; its roles are {}", roles.join(", "));
        return Err(AdminError::refused(FaultCode::Refused, text));
    }
    Ok(MemberChanges {
        name: fields.name.clone(),
        role: fields.role.clone(),
        territories: fields.territories.as_ref().map(|names| names.iter().cloned().collect()),
        teams: fields.teams.as_ref().map(|names| names.iter().cloned().collect()),
        region: fields.region.clone(),
        email: fields.email.clone(),
        active: None,
    })
}

fn add_member(
    workspace: &mut Workspace,
    now: Timestamp,
    id: Option<MemberId>,
    fields: &MemberFields,
) -> Result<AdminReply, AdminError> {
    let Some(name) = fields.name.as_deref().filter(|name| !name.trim().is_empty()) else {
        let text = "a member needs a name, for people to read";
        return Err(AdminError::refused(FaultCode::BadRequest, text));
    };
    let id = id.unwrap_or_else(super::new_member);
    let changes = changes(workspace.policy(), fields)?;
    workspace.add_member(now, id, name, &changes)?;
    Ok(AdminReply::Added { id, without_admin: !workspace.has_administrator() })
}

fn set_active(
    workspace: &mut Workspace,
    now: Timestamp,
    id: MemberId,
    active: bool,
) -> Result<AdminReply, AdminError> {
    let changes = MemberChanges { active: Some(active), ..MemberChanges::default() };
    workspace.set_member(now, id, &changes)?;
    if !active {
        store::write(&*workspace.store(), |tx| {
            if tx.revoke_families(Whose::Member(id))? > 0 {
                append_act(tx, now, Act::TokensRevoked { member: id })?;
            }
            Ok(())
        })?;
    }
    Ok(AdminReply::Done)
}

fn members(workspace: &Workspace) -> Vec<MemberLine> {
    let policy = workspace.policy();
    let line = |row: &MemberRow| MemberLine {
        id: row.standing.member,
        name: row.name.clone(),
        role: policy.role_of(&row.standing).map(str::to_owned),
        territories: row.standing.territories.iter().cloned().collect(),
        teams: row.standing.teams.iter().cloned().collect(),
        region: row.standing.region.clone(),
        active: row.standing.active,
    };
    let mut lines: Vec<MemberLine> = workspace.members().map(line).collect();
    lines.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    lines
}

fn devices(workspace: &Workspace, member: Option<MemberId>) -> Result<AdminReply, AdminError> {
    let names: BTreeMap<MemberId, &str> =
        workspace.members().map(|row| (row.standing.member, row.name.as_str())).collect();
    let mut devices = workspace.devices()?;
    devices.retain(|device| member.is_none_or(|member| device.member == member));
    devices.sort_by_key(|device| (std::cmp::Reverse(device.last_seen), device.replica));
    let line = |device: Device| {
        let member_name = names.get(&device.member).copied().unwrap_or_default().to_owned();
        DeviceLine::new(device, member_name)
    };
    Ok(AdminReply::Devices(devices.into_iter().map(line).collect()))
}

fn explain(
    workspace: &Workspace,
    member: MemberId,
    record: RecordId,
) -> Result<AdminReply, AdminError> {
    if !workspace.members().any(|row| row.standing.member == member) {
        return Err(MemberError::NoSuchMember(member).into());
    }
    let Some(explanation) = workspace.explain(member, record)? else {
        let text = format!("there is no record {record}");
        return Err(AdminError::refused(FaultCode::NoSuchRecord, text));
    };
    let lines = lines_of(&explanation);
    Ok(AdminReply::Explanation(ExplanationLines {
        role: explanation.role,
        entity: explanation.entity,
        scopes: explanation.scopes,
        shown_by: explanation.shown_by,
        lines,
    }))
}

/// A line for each question, and one for each group of fields that is answered differently.
fn lines_of(explanation: &Explanation) -> Vec<ExplanationLine> {
    let mut lines = Vec::new();
    for question in &explanation.questions {
        let line = |fields, decision: &Decision| {
            let (allowed, because) = match decision {
                Decision::Allow(rule) => (true, rule.to_string()),
                Decision::Deny(denial) => (false, denial.why.to_string()),
            };
            let (action, section) = (question.action.to_string(), question.section.to_string());
            ExplanationLine { action, section, fields, allowed, because }
        };
        lines.push(line(Vec::new(), &question.decision));
        let mut groups: Vec<ExplanationLine> = Vec::new();
        for (field, decision) in &question.fields {
            let alone = line(vec![field.clone()], decision);
            let same = |group: &&mut ExplanationLine| {
                (group.allowed, &group.because) == (alone.allowed, &alone.because)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.fields.push(field.clone()),
                None => groups.push(alone),
            }
        }
        lines.extend(groups);
    }
    lines
}

fn simulate(workspace: &Workspace, policy: &Policy) -> Result<AdminReply, AdminError> {
    let line = |delta: MemberDelta| SimulationLine {
        member: delta.member,
        name: delta.name,
        records_gained: delta.records_gained,
        records_lost: delta.records_lost,
        bytes_gained: delta.bytes_gained,
        bytes_lost: delta.bytes_lost,
    };
    let members = workspace.simulate(policy)?.into_iter().map(line).collect();
    let (from, to) = (workspace.policy().version(), policy.version());
    Ok(AdminReply::Simulation(SimulationLines { from, to, members }))
}

impl From<MemberError> for AdminError {
    fn from(error: MemberError) -> Self {
        let code = match &error {
            MemberError::NoSuchMember(_) => FaultCode::NoSuchMember,
            MemberError::Exists(_) => FaultCode::MemberExists,
            MemberError::Reserved(_) => FaultCode::BadRequest,
            MemberError::Refused(_) => FaultCode::Refused,
            MemberError::Store(_) => FaultCode::Machine,
        };
        match error {
            MemberError::Store(error) => error.into(),
            MemberError::NoSuchMember(id) => Self::refused(
                code,
                format!("there is no member {id}; `member list` shows them all"),
            ),
            MemberError::Exists(id) => Self::refused(
                code,
                format!("there is a member {id} already; change it with `member set {id}`"),
            ),
            MemberError::Reserved(_) | MemberError::Refused(_) => {
                Self::refused(code, error.to_string())
            }
        }
    }
}

impl From<PolicyError> for AdminError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Problems(problems) => problems.into(),
            PolicyError::Store(error) => error.into(),
            PolicyError::NotNewer { .. } => Self::refused(FaultCode::Refused, error.to_string()),
        }
    }
}

impl From<AccountError> for AdminError {
    fn from(error: AccountError) -> Self {
        let code = match &error {
            AccountError::NoSuchMember => FaultCode::NoSuchMember,
            AccountError::BadLogin | AccountError::LoginTaken | AccountError::BadPassword => {
                FaultCode::Refused
            }
            AccountError::Store(_) | AccountError::Machine(_) => FaultCode::Machine,
        };
        match error {
            AccountError::Store(error) => error.into(),
            error => Self::refused(code, error.to_string()),
        }
    }
}
