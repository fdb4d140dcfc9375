//! Looking: what every member's device is sent, also after everything has moved, against what the model says
//! that the member may see.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, RecordId, Section};
use crdt_core::protocol::Entry;
use crdt_core::record::{Live, Scalar};

use super::Probes;
use crate::model::Record;

type Shown = BTreeSet<(RecordId, String)>;

impl Probes {
    /// Lets every device read all that there is for it.
    pub(super) fn look_all(&mut self) {
        self.adopt_kept_edits();
        let documents = self.documents();
        self.check_documents(&documents);
        for place in 0..self.readers.len() {
            self.look(place, &documents);
        }
    }

    fn look(&mut self, place: usize, documents: &BTreeMap<u64, (DocumentId, String)>) {
        let mut reader = self.readers[place].clone();
        let who = reader.member;
        let wanted = self.model.visible(who);
        let mut sent = BTreeSet::new();
        let greeted = self.bare.read_all(&mut reader, |page| {
            sent.extend(page.entries.iter().filter_map(|entry| match entry {
                Entry::Changes { number, .. } | Entry::Document { number, .. } => Some(*number),
                Entry::Left { .. } | Entry::Erased { .. } => None,
            }));
        });
        let active = self.model.members[&who].active;
        if greeted != active {
            self.fail(&format!("greeted: {greeted}, {:?}", self.model.members[&who]));
        }
        if !greeted {
            return;
        }
        let sent: Shown = sent.iter().map(|number| shown(&documents[number].0)).collect();
        let leaked: Vec<_> = sent.difference(&wanted).collect();
        if !leaked.is_empty() {
            self.fail(&format!("{:?} was sent {leaked:?}", self.model.members[&who]));
        }
        let held: Shown = reader.held().map(shown).collect();
        if held != wanted {
            let kept: Vec<_> = held.difference(&wanted).map(|one| self.told(one)).collect();
            let missing: Vec<_> = wanted.difference(&held).map(|one| self.told(one)).collect();
            let member = &self.model.members[&who];
            let scopes = reader.scopes();
            self.fail(&format!(
                "{member:?}\nkeeps {kept:#?}\nand lacks {missing:#?}\nwith {scopes:?}"
            ));
        }
        for (id, entity) in documents.values() {
            let kind = format!("page {entity} {}", id.section);
            self.counts.count(&kind, wanted.contains(&shown(id)));
        }
        self.readers[place] = reader;
    }

    fn told(&self, (record, section): &(RecordId, String)) -> String {
        let record = &self.model.records[record];
        format!("{section} of {record:?} at {:?}", self.model.places(record))
    }

    /// Every document of the server's, by number, with its entity.
    fn documents(&self) -> BTreeMap<u64, (DocumentId, String)> {
        let rows = self.bare.documents().into_iter();
        rows.map(|row| (row.number, (row.id, row.entity))).collect()
    }

    /// The server has the documents that the model has.
    fn check_documents(&self, documents: &BTreeMap<u64, (DocumentId, String)>) {
        let there: Shown = documents.values().map(|(id, _)| shown(id)).collect();
        let records = self.model.records.values();
        let wanted: Shown = records
            .flat_map(|record| record.sections.iter().map(|section| (record.id, section.clone())))
            .collect();
        if there != wanted {
            self.fail(&format!(
                "the server has {:?} and lacks {:?}",
                there.difference(&wanted).collect::<Vec<_>>(),
                wanted.difference(&there).collect::<Vec<_>>()
            ));
        }
    }

    /// The server keeps what was refused of records that their authors could see once, beside those records.
    fn adopt_kept_edits(&mut self) {
        let kept = self.bare.documents().into_iter().filter(|row| row.entity == "kept_edit");
        for row in kept.collect::<Vec<_>>() {
            let section = row.id.section.to_string();
            if let Some(known) = self.model.records.get_mut(&row.id.record) {
                known.sections.insert(section);
                continue;
            }
            let main = Section::main();
            let cells = self.bare.cells(row.id.record, &main).expect("main comes first");
            let of = |key: &str| match &cells.live(key).first()?.value {
                Live::Scalar(Scalar::Bytes(bytes)) => RecordId::try_from(&bytes[..]).ok(),
                _ => None,
            };
            let creator = of("$created_by").expect("every record has a creator");
            let creator = crdt_core::id::MemberId(creator.0);
            let mut record = Record::new(row.id.record, "kept_edit", creator);
            record.parent = of("record");
            record.sections.insert(section);
            self.model.records.insert(record.id, record);
        }
    }
}

fn shown(id: &DocumentId) -> (RecordId, String) {
    (id.record, id.section.to_string())
}
