//! Stories of access: a client that asks nobody changes nothing, and who loses a territory loses every byte of
//! it.

use client_sdk::{EditError, Edits, Record};
use crdt_core::id::{MemberId, RecordId};
use crdt_core::policy::{SALES, Why};
use crdt_core::record::Value;
use tests::harness::world::{Device, MemberChanges, World, whoever};

/// A sales organisation in the west: a rep, a manager, an administrator, a reader who may write nothing.
struct Cast {
    world: World,
    ann: Device,
    rep: MemberId,
    max: Device,
    boss: Device,
    ava: Device,
}

/// Everybody's devices, synced.
fn cast(seed: u64) -> Cast {
    let mut world = World::governed(seed, SALES);
    let rep = world.person("Ann", "rep", &["west"]);
    let manager = world.person("Max", "manager", &[]);
    let region = MemberChanges { region: Some("west".to_owned()), ..whoever("manager", &[]) };
    world.direct(manager, &region);
    let administrator = world.person("Boss", "admin", &[]);
    let auditor = world.person("Ava", "auditor", &[]);
    let ann = world.device_of(rep, "ann");
    let max = world.device_of(manager, "max");
    let boss = world.device_of(administrator, "boss");
    let ava = world.device_of(auditor, "ava");
    world.settle();
    Cast { world, ann, rep, max, boss, ava }
}

impl Cast {
    /// An account of the west, made by its manager, that everybody has.
    fn account(&mut self, name: &str) -> RecordId {
        let edits = Edits::new().set("name", name).set("territory", "west");
        let account = self.world.create(self.max, "account", edits);
        self.world.settle();
        account
    }

    fn seen(&self, device: Device, id: RecordId) -> Record {
        self.world.see(device, id)
    }
}

#[test]
fn a_read_only_members_patched_client_changes_nothing_and_its_user_sees_why() {
    let mut cast = cast(8_100);
    let account = cast.account("Hooli");
    let Cast { world, ava, boss, .. } = &mut cast;
    let (ava, boss) = (*ava, *boss);
    let before = world.picture_of(boss);
    world.offline(ava);
    // The device advises against it; a patched one does not ask.
    let refused = world.edit(ava, |tx| tx.update(account, Edits::new().set("name", "Mine")));
    let Err(EditError::Forbidden { denials }) = refused else { panic!("{refused:?}") };
    assert!(denials.iter().all(|denial| denial.why == Why::NotGranted), "{denials:?}");
    world.insist(ava, |tx| tx.update(account, Edits::new().set("name", "Mine"))).unwrap();
    world.insist(ava, |tx| tx.update(account, Edits::new().increment("visits", 5))).unwrap();
    world.insist(ava, |tx| tx.update(account, Edits::new().set("credit_limit", usd(1)))).unwrap();
    world.insist(ava, |tx| tx.delete(account)).unwrap();
    let made = world.insist(ava, |tx| tx.create("task", Edits::new().set("subject", "x"))).unwrap();
    assert_eq!(world.find(ava, account).map(|record| record.deleted()), Some(true));
    world.online(ava);
    world.settle_watched(|world| {
        let accounting = world.at(ava).client().accounting().unwrap();
        assert!(accounting.balances(), "{accounting:?}");
    });
    world.assert_converged();
    assert_eq!(world.picture_of(boss), before, "nothing has changed anywhere");
    assert_eq!(world.find(ava, made), None, "not even on the device itself");
    let disputes = world.disputes(ava);
    assert_eq!(disputes.len(), 5, "each edit is kept for its user: {disputes:?}");
    for dispute in &disputes {
        assert_eq!(dispute.policy_version, Some(1));
        assert!(!dispute.reasons.is_empty() && !dispute.tried.is_empty(), "{dispute:?}");
        assert!(dispute.reasons.iter().all(|reason| reason.code == "forbidden"), "{dispute:?}");
        assert!(dispute.reasons.iter().all(|reason| reason.rule.is_some()), "{dispute:?}");
    }
    assert_eq!(disputes[0].tried[0].values["name"], serde_json::json!("Mine"));
    assert_eq!(disputes[0].tried[0].old["name"], serde_json::json!("Hooli"));
}

#[test]
fn a_refused_edit_costs_its_author_no_other_edit() {
    let mut cast = cast(8_110);
    let account = cast.account("Hooli");
    let Cast { world, ann, max, .. } = &mut cast;
    let (ann, max) = (*ann, *max);
    world.offline(ann);
    world.set(ann, account, "country", "before");
    world.insist(ann, |tx| tx.update(account, Edits::new().set("credit_limit", usd(9)))).unwrap();
    world.insist(ann, |tx| tx.update(account, Edits::new().set("territory", "east"))).unwrap();
    // By the device's own state the account is out of reach now; the server will have refused the move.
    for edits in [
        Edits::new().set("phone", "+1 555 0100").increment("visits", 2),
        Edits::new().add("tags", "after").increment("visits", 3),
    ] {
        world.insist(ann, |tx| tx.update(account, edits)).unwrap();
    }
    world.online(ann);
    world.settle();
    for device in [ann, max] {
        let seen = world.see(device, account);
        assert_eq!(seen.text("country"), Some("before"));
        assert_eq!(seen.text("phone"), Some("+1 555 0100"));
        assert_eq!(seen.text("territory"), Some("west"));
        assert_eq!(seen.int("visits"), Some(5));
        assert_eq!(*seen.value("tags"), Value::Set(vec!["after".to_owned()]));
    }
    assert_eq!(world.disputes(ann).len(), 2);
    assert_eq!(*world.see(max, account).value("credit_limit"), Value::Null);
}

