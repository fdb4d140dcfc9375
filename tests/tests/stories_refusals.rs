//! Stories of refusals: what the server does not take becomes a dispute with its reason and its values, harms
//! nothing else, and can be sent again.

use client_sdk::{DisputeKind, Edits};
use crdt_core::id::RecordId;
use crdt_core::record::{DELETED, Value};
use crdt_core::schema::Schema;
use tests::harness::network::{Packet, Way};
use tests::harness::world::{Device, World};

/// The built-in schema with one line in the place of another.
fn schema_with(version: u64, line: &str, instead: &str) -> String {
    let builtin = Schema::builtin().text();
    assert!(builtin.contains(line), "the built-in schema has changed: {line}");
    let text = builtin.replacen(line, instead, 1);
    text.replacen("version = 1", &format!("version = {version}"), 1)
}

const WEBSITE: &str = "website = \"url\"\n";
const EMPLOYEES: &str = "employees = { type = \"int\", min = 0, max = 10_000_000 }";

/// An app whose schema lets more through than the server's, a device with the right one, and an account.
fn lenient_app(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let app = schema_with(1, EMPLOYEES, "employees = \"int\"");
    let (ann, bob) = (world.device_with_schema("ann", &app), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    (world, ann, bob, account)
}

/// Every edit is in exactly one place: by the world's ledger, and by the device's own accounting.
fn check(world: &World, device: Device) {
    world.check_account(device);
    let sums = world.at(device).client().accounting().unwrap();
    assert!(sums.balances(), "{sums:?}");
}

#[test]
fn a_refused_batch_becomes_a_dispute_with_its_reason_and_its_values() {
    let (mut world, ann, bob, account) = lenient_app(601);
    world.update(ann, account, Edits::new().set("employees", -5).set("country", "1"));
    world.settle();
    world.assert_converged();
    let disputes = world.disputes(ann);
    let [dispute] = &disputes[..] else { panic!("{disputes:?}") };
    assert_eq!(dispute.kind, DisputeKind::Refused);
    assert_eq!(dispute.reasons[0].code, "invalid");
    assert_eq!(dispute.reasons[0].field.as_deref(), Some("employees"));
    assert_eq!(dispute.reasons[0].record, Some(account));
    assert_eq!(dispute.tried[0].values["employees"], serde_json::json!(-5));
    assert_eq!(dispute.tried[0].values["country"], serde_json::json!("1"));
    assert_eq!(*world.see(ann, account).value("country"), Value::Null, "refused as a whole");
    assert!(world.disputes(bob).is_empty());
}

#[test]
fn a_refusal_holds_up_no_other_record() {
    let (mut world, ann, bob, account) = lenient_app(602);
    world.offline(ann);
    let task = world.create(ann, "task", Edits::new().set("subject", "Call"));
    world.set(ann, account, "employees", -5);
    world.set(ann, task, "priority", "high");
    world.online(ann);
    world.settle_watched(|world| check(world, ann));
    world.assert_converged();
    assert_eq!(world.see(bob, task).text("priority"), Some("high"));
    assert_eq!(world.disputes(ann).len(), 1);
}

#[test]
fn later_edits_of_a_refused_record_go_out_again_and_only_the_refused_one_is_a_dispute() {
    let (mut world, ann, bob, account) = lenient_app(603);
    world.offline(ann);
    world.set(ann, account, "country", "before");
    world.set(ann, account, "employees", -5);
    for number in 0..30 {
        world.set(ann, account, "country", format!("after {number}"));
    }
    let task = world.create(ann, "task", Edits::new().set("subject", "Call"));
    world.online(ann);
    world.settle_watched(|world| check(world, ann));
    world.assert_converged();
    assert_eq!(world.disputes(ann).len(), 1);
    world.assert_all_see(account, "country", "after 29");
    assert!(world.find(bob, task).is_some());
    assert_eq!(world.conflicts(bob, account), [], "nobody else wrote the field");
    let sums = world.at(ann).client().accounting().unwrap();
    assert_eq!((sums.submitted, sums.accepted, sums.disputed, sums.pending), (34, 33, 1, 0));
}

#[test]
fn a_refused_record_takes_everything_that_was_written_in_its_batch_along() {
    let (mut world, ann, bob, account) = lenient_app(604);
    world.offline(ann);
    let contact = world
        .edit(ann, |tx| {
            tx.update(account, Edits::new().set("employees", -5))?;
            tx.create("contact", Edits::new().set("last_name", "Orr").set("account", account))
        })
        .unwrap();
    world.set(ann, contact, "title", "Buyer");
    world.online(ann);
    world.settle_watched(|world| check(world, ann));
    world.assert_converged();
    assert!(world.find(bob, contact).is_none());
    assert!(world.find(ann, contact).is_none(), "the record is not there without its batch");
    assert_eq!(world.disputes(ann).len(), 2);
}

#[test]
fn a_refusal_does_not_hide_what_others_wrote_meanwhile() {
    let (mut world, ann, bob, account) = lenient_app(605);
    world.offline(ann);
    world.update(ann, account, Edits::new().set("employees", -5).increment("visits", 1));
    world.update(ann, account, Edits::new().splice("notes", 0, 0, "[ann]"));
    world.update(bob, account, Edits::new().set("employees", 12).increment("visits", 2));
    world.update(bob, account, Edits::new().splice("notes", 0, 0, "[bob]"));
    world.settle_others(ann);
    world.online(ann);
    world.settle_watched(|world| check(world, ann));
    world.assert_converged();
    world.assert_all_see(account, "employees", 12);
    world.assert_all_see(account, "visits", Value::Counter(2));
    let notes = world.see(bob, account).text("notes").unwrap().to_owned();
    assert!(notes == "[ann][bob]" || notes == "[bob][ann]", "{notes}");
    assert_eq!(world.disputes(ann).len(), 1);
}

#[test]
fn a_field_that_the_server_does_not_know_waits_in_a_dispute_until_the_schema_has_it() {
    let mut world = World::new(606);
    let vat = format!("{WEBSITE}vat_number = \"string\"\n");
    let app = schema_with(1, WEBSITE, &vat);
    let (ann, bob) = (world.device_with_schema("ann", &app), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    world.set(ann, account, "vat_number", "DE 811");
    world.settle();
    world.assert_converged();
    let disputes = world.disputes(ann);
    assert_eq!(disputes[0].reasons[0].code, "unknown_field");
    assert_eq!(disputes[0].reasons[0].field.as_deref(), Some("vat_number"));

    world.put_schema(&schema_with(2, WEBSITE, &vat));
    world.settle();
    world.resend(ann, &disputes[0]);
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "vat_number", "DE 811");
    assert!(world.disputes(ann).is_empty());
    let row = "SELECT vat_number FROM account";
    let rows = world.at(bob).client().query(row, &[], Default::default()).unwrap();
    assert_eq!(rows.rows, [[Value::from("DE 811")]], "bob's table grew a column");
}

#[test]
fn a_rule_made_stricter_refuses_nobodys_old_offline_work() {
    let mut world = World::new(607);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    world.offline(ann);
    world.set(ann, account, "employees", 9_000_000);
    let stricter = "employees = { type = \"int\", min = 0, max = 1_000 }";
    world.put_schema(&schema_with(2, EMPLOYEES, stricter));
    world.online(ann);
    world.settle();
    world.assert_converged();
    assert!(world.disputes(ann).is_empty(), "{:?}", world.disputes(ann));
    assert_eq!(world.see(bob, account).int("employees"), Some(9_000_000));
    let refused = world.edit(ann, |tx| tx.update(account, Edits::new().set("employees", 5_000)));
    assert!(refused.is_err(), "the new rule holds for new edits, before they are confirmed");
}

#[test]
fn an_edit_of_a_record_that_another_deleted_meanwhile_is_no_dispute_but_a_conflict() {
    let (mut world, ann, bob, account) = lenient_app(608);
    world.offline(ann);
    world.set(ann, account, "country", "1");
    world.delete(bob, account);
    world.settle_others(ann);
    world.online(ann);
    world.settle();
    world.assert_converged();
    assert!(world.disputes(ann).is_empty());
    assert_eq!(world.contenders(account, DELETED), [Value::from("1")]);
}

#[test]
fn a_discarded_dispute_is_gone_and_a_resent_one_that_is_refused_again_is_back() {
    let (mut world, ann, _, account) = lenient_app(609);
    world.set(ann, account, "employees", -5);
    world.settle();
    let dispute = world.disputes(ann)[0].clone();
    world.resend(ann, &dispute);
    world.settle();
    let again = world.disputes(ann);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].tried, dispute.tried);
    world.discard(ann, &again[0]);
    assert!(world.disputes(ann).is_empty());
}

