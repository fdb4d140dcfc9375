//! Arbitrary messages: every kind, every field, sizes that travel both plain and compressed.

use std::collections::BTreeMap;

use crdt_core::id::{
    ActorId, BatchId, ChangeHash, DeviceId, DocumentId, Epoch, Lease, MemberId, RecordId,
    RecordMark, ReplicaId,
};
use crdt_core::policy::Standing;
use crdt_core::protocol::{
    AcceptedDocument, Ack, AuthorName, Batch, Compare, Compared, Cursor, Dependencies,
    DocumentChanges, DocumentRef, Ended, Entry, EraseRecord, Erasure, Fetch, Goodbye, GoodbyeCode,
    Hello, Identity, Lack, Lacking, Message, NewToken, Outcome, Page, PagePart, PeerLimits, Push,
    Receipt, Recovery, Refusal, Relay, Relayed, ScopeCursor, SentChange, ShortReceipt, TokenTaken,
    Welcome,
};
use crdt_core::record::{Action, Change, Op, OpId, Reach, Scalar, SeedKind, seed};
use crdt_core::time::Timestamp;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

pub fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(|hello| Message::Hello(Box::new(hello))),
        welcome().prop_map(|welcome| Message::Welcome(Box::new(welcome))),
        push().prop_map(Message::Push),
        vec(receipt(), 0..6).prop_map(Message::Receipts),
        vec(short_receipt(), 0..6).prop_map(Message::ShortReceipts),
        part().prop_map(Message::Page),
        (any::<u64>(), any::<u64>())
            .prop_map(|(page, receipt)| Message::Ack(Ack { page, receipt })),
        vec(any::<u64>(), 0..40).prop_map(|documents| Message::Fetch(Fetch { documents })),
        goodbye().prop_map(Message::Goodbye),
        text().prop_map(|token| Message::Token(NewToken { token })),
        any::<i64>().prop_map(|expires| {
            Message::TokenTaken(TokenTaken { expires: Timestamp::from_millis(expires) })
        }),
        vec(compared(), 0..5).prop_map(|documents| Message::Compare(Compare { documents })),
        vec(lack(), 0..5).prop_map(|documents| Message::Lacking(Lacking { documents })),
        relay().prop_map(Message::Relay),
        any::<[u64; 4]>().prop_map(|[taken, held, parked, refused]| {
            Message::Relayed(Relayed { taken, held, parked, refused })
        }),
        (any::<u64>(), record_id())
            .prop_map(|(request, record)| Message::Erase(EraseRecord { request, record })),
        erasure().prop_map(Message::Erasure),
    ]
}

fn compared() -> impl Strategy<Value = Compared> {
    let heads = vec(any::<[u8; 32]>().prop_map(ChangeHash), 1..4);
    (any_identity(), heads, seqs()).prop_map(|(identity, heads, seqs)| {
        let reach = Reach { heads, seqs };
        Compared { identity, reach }
    })
}

fn lack() -> impl Strategy<Value = Lack> {
    (any::<u64>(), seqs(), any::<bool>()).prop_map(|(number, from, parted)| Lack {
        number,
        from,
        parted,
    })
}

fn seqs() -> impl Strategy<Value = BTreeMap<ActorId, u64>> {
    proptest::collection::btree_map(actor(), any::<u64>(), 0..4)
}

fn relay() -> impl Strategy<Value = Relay> {
    let document = (any_identity(), vec(sent_change(), 0..4)).prop_map(|(identity, changes)| {
        DocumentChanges { document: DocumentRef::Identity(identity), changes }
    });
    (vec(document, 0..3), vec(author(), 0..3))
        .prop_map(|(documents, authors)| Relay { documents, authors })
}

fn hello() -> impl Strategy<Value = Hello> {
    let versions = (vec(any::<u32>(), 0..5), any::<u64>(), any::<u64>());
    let ids = (any::<[u8; 12]>(), of(any::<[u8; 16]>()), of(any::<[u8; 16]>()));
    let places = (cursor(), vec(scope_cursor(), 0..5));
    (versions, ids, places, text(), text()).prop_map(|(versions, ids, places, token, client)| {
        Hello {
            versions: versions.0,
            receipt: versions.1,
            schema_version: versions.2,
            replica: ReplicaId(ids.0),
            lease: ids.1.map(Lease),
            epoch: ids.2.map(Epoch),
            cursor: places.0,
            exceptions: places.1,
            token,
            client: client.chars().take(60).collect(),
            policy_version: versions.1,
            device: DeviceId([7; 16]),
            device_name: "phone".to_owned(),
            left: versions.2,
            short_receipts: versions.2 % 2 == 1,
        }
    })
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 16]>());
    let lists =
        (vec((any::<[u8; 16]>(), any::<u64>()), 0..4), vec(receipt(), 0..4), vec(text(), 0..4));
    let numbers = (any::<[u64; 3]>(), 1..99_u32, 1..99_u32, any::<u32>(), any::<i64>());
    (ids, lists, numbers, of(text()), text()).prop_map(
        |(ids, lists, numbers, schema, member_name)| Welcome {
            version: numbers.3,
            epoch: Epoch(ids.0),
            lease: Lease(ids.1),
            member: MemberId::try_from(&ids.2[..]).unwrap(),
            lineage: lists.0.into_iter().map(ended).collect(),
            receipts: lists.1,
            scopes: lists.2,
            limits: PeerLimits { batches_in_flight: numbers.1, pages_in_flight: numbers.2 },
            server_time: Timestamp::from_millis(numbers.4),
            backed_up_to: numbers.0[0],
            head: numbers.0[1],
            policy_version: numbers.0[2],
            schema,
            policy: None,
            standing: Standing::unlisted(MemberId::try_from(&ids.2[..]).unwrap()),
            token_expires: Timestamp::from_millis(numbers.4),
            recovery: [Recovery::Unknown, Recovery::Closed, Recovery::Open][numbers.1 as usize % 3],
            member_name,
        },
    )
}

