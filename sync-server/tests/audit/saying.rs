//! What entries say: one encoding each, names and never values, bounded and never silently.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crdt_core::id::{ActorId, BatchId, ChangeHash, DocumentId, RecordId, ReplicaId};
use crdt_core::protocol::{
    Batch, DocumentChanges, DocumentRef, Identity, Outcome, Refusal, SentChange,
};
use crdt_core::record::{Author, Cells, Change, Edit, Scalar, SeedKind, seed};
use crdt_core::schema::Schema;
use sync_server::audit::{
    Act, CSV_HEADER, Entry, Head, Judged, RECORDS_MAX, REFUSALS_MAX, UNKNOWN_FIELD, Verdict, What,
    Who, csv_lines, json_line,
};

use super::entries::{NOW, chain, entry};

#[test]
fn an_entry_has_one_encoding_and_nothing_else_decodes() {
    for n in 0..24 {
        let bytes = entry(n).to_bytes(n + 1);
        assert_eq!(Entry::from_bytes(&bytes), Ok((n + 1, entry(n))));
        for end in 0..bytes.len() {
            assert!(Entry::from_bytes(&bytes[..end]).is_err());
        }
        assert!(Entry::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        // Whatever other bytes decode to, they are that entry's own.
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x41;
            if let Ok((number, entry)) = Entry::from_bytes(&other) {
                assert_eq!(entry.to_bytes(number), other);
            }
        }
    }
}

#[test]
fn the_chain_is_the_documented_one() {
    let (rows, _) = chain(Head::empty(), (1..=12).map(entry));
    let hash: String = rows[11].2.iter().map(|byte| format!("{byte:02x}")).collect();
    // Another hash here means that audits written before can no longer be verified.
    assert_eq!(hash, GOLDEN_HASH);
}

#[test]
fn an_erasure_is_an_act_with_its_record_and_nothing_else_of_it() {
    let record = id(7);
    let what = What::Act(Act::RecordErased { record });
    let entry = Entry { received_at: NOW, who: Who::default(), policy_version: 0, what };
    let bytes = entry.to_bytes(3);
    assert_eq!(Entry::from_bytes(&bytes), Ok((3, entry.clone())));
    assert_eq!(bytes[bytes.len() - 17], 11, "the number of the act is for ever");
    let line = json_line(&Head { number: 3, hash: [1; 32] }, &entry);
    assert!(line.contains("\"record_erased\"") && line.contains(&record.to_string()), "{line}");
}

const GOLDEN_HASH: &str = "99238b8bc383b5b9f18024042c58794ad75dcec42bd6360e1593fe774648ebd2";

fn sent(change: Change) -> SentChange {
    SentChange::new(&change, &ChangeHash([0; 32]), None)
}

fn written(edits: &[Edit]) -> Vec<SentChange> {
    let author = Author { actor: ActorId::of(ReplicaId([1; 12]), 0), time: NOW };
    author.write(&mut Cells::default(), edits).into_iter().map(|(change, _)| sent(change)).collect()
}

fn put(key: &str) -> Edit {
    Edit::Put { key: key.to_owned(), value: Scalar::Str("canary".to_owned()) }
}

fn id(n: u32) -> RecordId {
    RecordId::from_source_key("account", &n.to_string())
}

fn of(n: u32, section: &str, entity: &str, changes: Vec<SentChange>) -> DocumentChanges {
    let id = DocumentId { record: id(n), section: section.parse().unwrap() };
    let document = DocumentRef::Identity(Identity { id, entity: entity.to_owned() });
    DocumentChanges { document, changes }
}

fn batch(documents: Vec<DocumentChanges>) -> Batch {
    Batch { id: BatchId([1; 16]), number: 1, schema_version: 1, policy_version: 1, documents }
}

fn judged(batch: &Batch, outcome: &Outcome) -> Judged {
    let nothing = |_| Ok::<_, Infallible>(None);
    let Ok(judged) = Judged::of(Schema::builtin(), batch, outcome, &BTreeMap::new(), nothing);
    judged
}

const ACCEPTED: Outcome = Outcome::Accepted { position: 7, documents: Vec::new() };

