//! The wire: every message comes back as it went, and nothing else does any harm.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[path = "support/messages.rs"]
mod messages;

use crdt_core::id::{BatchId, ChangeHash};
use crdt_core::limits;
use crdt_core::protocol::{
    Batch, Dependencies, DocumentChanges, DocumentRef, Entry, FrameError, Goodbye, GoodbyeCode,
    Message, Page, PagePart, PageParts, Push, Receipt, SentChange, Staged, decode_frame,
    encode_frame,
};
use history::History;
use history::random::{Random, cases};
use messages::{message, page, push};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 300 * u32::try_from(cases()).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

/// A frame that is not compressed.
fn plain(body: &[u8]) -> Vec<u8> {
    [&[0], body].concat()
}

/// A frame that states `size` for its compressed body.
fn packed(body: &[u8], size: u32) -> Vec<u8> {
    let bytes = zstd::bulk::compress(body, 3).unwrap();
    [&[1][..], &size.to_le_bytes(), &bytes].concat()
}

/// The body of a frame, inflated.
fn body_of(frame: &[u8]) -> Vec<u8> {
    match frame {
        [0, body @ ..] => body.to_vec(),
        [1, body @ ..] => zstd::bulk::decompress(&body[4..], limits::PLAIN_BYTES_MAX).unwrap(),
        _ => panic!("no such format"),
    }
}

/// A protobuf field with a length.
fn bytes_field(tag: u8, payload: &[u8]) -> Vec<u8> {
    // From tag 16 on a key takes two bytes.
    let key = u16::from(tag) << 3 | 2;
    let mut field = match u8::try_from(key).ok().filter(|key| *key < 0x80) {
        Some(key) => vec![key],
        None => vec![key as u8 | 0x80, (key >> 7) as u8],
    };
    let mut length = payload.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(payload);
    field
}

fn take_all(parts: impl IntoIterator<Item = PagePart>) -> Result<Option<(u64, Page)>, FrameError> {
    let mut staged = Staged::default();
    let mut taken = None;
    for part in parts {
        assert!(taken.is_none(), "only the last part gives the page");
        taken = staged.take(part)?;
    }
    Ok(taken)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_message_comes_back_as_it_went(message in message()) {
        let frame = encode_frame(&message);
        prop_assert_eq!(decode_frame(&frame), Ok(message));
    }

    #[test]
    fn a_page_comes_back_through_its_parts(page in page(), number in 1..u64::MAX) {
        let encoded = PageParts::new(&page);
        let parts = encoded.parts(number).map(|part| {
            match decode_frame(&encode_frame(&Message::Page(part))) {
                Ok(Message::Page(part)) => part,
                other => panic!("{other:?}"),
            }
        });
        prop_assert_eq!(take_all(parts), Ok(Some((number, page))));
    }

    #[test]
    fn a_kept_receipt_comes_back_as_it_went(receipt in messages::receipt()) {
        prop_assert_eq!(Receipt::from_stored(&receipt.to_stored()), Ok(receipt));
    }

    #[test]
    fn fields_of_a_newer_version_are_skipped(message in message()) {
        let body = body_of(&encode_frame(&message));
        let kind = match body[0] < 0x80 {
            true => body[0] >> 3,
            false => (body[0] & 0x7f) >> 3 | body[1] << 4,
        };
        // Tag 31 with a length, tag 30 as a varint, tag 29 as eight bytes: no message has them.
        let unknown =
            [&[0xfa, 0x01, 3, b'n', b'e', b'w', 0xf0, 0x01, 7, 0xe9, 0x01][..], &[1; 8]].concat();
        let around = [&unknown[..], &body, &unknown].concat();
        prop_assert_eq!(decode_frame(&plain(&around)), Ok(message.clone()));
        let inside = [&unknown[..], message_inside(&body), &unknown].concat();
        prop_assert_eq!(decode_frame(&plain(&bytes_field(kind, &inside))), Ok(message));
    }

    #[test]
    fn a_truncated_frame_is_an_error_or_a_message_but_never_a_panic(
        message in message(), cut: u16
    ) {
        let frame = encode_frame(&message);
        let cut = usize::from(cut) % frame.len();
        drop(decode_frame(&frame[..cut]));
    }

    #[test]
    fn garbage_is_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), format in 0_u8..3
    ) {
        drop(decode_frame(&bytes));
        drop(decode_frame(&[&[format], &bytes[..]].concat()));
        let part = |plain_size| PagePart { page: 1, part: 0, last: true, plain_size, bytes: bytes.clone() };
        drop(Staged::default().take(part(0)));
        drop(Staged::default().take(part(400)));
        drop(Receipt::from_stored(&bytes));
    }

    #[test]
    fn what_survives_mutation_can_be_sent_again(push in push(), page in page(), seed: u64) {
        let random = &mut Random::new(seed);
        let mut body = body_of(&encode_frame(&Message::Push(push)));
        mutate(&mut body, random);
        if let Ok(message) = decode_frame(&plain(&body)) {
            let again = decode_frame(&encode_frame(&message));
            prop_assert!(again.is_ok(), "{:?}", again);
        }
        let parts: Vec<PagePart> = PageParts::new(&page).parts(1).collect();
        let mut part = parts[0].clone();
        mutate(&mut part.bytes, random);
        if let Ok(Some((_, page))) = Staged::default().take(part) {
            prop_assert!(take_all(PageParts::new(&page).parts(1)).is_ok());
        }
    }
}

