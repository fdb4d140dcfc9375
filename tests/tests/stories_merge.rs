//! Stories of merging: what people see after they edited the same records without a network.

use client_sdk::{Choice, Edits};
use crdt_core::id::RecordId;
use crdt_core::record::{Money, Value};
use tests::harness::world::{Device, World};

/// Two devices that both have one record, and no network any more.
fn two_apart(seed: u64, entity: &str, edits: Edits) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let id = world.create(ann, entity, edits);
    world.settle();
    world.all_offline();
    (world, ann, bob, id)
}

fn account() -> Edits {
    Edits::new().set("name", "Ganjaflex")
}

fn meet(world: &mut World) {
    world.all_online();
    world.assert_converged();
}

#[test]
fn edits_to_different_fields_both_survive() {
    let (mut world, ann, bob, id) = two_apart(1, "account", account());
    world.set(ann, id, "country", "+1 555 0100");
    world.set(bob, id, "website", "https://ganjaflex.example");
    meet(&mut world);
    world.assert_all_see(id, "country", "+1 555 0100");
    world.assert_all_see(id, "website", "https://ganjaflex.example");
    assert_eq!(world.contenders(id, "country"), []);
}

#[test]
fn the_latest_edit_of_a_field_wins_and_not_the_device_that_edited_more() {
    let (mut world, ann, bob, id) = two_apart(2, "account", account());
    for number in 0..20 {
        world.set(ann, id, "country", format!("+1 555 01{number:02}"));
    }
    world.set(bob, id, "country", "+1 555 0999");
    meet(&mut world);
    world.assert_all_see(id, "country", "+1 555 0999");
    let both = [Value::from("+1 555 0999"), Value::from("+1 555 0119")];
    assert_eq!(world.contenders(id, "country"), both);
}

#[test]
fn a_ranked_field_shows_the_value_that_ranks_first_whoever_wrote_last() {
    let (mut world, ann, bob, id) =
        two_apart(3, "opportunity", Edits::new().set("name", "Deal").set("stage", "prospecting"));
    world.set(ann, id, "stage", "won");
    world.set(bob, id, "stage", "engaging");
    meet(&mut world);
    world.assert_all_see(id, "stage", "won");
    assert_eq!(world.contenders(id, "stage"), [Value::from("won"), Value::from("engaging")]);
}

#[test]
fn a_wish_not_to_be_contacted_outlives_whatever_was_typed_at_the_same_time() {
    let (mut world, ann, bob, id) =
        two_apart(4, "contact", Edits::new().set("last_name", "Orr").set("do_not_contact", false));
    world.set(ann, id, "do_not_contact", true);
    world.update(bob, id, Edits::new().unset("do_not_contact").set("title", "Buyer"));
    meet(&mut world);
    world.assert_all_see(id, "do_not_contact", true);
    world.assert_all_see(id, "title", "Buyer");
}

#[test]
fn a_max_field_shows_the_greatest_value() {
    let (mut world, ann, bob, id) =
        two_apart(5, "lead", Edits::new().set("last_name", "Orr").set("score", 10));
    world.set(ann, id, "score", 90);
    world.set(bob, id, "score", 40);
    meet(&mut world);
    world.assert_all_see(id, "score", 90);
}

#[test]
fn a_min_field_shows_the_least_value() {
    let (mut world, ann, bob, id) = two_apart(6, "task", Edits::new().set("subject", "Call"));
    world.set(ann, id, "due", "2026-12-01");
    world.set(bob, id, "due", "2026-12-24");
    meet(&mut world);
    world.assert_all_see(id, "due", "2026-12-01");
}

#[test]
fn an_ask_field_stays_open_until_a_person_decides_and_then_closes_everywhere() {
    let deal = Edits::new().set("name", "Deal").set("amount", usd(100));
    let (mut world, ann, bob, id) = two_apart(7, "opportunity", deal);
    world.set(ann, id, "amount", usd(200));
    world.set(bob, id, "amount", usd(300));
    meet(&mut world);
    let values = [Value::from(usd(300)), Value::from(usd(200))];
    assert_eq!(world.contenders(id, "amount"), values);
    assert!(world.conflicts(ann, id).iter().all(|conflict| conflict.open));

    world.decide(ann, id, "amount", Choice::Contender(1));
    world.settle();
    world.assert_converged();
    world.assert_all_see(id, "amount", usd(200));
    assert_eq!(world.contenders(id, "amount"), []);
}

#[test]
fn decisions_of_two_people_apart_are_a_conflict_again_and_no_value_is_lost() {
    let deal = Edits::new().set("name", "Deal").set("amount", usd(100));
    let (mut world, ann, bob, id) = two_apart(8, "opportunity", deal);
    world.set(ann, id, "amount", usd(200));
    world.set(bob, id, "amount", usd(300));
    meet(&mut world);
    world.all_offline();
    world.decide(ann, id, "amount", Choice::Contender(1));
    world.decide(bob, id, "amount", Choice::Value(usd(250).into()));
    meet(&mut world);
    let values = [Value::from(usd(250)), Value::from(usd(200))];
    assert_eq!(world.contenders(id, "amount"), values);
}

#[test]
fn prose_that_two_people_wrote_at_once_holds_both_parts() {
    let notes = account().set_text("notes", "Met at the fair. ");
    let (mut world, ann, bob, id) = two_apart(9, "account", notes);
    world.update(ann, id, Edits::new().splice("notes", 17, 0, "Wants a quote. "));
    world.update(bob, id, Edits::new().splice("notes", 0, 0, "Urgent! "));
    meet(&mut world);
    world.assert_all_see(
        id,
        "notes",
        Value::Text("Urgent! Met at the fair. Wants a quote. ".to_owned()),
    );
}

