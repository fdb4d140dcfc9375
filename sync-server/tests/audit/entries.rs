//! Entries of every kind, for the tests.

use std::collections::BTreeMap;

use crdt_core::id::{BatchId, DeviceId, MemberId, RecordId, ReplicaId, Section};
use crdt_core::time::Timestamp;
use sync_server::audit::{
    Act, Entry, Head, Judged, ReasonLine, RecordLine, Verdict, What, Who, next_hash,
};

pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub fn member(key: &str) -> MemberId {
    MemberId::from_source_key("member", key)
}

fn record(n: u64) -> RecordId {
    RecordId::from_source_key("account", &n.to_string())
}

fn line(n: u64) -> RecordLine {
    let finance: Section = "finance".parse().unwrap();
    RecordLine {
        record: Some(record(n)),
        entity: Some("opportunity".to_owned()),
        fields: BTreeMap::from([
            (Section::main(), vec!["name".to_owned(), "stage".to_owned()]),
            (finance, vec!["commission".to_owned()]),
        ]),
        rules: vec!["role `rep`, rule of line 12".to_owned()],
    }
}

/// The `n`-th of a series that has every kind of entry in it.
pub fn entry(n: u64) -> Entry {
    let device = DeviceId([7; 16]);
    let who = Who {
        member: Some(member("ada")),
        replica: Some(ReplicaId([1; 12])),
        device: Some(device),
        role: Some("rep".to_owned()),
    };
    let judged = |verdict| {
        What::Batch(Judged {
            batch: BatchId([n as u8; 16]),
            edited_at: Some(NOW.plus_millis(-1_000)),
            verdict,
            records: vec![line(n), line(n + 1)],
            more_records: 0,
        })
    };
    let reason = ReasonLine {
        code: "forbidden".to_owned(),
        record: Some(record(n)),
        section: Some(Section::main()),
        field: Some("commission".to_owned()),
        rule: None,
    };
    let (ada, fields) = (member("ada"), vec!["role".to_owned()]);
    let (who, what) = match n % 12 {
        0 => (who, judged(Verdict::Refused { reasons: vec![reason], more: 3 })),
        1 => (Who::default(), What::Act(Act::MemberAdded { member: ada, fields })),
        2 => (Who::default(), What::Act(Act::PolicyPut { version: 3, digest: [9; 32] })),
        3 => (Who::default(), What::Act(Act::DeviceRevoked { device })),
        4 => (who, judged(Verdict::Already { position: n })),
        5 => (Who::default(), What::Act(Act::MemberSet { member: ada, fields })),
        6 => (Who::default(), What::Act(Act::SchemaPut { version: 2, digest: [8; 32] })),
        7 => (Who::default(), What::Act(Act::MemberDisabled { member: ada })),
        8 => (Who::default(), What::Act(Act::MemberEnabled { member: ada })),
        9 => (Who::default(), What::Act(Act::PasswordSet { member: ada })),
        10 => (Who::default(), What::Act(Act::TokensRevoked { member: ada })),
        _ => (who, judged(Verdict::Accepted { position: n })),
    };
    Entry { received_at: NOW.plus_millis(n as i64), who, policy_version: 3, what }
}

/// A row as it is stored: number, bytes, hash.
pub type Row = (i64, Vec<u8>, Vec<u8>);

/// The rows from a head on, of entries from a series.
pub fn chain(mut head: Head, entries: impl IntoIterator<Item = Entry>) -> (Vec<Row>, Head) {
    let mut rows = Vec::new();
    for entry in entries {
        let number = head.number + 1;
        let bytes = entry.to_bytes(number);
        head = Head { number, hash: next_hash(&head.hash, &bytes) };
        rows.push((number as i64, bytes, head.hash.to_vec()));
    }
    (rows, head)
}