/// Whole histories travel in the short form and come back as the very changes that were written.
#[test]
fn changes_of_a_history_come_back_from_the_wire_with_their_dependencies() {
    for seed in 0..20 * cases() as u64 {
        let history = History::of_seed("account", 3, 40, seed);
        let mut before = None;
        let mut changes = Vec::new();
        for (change, encoded) in &history.changes {
            changes.push(SentChange::new(change, &encoded.hash, before));
            before = Some(&encoded.hash);
        }
        let document = DocumentRef::Identity(messages::identity(1, "account"));
        let documents = vec![DocumentChanges { document, changes }];
        let batch = Batch {
            id: BatchId([1; 16]),
            number: 1,
            schema_version: 1,
            policy_version: 0,
            documents,
        };
        let push = Message::Push(Push { batches: vec![batch], receipt: 0 });
        let Ok(Message::Push(push)) = decode_frame(&encode_frame(&push)) else { panic!("a push") };
        let sent = &push.batches[0].documents[0].changes;
        for (place, sent) in sent.iter().enumerate() {
            let earlier = &history.changes[..place];
            let named = |prefix: &u32| {
                let fits = |hash: &ChangeHash| hash.0[..4] == prefix.to_be_bytes();
                earlier.iter().map(|(_, e)| e.hash).find(fits).unwrap()
            };
            let deps = match &sent.deps {
                Dependencies::Chained => vec![earlier[place - 1].1.hash],
                Dependencies::Short(prefixes) => prefixes.iter().map(named).collect(),
                Dependencies::Long(hashes) => hashes.clone(),
            };
            let (change, encoded) = &history.changes[place];
            assert!(encoded.hash.0.starts_with(&sent.claim), "seed {seed}");
            assert_eq!(sent.clone().with_deps(deps), *change, "seed {seed}");
        }
    }
}

/// What stands inside the one field of an envelope.
fn message_inside(body: &[u8]) -> &[u8] {
    // Behind the key and the length.
    let mut ends = body.iter().enumerate().filter(|(_, byte)| **byte < 0x80);
    let (end, _) = ends.nth(1).unwrap();
    &body[end + 1..]
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.next() as u8),
        }
    }
}

#[test]
fn a_frame_says_what_is_wrong_with_it() {
    assert_eq!(decode_frame(&[]), Err(FrameError::Empty));
    assert_eq!(decode_frame(&[2]), Err(FrameError::UnknownFormat(2)));
    assert_eq!(decode_frame(&[255, 1, 2]), Err(FrameError::UnknownFormat(255)));
    assert_eq!(decode_frame(&[0]), Err(FrameError::UnknownMessage));
    assert_eq!(decode_frame(&plain(&bytes_field(90, b"new"))), Err(FrameError::UnknownMessage));
    let limit = limits::FRAME_BYTES_MAX;
    let large = vec![0; limit + 1];
    let got = large.len() as u64;
    assert_eq!(decode_frame(&large), Err(FrameError::TooLarge { got, limit }));
    assert!(matches!(decode_frame(&plain(&[0x0b])), Err(FrameError::Malformed(_))), "a group");
    assert!(matches!(decode_frame(&plain(&[0x0a, 0xff])), Err(FrameError::Malformed(_))));
}