#[test]
fn prose_that_two_people_began_at_once_holds_both_parts() {
    let (mut world, ann, bob, id) = two_apart(10, "account", account());
    world.update(ann, id, Edits::new().splice("notes", 0, 0, "[ann]"));
    world.update(bob, id, Edits::new().splice("notes", 0, 0, "[bob]"));
    meet(&mut world);
    let seen = world.see(ann, id);
    let notes = seen.text("notes").unwrap_or_default();
    assert!(notes.contains("[ann]") && notes.contains("[bob]") && notes.len() == 10, "{notes}");
}

#[test]
fn a_tag_that_was_added_and_removed_at_once_stays() {
    let (mut world, ann, bob, id) = two_apart(11, "account", account().add("tags", "vip"));
    world.update(ann, id, Edits::new().add("tags", "vip"));
    world.update(bob, id, Edits::new().remove("tags", "vip"));
    meet(&mut world);
    world.assert_all_see(id, "tags", Value::Set(vec!["vip".to_owned()]));
}

#[test]
fn a_tag_that_one_removed_while_the_other_looked_away_is_gone() {
    let tags = account().add("tags", "vip").add("tags", "fair");
    let (mut world, _ann, bob, id) = two_apart(12, "account", tags);
    world.update(bob, id, Edits::new().remove("tags", "vip").add("tags", "new"));
    meet(&mut world);
    world.assert_all_see(id, "tags", Value::Set(vec!["fair".to_owned(), "new".to_owned()]));
}

#[test]
fn counters_add_up_also_when_both_began_them_apart() {
    let (mut world, ann, bob, id) = two_apart(13, "account", account());
    world.update(ann, id, Edits::new().increment("visits", 3));
    world.update(ann, id, Edits::new().increment("visits", -1));
    world.update(bob, id, Edits::new().increment("visits", 5));
    meet(&mut world);
    world.assert_all_see(id, "visits", Value::Counter(7));
}

#[test]
fn an_amount_and_its_currency_never_part() {
    let deal = Edits::new().set("name", "Deal").set("close_value", usd(100));
    let (mut world, ann, bob, id) = two_apart(14, "opportunity", deal);
    world.set(ann, id, "close_value", money(200, "EUR"));
    world.set(bob, id, "close_value", usd(300));
    meet(&mut world);
    world.assert_all_see(id, "close_value", usd(300));
    assert_eq!(
        world.contenders(id, "close_value"),
        [Value::from(usd(300)), Value::from(money(200, "EUR"))]
    );
}

/// Deletes on one device and edits on the other, who connect in the given order.
fn delete_against_edit(seed: u64, deleter_first: bool) -> (World, Device, Device, RecordId) {
    let (mut world, ann, bob, id) = two_apart(seed, "account", account());
    world.delete(ann, id);
    world.set(bob, id, "country", "+1 555 0100");
    let order = if deleter_first { [ann, bob] } else { [bob, ann] };
    for device in order {
        world.online(device);
        world.run_for(5_000);
    }
    world.settle();
    world.assert_converged();
    (world, ann, bob, id)
}

#[test]
fn a_deletion_and_an_edit_at_once_show_the_same_conflict_in_every_order_of_arrival() {
    for (seed, deleter_first) in [(15, true), (16, false)] {
        let (world, ann, _, id) = delete_against_edit(seed, deleter_first);
        assert_eq!(world.contenders(id, "$deleted"), [Value::from("+1 555 0100")]);
        assert!(world.see(ann, id).deleted());
        assert!(world.conflicts(ann, id).iter().all(|conflict| conflict.open));
    }
}

#[test]
fn a_deleted_record_is_restored_with_the_edit_that_its_deleter_had_not_seen() {
    for (seed, deleter_first) in [(17, true), (18, false)] {
        let (mut world, ann, _, id) = delete_against_edit(seed, deleter_first);
        world.edit(ann, |tx| tx.restore(id)).unwrap();
        world.settle();
        world.assert_converged();
        world.assert_all_see(id, "country", "+1 555 0100");
        assert_eq!(world.contenders(id, "$deleted"), []);
    }
}

#[test]
fn a_deletion_that_had_seen_every_edit_shows_no_conflict() {
    let (mut world, ann, bob, id) = two_apart(19, "account", account());
    world.delete(ann, id);
    meet(&mut world);
    assert!(world.see(bob, id).deleted());
    assert_eq!(world.contenders(id, "$deleted"), []);
    let refused = world.edit(bob, |tx| tx.update(id, Edits::new().set("country", "1")));
    assert!(refused.is_err(), "a deleted record takes no edit");
}

#[test]
fn two_deletions_at_once_are_one() {
    let (mut world, ann, bob, id) = two_apart(20, "account", account());
    world.delete(ann, id);
    world.delete(bob, id);
    meet(&mut world);
    assert!(world.see(ann, id).deleted() && world.see(bob, id).deleted());
    assert_eq!(world.contenders(id, "$deleted"), []);
}

fn usd(whole: i64) -> Money {
    money(whole, "USD")
}

fn money(whole: i64, currency: &str) -> Money {
    Money::from_minor(whole * 100, currency).unwrap()
}