#[test]
fn who_loses_a_territory_loses_every_byte_of_it_at_the_next_contact() {
    let mut cast = cast(8_200);
    let account = cast.account("CANARYNAME");
    let Cast { world, ann, max, rep, .. } = &mut cast;
    let (ann, max, rep) = (*ann, *max, *rep);
    let more = Edits::new().add("tags", "CANARYTAG").set_text("notes", "CANARYNOTE, a long story");
    world.update(max, account, more);
    let contact = Edits::new().set("last_name", "CANARYPERSON").set("account", account);
    let contact = world.create(max, "contact", contact);
    let deal = Edits::new().set("name", "CANARYDEAL").set("account", account);
    world.create(max, "opportunity", deal);
    world.settle();
    // Old values in the history, and two values in a conflict.
    world.all_offline();
    world.set(ann, account, "country", "CANARYONE");
    world.set(max, account, "country", "CANARYTWO");
    world.all_online();
    world.set(max, account, "country", "plain");
    world.settle();
    let search = |world: &World, what: &str| {
        world.at(ann).client().search("account", what, 10).unwrap().len()
    };
    assert_eq!(search(world, "CANARYNAME"), 1);
    assert!(!world.files_with(ann, b"CANARYNOTE").is_empty(), "the scan finds what is there");
    world.direct(rep, &whoever("rep", &[]));
    world.settle();
    assert_eq!(world.find(ann, account), None);
    assert_eq!(world.find(ann, contact), None);
    assert_eq!(search(world, "CANARYNAME"), 0);
    let sql = "SELECT count(*) FROM document WHERE entity != 'member'";
    let left = world.at(ann).client().query(sql, &[], Default::default()).unwrap();
    assert_eq!(left.rows[0][0].as_int(), Some(0), "documents are gone");
    assert_eq!(world.files_with(ann, b"CANARY"), Vec::<String>::new());
    assert!(!world.files_with(max, b"CANARYNOTE").is_empty());
}

#[test]
fn who_gets_a_territory_back_gets_its_records_whole_and_their_edits_are_offered() {
    let mut cast = cast(8_300);
    let account = cast.account("Hooli");
    let Cast { world, ann, max, rep, .. } = &mut cast;
    let (ann, max, rep) = (*ann, *max, *rep);
    world.update(ann, account, Edits::new().increment("visits", 1).set_text("notes", "First. "));
    world.settle();
    world.offline(ann);
    let late = Edits::new().set("country", "Edited offline").increment("visits", 10);
    world.update(ann, account, late);
    world.direct(rep, &whoever("rep", &[]));
    world.set(max, account, "phone", "+1 555 0100");
    world.settle_others(ann);
    world.online(ann);
    world.settle();
    // The edit was judged on arrival, and refused: its author still has it, and so has the manager.
    assert_eq!(world.find(ann, account), None);
    let disputes = world.disputes(ann);
    let [dispute] = &disputes[..] else { panic!("{disputes:?}") };
    assert_eq!(dispute.reasons[0].code, "out_of_scope");
    assert_eq!(dispute.tried[0].values["country"], serde_json::json!("Edited offline"));
    let sql = "SELECT tried, status FROM kept_edit";
    let kept = world.at(max).client().query(sql, &[], Default::default()).unwrap();
    assert_eq!(kept.rows.len(), 1, "the manager is shown what was tried");
    let Value::Str(tried) = &kept.rows[0][0] else { panic!("{kept:?}") };
    assert!(tried.contains("Edited offline"), "{tried}");
    assert_eq!(world.see(max, account).int("visits"), Some(1), "it does not count");
    world.direct(rep, &whoever("rep", &["west"]));
    world.settle();
    let back = world.see(ann, account);
    assert_eq!(back.text("phone"), Some("+1 555 0100"));
    assert_eq!(back.text("notes"), Some("First. "));
    assert_eq!(back.int("visits"), Some(1));
    world.resend(ann, &dispute.clone());
    world.settle();
    for device in [ann, max] {
        assert_eq!(world.see(device, account).text("country"), Some("Edited offline"));
        assert_eq!(world.see(device, account).int("visits"), Some(11));
    }
    assert_eq!(world.disputes(ann), []);
}