#[test]
fn fields_are_named_by_section_and_no_value_is_kept() {
    let main = written(&[
        put("name"),
        Edit::add("tags/canary".to_owned()),
        put("$entity"),
        put("canary"),
        put("billing.city"),
    ]);
    let seeds = vec![sent(seed(SeedKind::Text, "notes"))];
    let finance = written(&[put("credit_limit")]);
    let documents = vec![
        of(1, "main", "account", [seeds, main].concat()),
        of(1, "finance", "account", finance),
        of(2, "main", "Canary entity", written(&[put("canary")])),
    ];
    let judged = judged(&batch(documents), &ACCEPTED);
    assert_eq!(judged.edited_at, Some(NOW));
    assert_eq!(judged.verdict, Verdict::Accepted { position: 7 });
    let [first, second] = &judged.records[..] else { panic!("{:?}", judged.records) };
    let fields: Vec<(&str, Vec<&str>)> = first
        .fields
        .iter()
        .map(|(section, names)| (section.as_str(), names.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(fields[0].0, "finance");
    assert_eq!(
        fields[1],
        ("main", vec!["$entity", UNKNOWN_FIELD, "billing.city", "name", "notes", "tags"])
    );
    assert_eq!(second.entity.as_deref(), Some(UNKNOWN_FIELD));
    let entry = Entry { what: What::Batch(judged), ..entry(11) };
    let bytes = entry.to_bytes(1);
    let head = Head { number: 1, hash: [0; 32] };
    let said = json_line(&head, &entry) + &csv_lines(&head, &entry);
    assert!(!bytes.windows(6).any(|bytes| bytes == b"canary"));
    assert!(!said.to_lowercase().contains("canary"), "{said}");
}

#[test]
fn a_huge_batch_lists_so_many_records_and_counts_the_others() {
    let count = u32::try_from(RECORDS_MAX).unwrap() + 44;
    let changes = written(&[put("name")]);
    let mut documents: Vec<DocumentChanges> =
        (0..count).map(|n| of(n, "main", "account", changes.clone())).collect();
    // A second document of a record that is counted already, and of one that is listed.
    documents.push(of(count - 1, "finance", "account", changes.clone()));
    documents.push(of(0, "finance", "account", changes));
    let judged = judged(&batch(documents), &ACCEPTED);
    assert_eq!((judged.records.len(), judged.more_records), (RECORDS_MAX, 44));
    assert_eq!(judged.records[0].fields.len(), 2);
    let head = Head { number: 1, hash: [0; 32] };
    let entry = Entry { what: What::Batch(judged), ..entry(11) };
    assert!(json_line(&head, &entry).contains("\"more_records\":44"));
}

#[test]
fn a_number_that_no_document_has_is_a_line_without_a_record() {
    let document = DocumentRef::Number(99);
    let changes = written(&[put("name")]);
    let judged = judged(&batch(vec![DocumentChanges { document, changes }]), &ACCEPTED);
    assert_eq!((judged.records.len(), judged.records[0].record), (1, None));
}

#[test]
fn a_refusal_keeps_codes_and_field_names_and_counts_what_it_does_not_list() {
    let refusal = |field: &str| Refusal {
        code: "forbidden".to_owned(),
        text: "a sentence".to_owned(),
        document: Some(DocumentId::main(id(1))),
        field: Some(field.to_owned()),
        rule: Some("role `rep`, rule of line 3".to_owned()),
    };
    let mut reasons = vec![refusal("tags/canary"), refusal("Canary!"), refusal("billing.city")];
    reasons.extend((0..REFUSALS_MAX).map(|_| refusal("name")));
    let judged = judged(&batch(Vec::new()), &Outcome::Refused { reasons });
    let Verdict::Refused { reasons, more } = &judged.verdict else {
        panic!("{:?}", judged.verdict)
    };
    assert_eq!((reasons.len(), *more), (REFUSALS_MAX, 3));
    let fields: Vec<Option<&str>> = reasons[..3].iter().map(|line| line.field.as_deref()).collect();
    assert_eq!(fields, [Some("tags"), Some(UNKNOWN_FIELD), Some("billing.city")]);
    assert_eq!(judged.edited_at, None);
}

#[test]
fn lines_of_csv_have_a_cell_for_each_heading() {
    let head = Head { number: 1, hash: [0; 32] };
    let columns = CSV_HEADER.split(',').count();
    for n in 0..12 {
        for line in csv_lines(&head, &entry(n)).lines() {
            let outside_quotes = line.split('"').step_by(2).collect::<String>();
            assert_eq!(outside_quotes.matches(',').count() + 1, columns, "{line}");
        }
        let json: serde_json::Value = serde_json::from_str(&json_line(&head, &entry(n))).unwrap();
        assert_eq!(json["n"], 1);
    }
}
