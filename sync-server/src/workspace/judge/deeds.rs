//! What a batch does to each record, judged by the policy once every change has passed the door.

use std::collections::BTreeMap;

use crdt_core::id::{DocumentId, MemberId, RecordId, Section};
use crdt_core::policy::{Action, Ask, Deed, Denial, Route, RuleId, Standing, Why};
use crdt_core::protocol::Refusal;
use crdt_core::record::{Cells, Live, Reason, Scalar};

use super::door::Tried;
use super::sight::{REFUSALS_MAX, Sight, Sights};
use super::{Desk, Stop, Submitted, refusal, refused};
use crate::store::Read;
use crate::store::access::MemberRow;
use crate::workspace::directory;

/// A batch that the policy allows.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// The routes of records whose `main` changed.
    pub(super) routes: BTreeMap<RecordId, Route>,
    /// The members whose records changed.
    pub(super) members: BTreeMap<MemberId, MemberRow>,
    /// The rules that allow it, by record.
    pub(super) rules: BTreeMap<RecordId, Vec<String>>,
}

impl Desk<'_> {
    /// Judges what a batch does. The server's own batches are allowed whatever they do.
    pub(super) fn judge_deeds(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        who: &Standing,
        sights: Sights,
        tried: &Tried,
    ) -> Result<Judged, Stop> {
        let mut judged = Judged::default();
        for (id, draft) in &tried.documents {
            if !id.section.is_main() || draft.added.len() == tried.began[id] {
                continue;
            }
            if let Some(entity) = self.rules.schema.entity(&draft.entity) {
                judged.routes.insert(id.record, Route::of(entity, &draft.cells));
            }
            let row = directory::row_of(&self.rules.schema, id, &draft.entity, &draft.cells);
            judged.members.extend(row.map(|row| (row.standing.member, row)));
        }
        if self.is_own(submitted) {
            return Ok(judged);
        }
        check_creators(submitted, &sights, tried)?;
        let deeds = self.deeds(tx, who, sights, tried, &judged.routes)?;
        let mut denied = Vec::new();
        for (record, deed) in deeds {
            match self.rules.policy.judge(who, &deed) {
                Ok(rules) => {
                    let rules = rules.iter().map(RuleId::to_string).collect();
                    judged.rules.insert(record, rules);
                }
                Err(denials) => {
                    let refusals =
                        denials.into_iter().map(|denial| self.denied(who, record, denial));
                    denied.extend(refusals);
                }
            }
        }
        denied.truncate(REFUSALS_MAX);
        if !denied.is_empty() {
            return Err(Stop::Denied(denied));
        }
        self.check_administrators(&judged)?;
        Ok(judged)
    }

    /// What the batch does to each record. A record whose own route stays is judged where it stood: that its
    /// parent moves is the parent's deed.
    pub(super) fn deeds(
        &mut self,
        tx: &dyn Read,
        who: &Standing,
        sights: Sights,
        tried: &Tried,
        routes: &BTreeMap<RecordId, Route>,
    ) -> Result<BTreeMap<RecordId, Deed>, Stop> {
        let policy = &self.rules.policy;
        let mut deeds: BTreeMap<RecordId, Deed> = BTreeMap::new();
        let mut merged_into = Vec::new();
        for (record, sight) in sights {
            let before = match sight {
                Sight::Seen(placement) => Some(placement),
                Sight::New | Sight::Unseen { .. } => None,
            };
            let stored = self.routes.get(tx, &record)?;
            let route = routes.get(&record).or(stored.as_ref());
            let Some(route) = route else { continue };
            let after = match &before {
                Some(before) if stored.as_ref() == Some(route) => before.clone(),
                _ => self.routes.place_with(tx, policy, route, routes)?,
            };
            let was = stored.as_ref().and_then(|stored| stored.merged_into);
            let merged = route.merged_into.filter(|target| was != Some(*target));
            merged_into.extend(merged.map(|target| (record, target, route.entity.clone())));
            deeds.insert(record, Deed::new(route.entity.clone(), before, after));
        }
        for (record, target, entity) in merged_into {
            self.merge_into(tx, who, (record, target, &entity), &mut deeds)?;
        }
        for (id, draft) in &tried.documents {
            let Some(entity) = self.rules.schema.entity(&draft.entity) else { continue };
            let Some(deed) = deeds.get_mut(&id.record) else { continue };
            for added in &draft.added[tried.began[id]..] {
                deed.note(&id.section, &added.change, entity);
            }
        }
        Ok(deeds)
    }

    /// A merger is a deed on the record that survives as well: it takes in what hangs on the other. Both are
    /// of one entity.
    fn merge_into(
        &mut self,
        tx: &dyn Read,
        who: &Standing,
        (record, target, entity): (RecordId, RecordId, &str),
        deeds: &mut BTreeMap<RecordId, Deed>,
    ) -> Result<(), Stop> {
        if let Some(deed) = deeds.get_mut(&target) {
            deed.merges = true;
        } else {
            let unseen = || refused(&DocumentId::main(record), Reason::OutOfScope);
            let route = self.routes.get(tx, &target)?.ok_or_else(unseen)?;
            let policy = &self.rules.policy;
            let place = self.routes.place(tx, policy, &route)?;
            let section = Section::main();
            let (action, entity) = (Action::Read, route.entity.as_str());
            let read = Ask { action, entity, section: &section, field: None, placement: &place };
            if !policy.decide(who, &read).is_allowed() {
                return Err(unseen());
            }
            let mut deed = Deed::new(route.entity, Some(place.clone()), place);
            deed.merges = true;
            deeds.insert(target, deed);
        }
        if deeds.get(&target).is_some_and(|deed| deed.entity == entity) {
            return Ok(());
        }
        let field = "$merged_into".to_owned();
        Err(refused(&DocumentId::main(record), Reason::WrongOperation { field }))
    }

    /// What the sender is told of a denial.
    fn denied(&self, who: &Standing, record: RecordId, denial: Denial) -> Refusal {
        let policy = &self.rules.policy;
        let rule =
            policy.role_of(who).map(|role| format!("role `{role}` of policy {}", policy.version()));
        let document = DocumentId { record, section: denial.section.clone() };
        let section = (denial.why == Why::SectionNotGranted).then(|| denial.section.to_string());
        let reason = Reason::Forbidden { denial };
        let told = refusal(Some(document), &reason);
        Refusal { field: section.or(told.field), rule, ..told }
    }

    /// Somebody stays who can give roles.
    fn check_administrators(&self, judged: &Judged) -> Result<(), Stop> {
        let Some(member) = judged.members.keys().next() else { return Ok(()) };
        let Self { rules, members, .. } = self;
        let had = rules.directory.has_administrator(&rules.policy, members);
        let mut after = members.clone();
        after.extend(judged.members.clone());
        if had && !rules.directory.has_administrator(&rules.policy, &after) {
            return Err(refused(&DocumentId::main((*member).into()), Reason::LastAdmin));
        }
        Ok(())
    }
}

/// Whoever makes a record is its creator.
fn check_creators(submitted: &Submitted, sights: &Sights, tried: &Tried) -> Result<(), Stop> {
    let new = sights.iter().filter(|(_, sight)| matches!(sight, Sight::New));
    for id in new.map(|(record, _)| DocumentId::main(*record)) {
        let Some(draft) = tried.documents.get(&id) else { continue };
        if !is_created_by(&draft.cells, submitted.member) {
            return Err(refused(&id, Reason::NotYourself));
        }
    }
    Ok(())
}

fn is_created_by(cells: &Cells, member: MemberId) -> bool {
    cells.live("$created_by").iter().all(|op| {
        matches!(&op.value, Live::Scalar(Scalar::Bytes(bytes)) if bytes[..] == member.as_bytes()[..])
    })
}
