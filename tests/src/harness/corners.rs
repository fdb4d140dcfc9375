//! Seeded schedules of corners: circumstances that faults at random hardly ever bring together. A seed says which
//! one, and everything in it that can differ.

use client_sdk::Edits;
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::Schema;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::network::Way;
use super::world::{Device, World};

/// Steps in which a device that is idle must have done all there is.
const IDLE_STEPS_MAX: usize = 100;

/// Runs the corner of a seed.
///
/// # Panics
/// When anything that was promised does not hold.
pub fn run(seed: u64) {
    let corners = [
        history_is_folded_while_edits_wait,
        a_clock_is_wrong_where_nobody_tells_the_time,
        others_write_while_a_refusal_is_on_its_way,
        answers_are_lost_with_their_connection,
        news_come_while_a_page_is_built,
        the_connection_ends_between_a_restore_and_its_first_page,
    ];
    let corner = corners[usize::try_from(seed % corners.len() as u64).unwrap_or(0)];
    corner(Corner::new(seed));
}

/// Ann, whose app lets more through than the server, and Bob, with an account that both have.
struct Corner {
    world: World,
    rng: StdRng,
    ann: Device,
    bob: Device,
    account: RecordId,
}

impl Corner {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let rule = "employees = { type = \"int\", min = 0, max = 10_000_000 }";
        let lenient = Schema::builtin().text().replacen(rule, "employees = \"int\"", 1);
        assert_ne!(lenient, Schema::builtin().text(), "the schema has the rule");
        let (ann, bob) = (world.device_with_schema("ann", &lenient), world.device("bob"));
        let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
        world.settle();
        Self { world, rng: StdRng::seed_from_u64(seed ^ 0x0c0_12e5), ann, bob, account }
    }

    /// A moment of some length.
    fn pause(&mut self, ms_max: u64) {
        let ms = self.rng.random_range(0..ms_max);
        self.world.run_for(ms);
    }

    /// Ann writes what the server refuses.
    fn overstep(&mut self) {
        let employees = -self.rng.random_range(1..1_000);
        self.world.set(self.ann, self.account, "employees", employees);
    }

    /// Everything comes to rest; everybody shows the same, and Ann has so many disputes.
    fn rest(&mut self, disputes: usize) {
        self.world.all_online();
        self.world.assert_converged();
        assert_eq!(self.world.disputes(self.ann).len(), disputes, "what Ann has to decide");
        assert_eq!(self.world.disputes(self.bob), [], "Bob has nothing to decide");
    }
}

/// A long history is folded into its snapshot on the device while edits of the document are unanswered, one of
/// which is going to be refused.
fn history_is_folded_while_edits_wait(mut corner: Corner) {
    let (ann, account) = (corner.ann, corner.account);
    // Of a history of 16 KiB on it is worth folding.
    for number in 0..corner.rng.random_range(100..140) {
        let words = format!("{number:>4}: a long story of a customer ").repeat(3);
        corner.world.set(ann, account, "country", words);
    }
    corner.world.settle();
    corner.world.offline(ann);
    corner.overstep();
    corner.world.update(ann, account, Edits::new().set("country", "CH").increment("visits", 2));
    corner.world.update(ann, account, Edits::new().splice("notes", 0, 0, "[new]"));
    let idle = |world: &World| world.at(ann).client().idle_work().expect("there is room for it");
    assert!((0..IDLE_STEPS_MAX).any(|_| !idle(&corner.world)), "idle work comes to its end");
    corner.world.set(corner.bob, account, "website", "https://hooli.example");
    corner.rest(1);
    corner.world.assert_all_see(account, "visits", Value::Counter(2));
}