/// Offline work of a rep with two refused edits in the middle of it, over several records and sections.
fn write_much(world: &mut World, ann: Device, account: RecordId) -> (RecordId, RecordId) {
    let deal = world.create(ann, "opportunity", Edits::new().set("name", "Deal"));
    world.update(ann, account, Edits::new().set("country", "before").increment("visits", 1));
    world.update(
        ann,
        account,
        Edits::new().set("employees", -5).splice("notes", 0, 0, "[refused]"),
    );
    world
        .edit(ann, |tx| {
            tx.update(account, Edits::new().set("country", "after").increment("visits", 10))?;
            tx.update(deal, Edits::new().set("stage", "won").set("commission", "5.00 USD"))
        })
        .unwrap();
    world.update(ann, account, Edits::new().splice("notes", 9, 0, "[kept]"));
    world.update(ann, deal, Edits::new().set("commission", "6.00 USD"));
    world
        .edit(ann, |tx| {
            tx.update(account, Edits::new().set("employees", -6))?;
            tx.update(deal, Edits::new().set("next_step", "never"))
        })
        .unwrap();
    world.update(ann, deal, Edits::new().set("close_date", "2026-12-24"));
    world.update(ann, account, Edits::new().increment("visits", 100).add("tags", "vip"));
    let task = world.create(ann, "task", Edits::new().set("subject", "Elsewhere"));
    (deal, task)
}

