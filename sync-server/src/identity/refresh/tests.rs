//! The promises of refresh tokens: no answer that is lost locks anyone out, and no copy goes on unseen.

use proptest::prelude::*;

use super::*;

const DAY_MS: i64 = 86_400_000;
const DEVICE: DeviceId = DeviceId([1; 16]);

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

/// A server with one family.
struct Server {
    row: FamilyRow,
    now: Timestamp,
    salts: u8,
}

impl Server {
    fn new() -> (Self, RefreshToken) {
        let member = MemberId::from_source_key("user", "rosa");
        let (row, token) = begin(member, DEVICE, ([7; 16], [8; 32]), now(), DAY_MS);
        (Self { row, now: now(), salts: 0 }, token)
    }

    fn later(&mut self, millis: i64) -> &mut Self {
        self.now = self.now.plus_millis(millis);
        self
    }

    fn show(&mut self, token: &RefreshToken) -> Option<RefreshToken> {
        self.show_on(token, DEVICE)
    }

    fn show_on(&mut self, token: &RefreshToken, device: DeviceId) -> Option<RefreshToken> {
        self.salts += 1;
        match exchange(&self.row, token, device, [self.salts; 32], self.now, DAY_MS) {
            Exchange::Rotated(row, next) => {
                self.row = row;
                Some(next)
            }
            Exchange::Repeated(next) => Some(next),
            Exchange::Stolen(row) => {
                self.row = row;
                None
            }
            Exchange::Over => None,
        }
    }
}

#[test]
fn tokens_follow_each_other_and_are_all_different() {
    let (mut server, mut token) = Server::new();
    let mut seen = vec![token.text()];
    for _ in 0..50 {
        token = server.later(900_000).show(&token).unwrap();
        assert_eq!(RefreshToken::parse(&token.text()).unwrap().text(), token.text());
        seen.push(token.text());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 51);
}

#[test]
fn an_answer_that_was_lost_is_given_again_at_once_and_replaced_later() {
    let (mut server, first) = Server::new();
    let lost = server.show(&first).unwrap();
    let again = server.later(29_999).show(&first).unwrap();
    assert!(again == lost, "the same answer: requests may overtake each other");
    let hours_later = server.later(DAY_MS / 2).show(&first).unwrap();
    assert!(hours_later != lost, "the lost one is void, whoever has it");
    assert!(server.show(&hours_later).is_some());
}

#[test]
fn an_answer_that_was_not_lost_ends_the_token_before_it() {
    let (mut server, first) = Server::new();
    let second = server.show(&first).unwrap();
    let third = server.show(&second).unwrap();
    assert!(server.show(&first).is_none(), "even at once");
    assert!(server.row.revoked);
    assert!(server.show(&second).is_none() && server.show(&third).is_none(), "all of them");
}

#[test]
fn a_token_that_a_lost_answer_made_void_gives_a_theft_away() {
    let (mut server, first) = Server::new();
    let mine = server.show(&first).unwrap();
    let thief = server.later(60_000).show(&first).unwrap();
    assert!(server.show(&mine).is_none());
    assert!(server.row.revoked);
    assert!(server.show(&thief).is_none());
}

#[test]
fn another_device_gets_nothing_and_ends_the_family() {
    let (mut server, token) = Server::new();
    assert!(server.show_on(&token, DeviceId([2; 16])).is_none());
    assert!(server.row.revoked && server.show(&token).is_none());
}

#[test]
fn a_family_ends_when_its_device_does_not_come_back() {
    let (mut server, token) = Server::new();
    let next = server.later(DAY_MS - 1).show(&token).unwrap();
    assert!(server.later(DAY_MS).show(&next).is_none());
    assert!(!server.row.revoked, "late is not stolen");
}

#[test]
fn a_clock_that_was_put_back_repeats_nothing_and_locks_nobody_out() {
    let (mut server, first) = Server::new();
    let second = server.show(&first).unwrap();
    let third = server.later(-DAY_MS / 2).show(&first).unwrap();
    assert!(third != second);
    assert!(server.show(&third).is_some());
}

#[test]
fn what_is_no_token_is_none() {
    let (_, token) = Server::new();
    let good = token.text();
    for bad in ["", "A", &good[1..], &format!("{good}="), &format!("{good}AAAA"), " ", "ü"] {
        assert!(RefreshToken::parse(bad).is_none(), "{bad:?}");
    }
}

proptest! {
    /// Two hold the same token; both come at any times, as often as they like. Once each has used a token that
    /// follows from their first one, at most one of them can still go on.
    #[test]
    fn of_a_token_and_its_copy_only_one_goes_on(
        turns in proptest::collection::vec((any::<bool>(), 30_000..900_000_i64), 1..24)
    ) {
        let (mut server, token) = Server::new();
        let mut holders = [Some(token), Some(token)];
        let mut alone = 0;
        for (who, wait) in turns {
            let holder = &mut holders[usize::from(who)];
            let Some(held) = *holder else { continue };
            *holder = server.later(wait).show(&held);
            alone = if holder.is_some() { alone } else { alone + 1 };
        }
        let going_on = holders.iter().flatten().filter(|token| {
            !server.row.revoked && is_good(&server.row, token)
        });
        let distinct: std::collections::BTreeSet<String> = going_on.map(RefreshToken::text).collect();
        // Both may be known to the server only as a token and the one it was exchanged for, of which the next
        // exchange by either leaves one.
        prop_assert!(distinct.len() <= 2);
        prop_assert!(alone == 0 || server.row.revoked);
    }

    /// A device whose answers get lost at random, and which asks again after any time, is never locked out.
    #[test]
    fn lost_answers_never_lock_anyone_out(
        turns in proptest::collection::vec((any::<bool>(), 0..DAY_MS / 2), 1..40)
    ) {
        let (mut server, mut held) = Server::new();
        for (lost, wait) in turns {
            let answer = server.later(wait).show(&held);
            prop_assert!(answer.is_some());
            if let (Some(next), false) = (answer, lost) {
                held = next;
            }
        }
    }
}