/// A device starts anew without a network, and with a clock that is far off: nothing tells it the time.
fn a_clock_is_wrong_where_nobody_tells_the_time(mut corner: Corner) {
    let (ann, bob, account) = (corner.ann, corner.bob, corner.account);
    corner.world.all_offline();
    let skew = corner.rng.random_range(200_000..40_000_000_000_i64);
    let skew = if corner.rng.random() { skew } else { -skew };
    corner.world.crash_device(ann);
    corner.world.set_clock(ann, skew);
    corner.world.start_device(ann);
    let first = [ann, bob][usize::from(skew < 0)];
    let second = [bob, ann][usize::from(skew < 0)];
    // Whoever is right by the wrong clock alone writes first.
    corner.world.set(first, account, "country", "early");
    corner.pause(60_000);
    corner.world.run_for(1_000);
    corner.world.set(second, account, "country", "late");
    corner.pause(600_000);
    corner.rest(0);
    corner.world.assert_all_see(account, "country", "late");
    assert_eq!(corner.world.contenders(account, "country").len(), 2);
}

/// A batch is refused, and what was written after it is written again, while somebody else's value of the same
/// field arrives.
fn others_write_while_a_refusal_is_on_its_way(mut corner: Corner) {
    let (ann, bob, account) = (corner.ann, corner.bob, corner.account);
    corner.world.offline(ann);
    corner.overstep();
    corner.world.set(ann, account, "country", "of Ann");
    corner.world.set(bob, account, "country", "of Bob");
    if corner.rng.random() {
        corner.world.settle_others(ann);
    }
    corner.rest(1);
    let mut values = corner.world.contenders(account, "country");
    values.sort_by_key(|value| format!("{value:?}"));
    assert_eq!(values, ["of Ann", "of Bob"].map(Value::from), "nobody saw the other's value");
}

/// The server has answered, accepted and refused, and the connection ends before the answers arrive.
fn answers_are_lost_with_their_connection(mut corner: Corner) {
    let (ann, account) = (corner.ann, corner.account);
    for round in 0..3 {
        corner.world.offline(ann);
        corner.world.update(ann, account, Edits::new().increment("visits", 10));
        corner.overstep();
        corner.world.update(ann, account, Edits::new().increment("visits", 1));
        let bytes = corner.rng.random_range(0..600);
        corner.world.cut_after(ann, Way::Down, bytes);
        corner.world.online(ann);
        corner.pause(3_000);
        corner.rest(round + 1);
    }
    corner.world.assert_all_see(account, "visits", Value::Counter(33));
}

/// The log grows while a page is being built and nobody looks.
fn news_come_while_a_page_is_built(mut corner: Corner) {
    let account = corner.account;
    let others = ["carl", "dora"].map(|name| corner.world.device(name));
    corner.world.settle();
    corner.world.build_slowly();
    for number in 0..8 {
        for device in [corner.ann, corner.bob].into_iter().chain(others) {
            let edits = Edits::new().set("country", format!("{number} of {device:?}"));
            let edited = corner.world.edit_now(device, |tx| tx.update(account, edits));
            edited.expect("the device takes the edit");
        }
        // No later news make up for what was missed.
        corner.world.settle();
        corner.world.assert_converged();
    }
    corner.rest(0);
}

/// A device hears that the server was put back, and its connection ends before it is sent anything; the log goes
/// on without it.
fn the_connection_ends_between_a_restore_and_its_first_page(mut corner: Corner) {
    let (ann, bob, account) = (corner.ann, corner.bob, corner.account);
    let backup = corner.world.back_up_server();
    for _ in 0..corner.rng.random_range(1..6) {
        corner.world.update(bob, account, Edits::new().increment("visits", 1));
    }
    corner.world.settle();
    let epoch_of = |world: &World| {
        world.at(ann).client().hello(String::new()).expect("a device can be read").epoch
    };
    let before = epoch_of(&corner.world);
    // Bob has lost what he had: the log goes on with other batches in the same places.
    corner.world.crash_device(bob);
    corner.world.forget(bob);
    corner.world.restore_server(&backup);
    corner.world.reinstall(bob);
    corner.world.offline(bob);
    while epoch_of(&corner.world) == before {
        assert!(corner.world.step(), "the device comes back to the server");
    }
    corner.world.cut(ann);
    corner.world.offline(ann);
    corner.world.online(bob);
    corner.world.settle_others(ann);
    for number in 0..corner.rng.random_range(1..12) {
        corner.world.set(bob, account, "country", format!("{number}"));
    }
    corner.world.settle_others(ann);
    corner.rest(0);
}