fn assert_all_but_the_refused(world: &World, ann: Device, at: Device, account: RecordId) {
    let seen = world.see(at, account);
    assert_eq!(seen.text("country"), Some("after"));
    assert_eq!((seen.int("visits"), seen.text("notes")), (Some(111), Some("[kept]")));
    assert!(seen.value("employees").is_null());
    assert_eq!(world.disputes(ann).len(), 2);
}

#[test]
fn batches_that_span_documents_and_sections_survive_the_refusals_between_them() {
    let (mut world, ann, bob, account) = lenient_app(611);
    world.offline(ann);
    let (deal, _) = write_much(&mut world, ann, account);
    world.online(ann);
    world.settle_watched(|world| check(world, ann));
    world.assert_converged();
    assert_all_but_the_refused(&world, ann, bob, account);
    let seen = world.see(bob, deal);
    assert_eq!(seen.text("stage"), Some("won"));
    assert_eq!(*seen.value("commission"), Value::from("6.00 USD"));
    assert_eq!(*seen.value("close_date"), Value::from("2026-12-24"));
    assert!(seen.value("next_step").is_null());
    let kinds: Vec<DisputeKind> = world.disputes(ann).iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [DisputeKind::Refused, DisputeKind::Refused]);
}

#[test]
fn a_device_that_dies_at_any_moment_around_a_rebase_goes_on_where_it_was() {
    for moment in 0..40_u64 {
        let (mut world, ann, bob, account) = lenient_app(620 + moment);
        world.offline(ann);
        write_much(&mut world, ann, account);
        world.online(ann);
        for _ in 0..moment {
            world.step();
        }
        world.crash_device(ann);
        world.run_for(moment * 10);
        world.start_device(ann);
        check(&world, ann);
        world.settle_watched(|world| check(world, ann));
        world.assert_converged();
        assert_all_but_the_refused(&world, ann, bob, account);
    }
}

#[test]
fn a_lost_receipt_of_a_refusal_comes_again_with_the_next_welcome() {
    for bytes in (0..1_200).step_by(60) {
        let (mut world, ann, bob, account) = lenient_app(670 + bytes as u64);
        world.offline(ann);
        write_much(&mut world, ann, account);
        world.cut_after(ann, Way::Down, bytes);
        world.online(ann);
        world.run_for(3_000);
        world.at_mut(ann).link.cut = None;
        world.online(ann);
        world.settle_watched(|world| check(world, ann));
        world.assert_converged();
        assert_all_but_the_refused(&world, ann, bob, account);
    }
}

