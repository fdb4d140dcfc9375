//! What the sender of a batch may see of what it names, before any of it is looked at.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, RecordId, Section};
use crdt_core::policy::{Action, Ask, Denial, Placement, Standing, Why};
use crdt_core::protocol::{DocumentRef, Identity, Refusal};
use crdt_core::record::Reason;

use super::{Desk, Stop, Submitted, refusal, refused};
use crate::store::{Read, StoreError};

/// A record that a batch names.
#[derive(Debug, Clone)]
pub(super) enum Sight {
    /// The batch makes it.
    New,
    /// It is there, and the sender may read it.
    Seen(Placement),
    /// The sender may not read it, or there is none.
    Unseen {
        /// Whether it is there.
        exists: bool,
    },
}

/// What a batch names, by record.
pub(super) type Sights = BTreeMap<RecordId, Sight>;

impl Desk<'_> {
    /// Looks at what a batch names as its sender may. The server itself sees everything.
    pub(super) fn look(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        who: &Standing,
    ) -> Result<Sights, Stop> {
        self.check_identities(submitted)?;
        let mut sights = Sights::new();
        let mut unseen: Vec<Refusal> = Vec::new();
        let mut existing = BTreeSet::new();
        for document in &submitted.batch.documents {
            let id = match &document.document {
                DocumentRef::Identity(identity) => Some(identity.id.clone()),
                DocumentRef::Number(number) => self.name_of(tx, *number)?.map(|(id, _)| id),
            };
            let by_name = matches!(document.document, DocumentRef::Identity(_));
            let Some(id) = id else {
                unseen.push(refusal(None, &Reason::OutOfScope));
                continue;
            };
            let sight = self.sight(tx, submitted, who, &id, &mut sights)?;
            let shown = Some(id.clone()).filter(|_| by_name);
            match sight {
                Sight::New => {}
                Sight::Seen(_) if self.sees_section(submitted, who, &id, &sight, tx)? => {}
                Sight::Seen(_) if by_name => return Err(section_denied(self, tx, &id)?),
                Sight::Seen(_) => unseen.push(refusal(None, &Reason::OutOfScope)),
                Sight::Unseen { exists } => {
                    if by_name && self.follows_refusal(tx, submitted, &id)? {
                        return Err(refused(&id, Reason::DependsOnRefused));
                    }
                    existing.extend(Some(id.record).filter(|_| exists));
                    unseen.push(refusal(shown, &Reason::OutOfScope));
                }
            }
        }
        unseen.dedup();
        unseen.truncate(REFUSALS_MAX);
        match unseen.is_empty() {
            true => Ok(sights),
            false => Err(Stop::Unseen { reasons: unseen, records: existing }),
        }
    }

    /// The documents that a batch names, as far as its sender may know them: a document's number tells
    /// nothing to those who may not see it, also not later.
    pub(super) fn names(
        &mut self,
        tx: &dyn Read,
        from: &Submitted,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let who = self.standing(from.member);
        let mut sights = Sights::new();
        let mut names = Vec::with_capacity(from.batch.documents.len());
        for document in &from.batch.documents {
            let id = match &document.document {
                DocumentRef::Identity(identity) => {
                    names.push(identity.id.clone());
                    continue;
                }
                DocumentRef::Number(number) => self.name_of(tx, *number)?.map(|(id, _)| id),
            };
            let Some(id) = id else { continue };
            let sight = self.sight(tx, from, &who, &id, &mut sights)?;
            if self.sees_section(from, &who, &id, &sight, tx)? {
                names.push(id);
            }
        }
        Ok(names)
    }

    /// Entities and sections that the schema lacks, whatever else the batch names.
    fn check_identities(&self, submitted: &Submitted) -> Result<(), Stop> {
        for document in &submitted.batch.documents {
            let DocumentRef::Identity(Identity { id, entity }) = &document.document else {
                continue;
            };
            let unknown = || refused(id, Reason::UnknownEntity { entity: entity.clone() });
            let entity = self.rules.schema.entity(entity).ok_or_else(unknown)?;
            if !entity.sections().any(|section| *section == id.section) {
                return Err(refused(id, Reason::NoSuchRecord));
            }
        }
        Ok(())
    }

    /// What the sender sees of a record; what the batch said of it before counts.
    pub(super) fn sight(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        who: &Standing,
        id: &DocumentId,
        sights: &mut Sights,
    ) -> Result<Sight, StoreError> {
        if let Some(sight) = sights.get(&id.record) {
            return Ok(sight.clone());
        }
        let sight = match self.routes.get(tx, &id.record)? {
            None if id.section.is_main() => Sight::New,
            None => Sight::Unseen { exists: false },
            Some(route) => {
                let placement = self.routes.place(tx, &self.rules.policy, &route)?;
                let main = Section::main();
                let may = self.may_read(submitted, who, &route.entity, &main, &placement);
                if may { Sight::Seen(placement) } else { Sight::Unseen { exists: true } }
            }
        };
        sights.insert(id.record, sight.clone());
        Ok(sight)
    }

    /// Whether the sender may read the section of a document whose record it sees.
    pub(super) fn sees_section(
        &mut self,
        submitted: &Submitted,
        who: &Standing,
        id: &DocumentId,
        sight: &Sight,
        tx: &dyn Read,
    ) -> Result<bool, StoreError> {
        let Sight::Seen(placement) = sight else { return Ok(matches!(sight, Sight::New)) };
        let Some(route) = self.routes.get(tx, &id.record)? else { return Ok(false) };
        Ok(self.may_read(submitted, who, &route.entity, &id.section, placement))
    }

    pub(super) fn may_read(
        &self,
        submitted: &Submitted,
        who: &Standing,
        entity: &str,
        section: &Section,
        placement: &Placement,
    ) -> bool {
        let ask = Ask { action: Action::Read, entity, section, field: None, placement };
        self.is_own(submitted) || self.rules.policy.decide(who, &ask).is_allowed()
    }

    /// Whether the server itself sends it. No session can be of its replica.
    pub(super) fn is_own(&self, submitted: &Submitted) -> bool {
        submitted.replica == self.rules.server
    }

    fn follows_refusal(
        &self,
        tx: &dyn Read,
        from: &Submitted,
        id: &DocumentId,
    ) -> Result<bool, StoreError> {
        let main = DocumentId::main(id.record);
        Ok(tx.has_refused(&from.replica, id)? || tx.has_refused(&from.replica, &main)?)
    }
}

/// The answer to a write into a section that the sender may not read: the same whatever the section holds.
fn section_denied(desk: &mut Desk<'_>, tx: &dyn Read, id: &DocumentId) -> Result<Stop, StoreError> {
    let entity = desk.routes.get(tx, &id.record)?.map(|route| route.entity).unwrap_or_default();
    let denial = Denial {
        action: Action::Update,
        entity,
        section: id.section.clone(),
        field: None,
        why: Why::SectionNotGranted,
    };
    let reason = refusal(Some(id.clone()), &Reason::Forbidden { denial });
    Ok(Stop::Denied(vec![Refusal { field: Some(id.section.to_string()), ..reason }]))
}

/// Reasons that one refusal lists: more than a person reads.
pub(super) const REFUSALS_MAX: usize = 64;
