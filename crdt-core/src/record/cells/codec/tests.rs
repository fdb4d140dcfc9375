//! Every kind of value is read as it was written, in both forms, and damage is told.

use super::*;

fn live(counter: u64, actor: u8, time: i64, value: Live) -> LiveOp {
    let id = OpId { counter, actor: ActorId([actor; 16]) };
    LiveOp { id, value, time: Timestamp::from_millis(time) }
}

fn values() -> Vec<Live> {
    vec![
        Live::Text("prose".to_owned()),
        Live::Text(String::new()),
        Live::Scalar(Scalar::Null),
        Live::Scalar(Scalar::Bool(false)),
        Live::Scalar(Scalar::Bool(true)),
        Live::Scalar(Scalar::Int(-5)),
        Live::Scalar(Scalar::Int(i64::MAX)),
        Live::Scalar(Scalar::Float(-0.5)),
        Live::Scalar(Scalar::Str("words".to_owned())),
        Live::Scalar(Scalar::Str(String::new())),
        Live::Scalar(Scalar::Timestamp(Timestamp::from_millis(i64::MIN))),
        Live::Scalar(Scalar::Timestamp(Timestamp::from_millis(i64::MAX))),
        Live::Scalar(Scalar::Bytes(vec![0; 200])),
        Live::Scalar(Scalar::Counter(i64::MIN)),
    ]
}

/// Cells with every kind of value, under keys with and without numbers, with one and several live operations.
fn all_kinds(last: Option<LastEdit>) -> Cells {
    let mut cells = Cells { heads: vec![ChangeHash([7; 32])], last, ..Cells::default() };
    for (actor, seq) in [(1, 3), (2, u64::MAX)] {
        let written = Written { seq, max_op: 40 };
        cells.actors.insert(ActorId([actor; 16]), written);
    }
    let keys = Arc::make_mut(&mut cells.keys);
    for (place, value) in values().into_iter().enumerate() {
        let time = i64::try_from(place).unwrap() * 1_000;
        let two = [live(0, 1, time, value.clone()), live(place as u64 * 99, 2, time, value)];
        keys.insert(format!("key {place}"), two.to_vec());
        keys.insert(format!("tags/{place}"), two[1..].to_vec());
    }
    keys.insert(String::new(), Vec::new());
    keys.insert("owner".to_owned(), vec![live(9, 1, -1, Live::Scalar(Scalar::Null))]);
    cells
}

fn lasts() -> [Option<LastEdit>; 2] {
    let op = live(1, 2, 0, Live::Text(String::new())).id;
    [None, Some(LastEdit { time: Timestamp::from_millis(4_000), op })]
}

#[test]
fn every_kind_of_value_is_read_as_it_was_written() {
    for cells in lasts().map(all_kinds) {
        assert_eq!(Cells::from_stored(&cells.to_stored()), Ok(cells));
    }
    assert_eq!(Cells::from_stored(&[]), Ok(Cells::default()));
    assert!(Cells::default().to_stored().is_empty());
}

#[test]
fn what_is_cut_short_or_goes_on_is_damaged() {
    for cells in lasts().map(all_kinds) {
        let stored = cells.to_stored();
        for end in 1..stored.len() {
            assert!(Cells::from_stored(&stored[..end]).is_err(), "{end} of {}", stored.len());
        }
        assert!(Cells::from_stored(&[&stored[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_number_is_read_as_it_was_written_and_one_that_is_too_large_is_damage() {
    for number in [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
        let mut out = Writer { bytes: Vec::new(), actors: Vec::new() };
        out.number(number);
        out.signed(number.cast_signed());
        let mut from = Reader { rest: &out.bytes };
        assert_eq!((from.number(), from.signed()), (Some(number), Some(number.cast_signed())));
    }
    let too_large = [[0xff; 9].as_slice(), &[2]].concat();
    assert_eq!(Reader { rest: &too_large }.number(), None);
    assert_eq!(Reader { rest: &[0x80; 12] }.number(), None);
}