#[test]
fn a_compressed_frame_inflates_to_what_it_states_or_is_refused() {
    let text = "x".repeat(3_000);
    let goodbye =
        Message::Goodbye(Goodbye { code: GoodbyeCode::Restart, text, retry_after_ms: None });
    let frame = encode_frame(&goodbye);
    assert_eq!(frame[0], 1);
    let body = body_of(&frame);
    let size = u32::try_from(body.len()).unwrap();
    assert_eq!(decode_frame(&packed(&body, size)), Ok(goodbye));
    for wrong in [0, 1, size - 1, size + 1, limits::PLAIN_BYTES_MAX as u32] {
        assert_eq!(decode_frame(&packed(&body, wrong)), Err(FrameError::Inflate), "{wrong}");
    }
    let limit = limits::PLAIN_BYTES_MAX;
    for beyond in [limit as u32 + 1, u32::MAX] {
        let got = u64::from(beyond);
        assert_eq!(decode_frame(&packed(&body, beyond)), Err(FrameError::TooLarge { got, limit }));
    }
    let bomb = vec![0; 64 * 1024 * 1024];
    assert_eq!(decode_frame(&packed(&bomb, 1_000)), Err(FrameError::Inflate));
    assert_eq!(decode_frame(&packed(&bomb, limit as u32)), Err(FrameError::Inflate));
    assert_eq!(decode_frame(&[1, 0, 0, 0]), Err(FrameError::Inflate));
    assert_eq!(decode_frame(&[1, 9, 0, 0, 0, 1, 2, 3]), Err(FrameError::Inflate));
}

/// Each of these is a few hundred bytes on the wire and would be hundreds of megabytes in memory.
#[test]
fn a_small_frame_of_many_empty_parts_is_refused_before_it_is_decoded() {
    let million = |part: &[u8]| part.repeat(1_000_000);
    let in_batch = |inner: &[u8]| bytes_field(2, &bytes_field(5, inner));
    let hello = |inner: &[u8]| bytes_field(1, inner);
    let bombs: [(Vec<u8>, &str); 8] = [
        (hello(&million(&[9 << 3 | 2, 0])), "scopes"),
        (hello(&bytes_field(1, &million(&[1]))), "versions"),
        (hello(&million(&[1 << 3, 1])), "versions"),
        (bytes_field(3, &million(&[2 << 3 | 2, 0])), "batches"),
        (bytes_field(3, &bytes_field(2, &million(&[5 << 3 | 2, 0]))), "documents in a batch"),
        (bytes_field(3, &in_batch(&million(&[3 << 3 | 2, 0]))), "changes in a batch"),
        (bytes_field(3, &in_batch(&bytes_field(3, &million(&[8 << 3 | 2, 0])))), "operations"),
        (bytes_field(7, &bytes_field(1, &million(&[1]))), "documents to fetch"),
    ];
    for (body, what) in bombs {
        let frame = packed(&body, u32::try_from(body.len()).unwrap());
        assert!(frame.len() < 1_000);
        assert_eq!(decode_frame(&frame), Err(FrameError::TooMany(what)));
    }
}

#[test]
fn many_full_lists_together_are_refused_as_well() {
    let change = bytes_field(3, &[8 << 3 | 2, 0].repeat(limits::CHANGE_OPS_MAX));
    let document = bytes_field(5, &change.repeat(100));
    let batch = bytes_field(2, &document.repeat(20));
    let body = bytes_field(3, &batch);
    assert!(body.len() < limits::PLAIN_BYTES_MAX);
    let frame = packed(&body, u32::try_from(body.len()).unwrap());
    assert_eq!(decode_frame(&frame), Err(FrameError::TooMany("parts")));
}

#[test]
fn a_page_of_too_many_entries_is_refused() {
    let left = |number| Entry::Left { number };
    let of = |count: usize| Page {
        cursors: Vec::new(),
        entries: (1..=count as u64).map(left).collect(),
        authors: Vec::new(),
        head: 1,
        dropped: Vec::new(),
    };
    let every_document_leaves = of(250_000);
    let taken = take_all(PageParts::new(&every_document_leaves).parts(1));
    assert_eq!(taken, Ok(Some((1, every_document_leaves))));
    let over = PageParts::new(&of(150 * limits::PAGE_ENTRIES_MAX + 1));
    assert_eq!(take_all(over.parts(1)), Err(FrameError::TooMany("entries")));
}

/// A page whose body does not shrink and needs several frames.
fn large_page() -> (Page, Vec<PagePart>) {
    let mut random = Random::new(3);
    let snapshot: Vec<u8> = (0..1_300_000).map(|_| random.next() as u8).collect();
    let identity = messages::identity(1, "account");
    let entry = Entry::Document { number: 1, identity, snapshot, changes: Vec::new() };
    let page = Page {
        cursors: Vec::new(),
        entries: vec![entry],
        authors: Vec::new(),
        head: 9,
        dropped: Vec::new(),
    };
    let parts: Vec<PagePart> = PageParts::new(&page).parts(5).collect();
    (page, parts)
}