#[test]
fn a_manager_takes_over_what_somebody_tried_too_late_or_turns_it_down() {
    let mut cast = cast(8_350);
    let (first, second) = (cast.account("Hooli"), cast.account("Initech"));
    let Cast { world, ann, max, rep, .. } = &mut cast;
    let (ann, max, rep) = (*ann, *max, *rep);
    world.settle();
    world.offline(ann);
    for account in [first, second] {
        let late = Edits::new().set("country", "Late").increment("visits", 4).add("tags", "vip");
        world.update(ann, account, late.set_text("notes", "Met Ada."));
    }
    world.direct(rep, &whoever("rep", &[]));
    world.settle_others(ann);
    world.online(ann);
    world.settle();
    let client = world.at(max).client().clone();
    let kept = client.kept_edits().unwrap();
    let of = |record| kept.iter().find(|kept| kept.record == record).unwrap().clone();
    let (taken, turned_down) = (of(first), of(second));
    assert_eq!((taken.author, kept.len()), (Some(rep), 2));
    client.accept_kept(taken.id).unwrap();
    client.dismiss_kept(turned_down.id).unwrap();
    assert!(client.accept_kept(turned_down.id).is_err(), "it is decided");
    assert!(client.dismiss_kept(first).is_err(), "an account is no kept edit");
    assert_eq!(client.kept_edits().unwrap(), []);
    world.settle();
    assert_eq!(world.disputes(max), []);
    let accepted = world.see(max, first);
    assert_eq!(accepted.text("country"), Some("Late"));
    assert_eq!(
        (accepted.int("visits"), accepted.members("tags")),
        (Some(4), &["vip".to_owned()][..])
    );
    assert_eq!(accepted.text("notes"), Some("Met Ada."));
    assert_eq!(world.see(max, second).text("country"), None);
}

#[test]
fn an_account_that_moves_while_its_rep_is_offline_takes_its_children_along() {
    let mut cast = cast(8_400);
    let account = cast.account("Hooli");
    let contact = Edits::new().set("last_name", "Hu").set("account", account);
    let contact = cast.world.create(cast.max, "contact", contact);
    cast.world.settle();
    assert_eq!(cast.seen(cast.ann, contact).text("last_name"), Some("Hu"));
    let Cast { world, ann, max, boss, .. } = &mut cast;
    let (ann, max, boss) = (*ann, *max, *boss);
    world.offline(ann);
    world.set(ann, contact, "title", "CTO");
    let task = world.create(ann, "task", Edits::new().set("subject", "Call Hu"));
    world.set(boss, account, "territory", "east");
    world.settle_others(ann);
    assert_eq!(world.find(max, contact).map(|seen| seen.id()), Some(contact), "max made it");
    world.online(ann);
    world.settle();
    assert_eq!(world.find(ann, account), None);
    assert_eq!(world.find(ann, contact), None);
    assert_eq!(world.see(ann, task).text("subject"), Some("Call Hu"), "nothing else is touched");
    assert_eq!(world.disputes(ann).len(), 1);
    assert_eq!(*world.see(boss, contact).value("title"), Value::Null);
}

#[test]
fn a_member_who_is_switched_off_keeps_local_work_and_sends_it_when_switched_on() {
    let mut cast = cast(8_500);
    let account = cast.account("Hooli");
    let Cast { world, ann, max, rep, .. } = &mut cast;
    let (ann, max, rep) = (*ann, *max, *rep);
    let switched = |active| MemberChanges { active: Some(active), ..Default::default() };
    world.direct(rep, &switched(false));
    world.run_for(5_000);
    let phase = world.at(ann).sync().status().phase;
    assert_eq!(phase, client_sdk::SyncPhase::Disabled);
    world.set(ann, account, "country", "Written while switched off");
    world.run_for(5_000);
    assert_eq!(*world.see(max, account).value("country"), Value::Null);
    world.direct(rep, &switched(true));
    world.crash_device(ann);
    world.start_device(ann);
    world.settle();
    assert_eq!(world.see(max, account).text("country"), Some("Written while switched off"));
    assert_eq!(world.disputes(ann), []);
}

/// An amount of money.
fn usd(whole: i64) -> crdt_core::record::Money {
    crdt_core::record::Money::from_minor(whole * 100, "USD").expect("USD is a currency")
}

#[test]
fn who_may_make_what_nobody_lets_them_read_has_it_until_it_is_accepted() {
    let (others, auditor) = SALES.split_once("[role.auditor]").unwrap();
    let writes = auditor.replace("[\"read\"]", "[\"create\"]");
    assert_ne!(writes, auditor);
    let mut world = World::governed(8_109, &format!("{others}[role.auditor]{writes}"));
    let (sue, boss) = (world.person("Sue", "auditor", &[]), world.person("Boss", "admin", &[]));
    let (sue, boss) = (world.device_of(sue, "sue"), world.device_of(boss, "boss"));
    world.settle();
    world.offline(sue);
    let tasks: Vec<RecordId> = (0..3)
        .map(|n| world.create(sue, "task", Edits::new().set("subject", n.to_string())))
        .collect();
    assert!(tasks.iter().all(|task| world.find(sue, *task).is_some()));
    world.online(sue);
    world.settle();
    assert!(tasks.iter().all(|task| world.find(sue, *task).is_none()));
    assert!(tasks.iter().all(|task| world.find(boss, *task).is_some()));
    assert_eq!(world.disputes(sue), []);
}