fn ended((epoch, last): ([u8; 16], u64)) -> Ended {
    Ended { epoch: Epoch(epoch), last, documents: last / 2 }
}

pub fn push() -> impl Strategy<Value = Push> {
    (vec(batch(), 0..5), any::<u64>()).prop_map(|(batches, receipt)| Push { batches, receipt })
}

fn batch() -> impl Strategy<Value = Batch> {
    let document = prop_oneof![
        (1..u64::MAX).prop_map(DocumentRef::Number),
        any_identity().prop_map(DocumentRef::Identity),
    ];
    let document = (document, vec(sent_change(), 0..4))
        .prop_map(|(document, changes)| DocumentChanges { document, changes });
    (any::<[u8; 16]>(), any::<[u64; 3]>(), vec(document, 0..3)).prop_map(
        |(id, numbers, documents)| Batch {
            id: BatchId(id),
            number: numbers[0],
            schema_version: numbers[1],
            policy_version: numbers[2],
            documents,
        },
    )
}

fn sent_change() -> impl Strategy<Value = SentChange> {
    let deps = prop_oneof![
        Just(Dependencies::Chained),
        vec(any::<u32>(), 0..4).prop_map(Dependencies::Short),
        vec(any::<[u8; 32]>().prop_map(ChangeHash), 1..3).prop_map(Dependencies::Long),
    ];
    let numbers = (actor(), any::<u64>(), any::<u64>(), -9_000_000_000_000..9_000_000_000_000_i64);
    let ops = vec(op(), 0..5);
    let change =
        (numbers, ops, deps, vec(any::<u8>(), 4..8)).prop_map(|(numbers, ops, deps, claim)| {
            let (actor, seq, start_op, time) = numbers;
            let time = Timestamp::from_millis(time);
            SentChange {
                change: Change { actor, seq, start_op, time, deps: vec![], ops },
                deps,
                claim,
            }
        });
    let kind = prop_oneof![Just(SeedKind::Counter), Just(SeedKind::Text)];
    let seed = (kind, "[a-z]{1,9}").prop_map(|(kind, field)| {
        let change = seed(kind, &field);
        SentChange::new(&change, &change.encode().hash, None)
    });
    prop_oneof![5 => change, 1 => seed]
}

/// Few actors, so that the table of a frame is shared.
fn actor() -> impl Strategy<Value = ActorId> {
    (0..6_u8).prop_map(|n| ActorId([n; 16]))
}

fn op_id() -> impl Strategy<Value = OpId> {
    (any::<u64>(), actor()).prop_map(|(counter, actor)| OpId { counter, actor })
}

fn op() -> impl Strategy<Value = Op> {
    let action = prop_oneof![
        scalar().prop_map(Action::Put),
        Just(Action::Remove),
        any::<i64>().prop_map(Action::Increment),
        (of(op_id()), text()).prop_map(|(after, text)| Action::Insert { after, text }),
        (op_id(), any::<u32>()).prop_map(|(from, count)| Action::Erase { from, count }),
    ];
    let key = prop_oneof!["[a-z]{1,8}", "tags/[a-z]{1,8}", ".{0,12}"];
    (key, action, vec(op_id(), 0..4)).prop_map(|(key, action, preds)| Op { key, action, preds })
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        Just(Scalar::Null),
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(Scalar::Int),
        any::<f64>().prop_filter("it equals itself", |x| !x.is_nan()).prop_map(Scalar::Float),
        text().prop_map(Scalar::Str),
        any::<i64>().prop_map(|millis| Scalar::Timestamp(Timestamp::from_millis(millis))),
        vec(any::<u8>(), 0..40).prop_map(Scalar::Bytes),
    ]
}

fn short_receipt() -> impl Strategy<Value = ShortReceipt> {
    any::<(u64, u64, u64, u64)>().prop_map(|(number, batch_number, position, policy_version)| {
        ShortReceipt { number, batch_number, position, policy_version }
    })
}