#[test]
fn a_page_larger_than_a_frame_is_staged_and_comes_whole() {
    let (page, parts) = large_page();
    assert_eq!(parts.len(), 3);
    for part in &parts {
        assert!(encode_frame(&Message::Page(part.clone())).len() <= limits::FRAME_BYTES_MAX);
    }
    assert_eq!(parts.iter().map(|part| part.last).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(take_all(parts), Ok(Some((5, page))));
}

#[test]
fn parts_out_of_order_or_of_another_page_are_refused() {
    let (page, parts) = large_page();
    let order = |places: &[usize]| take_all(places.iter().map(|place| parts[*place].clone()));
    let wrong = Err(FrameError::Field("page part number"));
    assert_eq!(order(&[1]), wrong);
    assert_eq!(order(&[0, 2]), wrong);
    assert_eq!(order(&[0, 0]), wrong);
    assert_eq!(order(&[0, 1, 1]), wrong);
    let stranger = PagePart { page: 6, ..parts[1].clone() };
    assert_eq!(take_all([parts[0].clone(), stranger]), wrong);
    let mut staged = Staged::default();
    for round in 0..2 {
        for part in &parts {
            let taken = staged.take(part.clone()).unwrap();
            assert_eq!(taken.is_some(), part.last, "round {round}");
            assert!(taken.is_none_or(|(_, taken)| taken == page));
        }
    }
}

#[test]
fn a_page_without_end_is_refused_at_its_bound() {
    let mut staged = Staged::default();
    let mut part = PagePart {
        page: 1,
        part: 0,
        last: false,
        plain_size: 0,
        bytes: vec![0; limits::PAGE_PART_BYTES],
    };
    for _ in 0..limits::PAGE_BYTES_MAX / limits::PAGE_PART_BYTES {
        assert_eq!(staged.take(part.clone()), Ok(None));
        part.part += 1;
    }
    assert!(matches!(staged.take(part), Err(FrameError::TooLarge { .. })));
}

#[test]
fn a_page_that_states_a_wrong_size_is_refused() {
    let body = zstd::bulk::compress(&vec![0; 5_000], 3).unwrap();
    let part =
        |plain_size| PagePart { page: 1, part: 0, last: true, plain_size, bytes: body.clone() };
    assert_eq!(Staged::default().take(part(4_999)), Err(FrameError::Inflate));
    assert_eq!(Staged::default().take(part(5_001)), Err(FrameError::Inflate));
    let beyond = Staged::default().take(part(limits::PAGE_BYTES_MAX as u64 + 1));
    assert!(matches!(beyond, Err(FrameError::TooLarge { .. })));
    assert!(matches!(Staged::default().take(part(u64::MAX)), Err(FrameError::TooLarge { .. })));
}

#[test]
fn identities_of_a_wrong_length_and_actors_outside_the_table_are_refused() {
    let batch = |inner: Vec<u8>| plain(&bytes_field(3, &bytes_field(2, &inner)));
    assert_eq!(decode_frame(&batch(bytes_field(1, &[1; 15]))), Err(FrameError::Field("batch id")));
    assert_eq!(decode_frame(&batch(Vec::new())), Err(FrameError::Field("batch id")));
    let with =
        |document: Vec<u8>| batch([bytes_field(1, &[1; 16]), bytes_field(5, &document)].concat());
    assert_eq!(decode_frame(&with(Vec::new())), Err(FrameError::Field("document")));
    let change = [&[8, 1][..], &bytes_field(3, &bytes_field(8, b""))].concat();
    assert_eq!(decode_frame(&with(change)), Err(FrameError::Field("actor")));
    let hello = plain(&bytes_field(1, &bytes_field(3, &[1; 11])));
    assert_eq!(decode_frame(&hello), Err(FrameError::Field("replica id")));
    let odd_table = plain(&bytes_field(3, &bytes_field(1, &bytes_field(1, &[1; 17]))));
    assert_eq!(decode_frame(&odd_table), Err(FrameError::Field("actor table")));
}

#[test]
fn a_goodbye_of_a_newer_version_keeps_its_number() {
    let goodbye =
        Goodbye { code: GoodbyeCode::Unknown(99), text: "later".into(), retry_after_ms: Some(5) };
    let message = Message::Goodbye(goodbye);
    assert_eq!(decode_frame(&encode_frame(&message)), Ok(message));
}