#[test]
fn a_push_that_is_cut_between_a_refusal_and_its_dependents_ends_the_same() {
    for bytes in (0..900).step_by(60) {
        let (mut world, ann, bob, account) = lenient_app(2_000 + bytes as u64);
        world.offline(ann);
        write_much(&mut world, ann, account);
        world.cut_after(ann, Way::Up, bytes);
        world.online(ann);
        world.run_for(3_000);
        world.at_mut(ann).link.cut = None;
        world.online(ann);
        world.settle_watched(|world| check(world, ann));
        world.assert_converged();
        assert_all_but_the_refused(&world, ann, bob, account);
    }
}

#[test]
fn edits_that_are_made_while_a_refusal_is_under_way_are_kept() {
    for pause in (0..200).step_by(20) {
        let (mut world, ann, bob, account) = lenient_app(3_000 + pause);
        world.set(ann, account, "employees", -5);
        for number in 0..8 {
            world.run_for(pause);
            world
                .edit_now(ann, |tx| {
                    tx.update(account, Edits::new().set("country", format!("{number}")))?;
                    tx.update(account, Edits::new().increment("visits", 1))
                })
                .unwrap();
            check(&world, ann);
        }
        world.settle_watched(|world| check(world, ann));
        world.assert_converged();
        assert_eq!(world.see(bob, account).int("visits"), Some(8));
        assert_eq!(world.see(bob, account).text("country"), Some("7"));
        assert_eq!(world.disputes(ann).len(), 1);
    }
}

#[test]
fn an_older_value_that_was_pending_does_not_bury_a_newer_one_of_somebody_else() {
    let (mut world, ann, bob, account) = lenient_app(612);
    world.offline(ann);
    world.update(ann, account, Edits::new().set("employees", -5).set("credit_limit", "1.00 USD"));
    world.set(ann, account, "credit_limit", "2.00 USD");
    world.run_for(60_000);
    world.set(bob, account, "credit_limit", "3.00 USD");
    world.settle_others(ann);
    world.online(ann);
    world.settle_watched(|world| check(world, ann));
    world.assert_converged();
    world.assert_all_see(account, "credit_limit", "3.00 USD");
    let values = [Value::from("3.00 USD"), Value::from("2.00 USD")];
    assert_eq!(world.contenders(account, "credit_limit"), values, "both stay visible");
}

#[test]
fn a_refused_edit_of_a_copied_phone_costs_neither_phone_another_one() {
    for seed in 640..646 {
        let (mut world, ann, bob, account) = lenient_app(seed);
        world.offline(ann);
        world.update(ann, account, Edits::new().increment("visits", 1));
        world.update(ann, account, Edits::new().set("employees", -5));
        world.update(ann, account, Edits::new().increment("visits", 10));
        let copy = world.clone_device(ann, "ann's new phone");
        world.update(copy, account, Edits::new().increment("visits", 100).add("tags", "copy"));
        world.run_for(seed % 7 * 300);
        world.update(ann, account, Edits::new().increment("visits", 1_000).add("tags", "first"));
        world.online(ann);
        world.settle();
        world.assert_converged();
        // What both phones held was accepted once, whichever sent it first.
        assert_eq!(world.see(bob, account).int("visits"), Some(1_111), "seed {seed}");
        for device in [ann, copy] {
            assert_eq!(world.disputes(device).len(), 1, "each user sees the refusal");
            check(&world, device);
        }
    }
}

#[test]
fn what_is_no_message_ends_the_connection_and_changes_nothing() {
    let (mut world, ann, bob, account) = lenient_app(610);
    let before = world.picture_of_server();
    let garbage: [Packet; 5] = [
        Packet::Text,
        Packet::Frame(Vec::new()),
        Packet::Frame(vec![0xff; 100]),
        Packet::Frame(vec![1, 0x28, 0xb5, 0x2f, 0xfd, 0xff]),
        Packet::Frame(vec![0; 2 << 20]),
    ];
    for packet in garbage {
        world.inject(ann, packet);
        world.settle();
        assert_eq!(world.picture_of_server(), before);
    }
    world.set(ann, account, "country", "1");
    world.settle();
    world.assert_converged();
    assert_eq!(world.see(bob, account).text("country"), Some("1"));
}