pub fn receipt() -> impl Strategy<Value = Receipt> {
    let accepted = || {
        let document = (document_id(), any::<u64>());
        vec(document.prop_map(|(id, number)| AcceptedDocument { id, number }), 0..4)
    };
    let refusal = (text(), text(), of(document_id()), of(text())).prop_map(
        |(code, text, document, field)| Refusal { code, text, document, field, rule: None },
    );
    let outcome = prop_oneof![
        (any::<u64>(), accepted())
            .prop_map(|(position, documents)| Outcome::Accepted { position, documents }),
        (any::<u64>(), accepted(), vec(any::<[u8; 32]>().prop_map(ChangeHash), 0..4)).prop_map(
            |(position, documents, hashes)| Outcome::Already { position, documents, hashes }
        ),
        vec(refusal, 0..3).prop_map(|reasons| Outcome::Refused { reasons }),
    ];
    let erased = vec(record_id(), 0..3);
    (any::<u64>(), any::<[u8; 16]>(), outcome, erased).prop_map(
        |(number, batch, outcome, erased)| Receipt {
            number,
            batch: BatchId(batch),
            outcome,
            policy_version: 3,
            erased,
        },
    )
}

fn record_id() -> impl Strategy<Value = RecordId> {
    any::<[u8; 16]>().prop_map(|id| RecordId::try_from(&id[..]).unwrap())
}

fn erasure() -> impl Strategy<Value = Erasure> {
    let refusal = (text(), text(), of(document_id()), of(text())).prop_map(
        |(code, text, document, field)| Refusal { code, text, document, field, rule: None },
    );
    let outcome = prop_oneof![(1..u64::MAX).prop_map(Ok), refusal.prop_map(Err)];
    (any::<u64>(), outcome).prop_map(|(request, outcome)| Erasure { request, outcome })
}

fn part() -> impl Strategy<Value = PagePart> {
    (any::<u64>(), any::<u32>(), any::<bool>(), any::<u64>(), vec(any::<u8>(), 0..3_000)).prop_map(
        |(page, part, last, plain_size, bytes)| PagePart { page, part, last, plain_size, bytes },
    )
}

fn goodbye() -> impl Strategy<Value = Goodbye> {
    let code = prop_oneof![
        Just(GoodbyeCode::Protocol),
        Just(GoodbyeCode::TokenExpired),
        Just(GoodbyeCode::LeaseOutdated),
        Just(GoodbyeCode::Internal),
        (20..u32::MAX).prop_map(GoodbyeCode::Unknown),
    ];
    (code, text(), of(any::<u64>())).prop_map(|(code, text, retry_after_ms)| Goodbye {
        code,
        text,
        retry_after_ms,
    })
}

pub fn page() -> impl Strategy<Value = Page> {
    (vec(scope_cursor(), 0..4), vec(entry(), 0..6), vec(author(), 0..3), any::<u64>()).prop_map(
        |(cursors, entries, authors, head)| {
            let dropped = vec!["territory:north".to_owned()];
            Page { cursors, entries, authors, head, dropped }
        },
    )
}

fn author() -> impl Strategy<Value = AuthorName> {
    let author = (any::<[u8; 12]>(), any::<[u8; 16]>(), text());
    author.prop_map(|(replica, member, name)| AuthorName {
        replica: ReplicaId(replica),
        member: MemberId::try_from(&member[..]).unwrap(),
        name,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let number = || 1..u64::MAX;
    let changes = || vec(sent_change(), 0..4);
    prop_oneof![
        (number(), of(any_identity()), changes())
            .prop_map(|(number, identity, changes)| Entry::Changes { number, identity, changes }),
        (number(), any_identity(), vec(any::<u8>(), 0..900), changes()).prop_map(
            |(number, identity, snapshot, changes)| Entry::Document {
                number,
                identity,
                snapshot,
                changes
            }
        ),
        number().prop_map(|number| Entry::Left { number }),
        any::<[u8; 16]>().prop_map(|mark| Entry::Erased { mark: RecordMark(mark) }),
    ]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (any::<u64>(), of(any::<u64>()))
        .prop_map(|(position, from)| Cursor { position, from: from.map(|from| from.min(position)) })
}

fn scope_cursor() -> impl Strategy<Value = ScopeCursor> {
    (text(), cursor())
        .prop_map(|(scope, cursor)| ScopeCursor { scope: scope.chars().take(70).collect(), cursor })
}

fn document_id() -> impl Strategy<Value = DocumentId> {
    let section = prop_oneof![Just("main"), Just("finance"), Just("x9_")];
    (any::<[u8; 16]>(), section).prop_map(|(record, section)| DocumentId {
        record: RecordId::try_from(&record[..]).unwrap(),
        section: section.parse().unwrap(),
    })
}

fn any_identity() -> impl Strategy<Value = Identity> {
    (document_id(), "[a-z][a-z_]{0,9}").prop_map(|(id, entity)| Identity { id, entity })
}

/// The `main` document of the record whose id is all `byte`.
pub fn identity(byte: u8, entity: &str) -> Identity {
    let record = RecordId::try_from(&[byte; 16][..]).unwrap();
    Identity { id: DocumentId::main(record), entity: entity.to_owned() }
}

/// Short and long, so that frames come plain and compressed.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => ".{0,20}", 1 => "(ab|cd){300,900}"]
}
