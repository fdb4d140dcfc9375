//! Erasure: a record that was erased is nowhere any more, whoever had it and whenever they come back, and
//! nobody can bring it back.

use std::collections::BTreeSet;

use client_sdk::Edits;
use client_sdk::engine::EraseFailure;
use crdt_core::id::{MemberId, RecordId};
use crdt_core::policy::SALES;
use crdt_core::record::Money;
use sync_server::workspace::EraseError;
use tests::harness::replay_command;
use tests::harness::world::{Device, MemberChanges, World, whoever};

/// One word that stands in one place only.
fn canary(kind: &str) -> String {
    format!("canary{}", RecordId::from_source_key("canary", kind).to_string().replace('-', ""))
}

/// Every word that was ever written about the subject.
const KINDS: [&str; 12] = [
    "old",
    "now",
    "prose",
    "typed away",
    "tag",
    "mail",
    "one",
    "two",
    "late",
    "kept",
    "disputed",
    "finance",
];

/// Longer than devices that have a network need for anything, ms.
const REST_MS: u64 = 20_000;

/// An organisation under the sales policy: an administrator, a rep and a manager of the west, a rep of the
/// east. The subject is a contact whom everybody of the west knows.
struct Office {
    world: World,
    admin: Device,
    rep: Device,
    tablet: Device,
    manager: Device,
    east: Device,
    rep_member: MemberId,
    subject: RecordId,
    bystander: RecordId,
    account: RecordId,
    deal: RecordId,
}

impl Office {
    fn open(seed: u64) -> Self {
        let mut world = World::governed(seed, SALES);
        let boss = world.person("boss", "admin", &[]);
        let rep_member = world.person("rep", "rep", &["west"]);
        let manager = MemberId::from_source_key("member", "manager");
        let region = Some("west".to_owned());
        world.enlist(
            manager,
            "manager",
            &MemberChanges { region, ..whoever("manager", &["west"]) },
        );
        let east = world.person("east", "rep", &["east"]);
        let admin = world.device_of(boss, "boss");
        let rep = world.device_of(rep_member, "rep");
        let tablet = world.device_of(rep_member, "rep-tablet");
        let manager = world.device_of(manager, "manager");
        let east = world.device_of(east, "east");
        world.settle();
        let account = Edits::new().set("territory", "west").set("name", "Acme");
        let account = world.create(rep, "account", account);
        let mut contact = |name: String| {
            let edits = Edits::new().set("last_name", name).set("account", account);
            world.create(rep, "contact", edits)
        };
        let subject = contact(canary("old"));
        let bystander = contact("Bystander".to_owned());
        let deal = world.create(
            rep,
            "opportunity",
            Edits::new().set("name", "Deal").set("account", account),
        );
        world.settle();
        Self {
            world,
            admin,
            rep,
            tablet,
            manager,
            east,
            rep_member,
            subject,
            bystander,
            account,
            deal,
        }
    }

    /// Writes about the subject in every way: overwritten and present values, prose and what was taken out of
    /// it, sets, a conflict, an unanswered edit of a device that is away, and a dispute.
    fn write_everything(&mut self) {
        let (rep, subject) = (self.rep, self.subject);
        let world = &mut self.world;
        world.set(rep, subject, "last_name", canary("now"));
        world.update(rep, subject, Edits::new().set_text("journal", canary("typed away")));
        world.update(rep, subject, Edits::new().set_text("journal", canary("prose")));
        world.update(rep, subject, Edits::new().add("tags", canary("tag")));
        world.update(
            rep,
            subject,
            Edits::new().add("emails", format!("{}@x.example", canary("mail"))),
        );
        world.settle();
        for device in [self.rep, self.tablet] {
            self.world.offline(device);
        }
        self.world.set(self.rep, self.subject, "title", canary("one"));
        self.world.set(self.tablet, self.subject, "title", canary("two"));
        for device in [self.rep, self.tablet] {
            self.world.online(device);
        }
        self.world.settle();
        self.world.offline(self.tablet);
        self.world.set(self.tablet, self.subject, "title", canary("late"));
        self.world.set(self.tablet, self.bystander, "title", "Kept");
    }

    /// Lets everybody who has a network come to rest.
    fn rest(&mut self) {
        self.world.run_for(REST_MS);
    }

    /// Nothing of the subject is in the file of a device, nor in what its app can see.
    #[track_caller]
    fn assert_gone_from(&self, device: Device) {
        let name = &self.world.at(device).name;
        assert!(self.world.find(device, self.subject).is_none(), "{name} has the record");
        for kind in KINDS {
            let files = self.world.files_with(device, canary(kind).as_bytes());
            let replay = replay_command(self.world.seed());
            assert!(files.is_empty(), "{name} has `{kind}` in {files:?}\n{replay}");
        }
    }

    #[track_caller]
    fn assert_gone_from_server(&self) {
        for kind in KINDS {
            let files = self.world.server_files_with(canary(kind).as_bytes());
            let replay = replay_command(self.world.seed());
            assert!(files.is_empty(), "the server has `{kind}` in {files:?}\n{replay}");
        }
    }
}

#[test]
fn an_erased_record_is_in_no_file_of_the_server_and_of_no_device() {
    let mut office = Office::open(1);
    office.write_everything();
    let written: BTreeSet<&str> =
        ["old", "now", "prose", "typed away", "tag", "mail", "one", "two"].into();
    for kind in &written {
        // What cannot be found could not be missed either.
        assert!(!office.world.server_files_with(canary(kind).as_bytes()).is_empty(), "{kind}");
        assert!(
            !office.world.files_with(office.manager, canary(kind).as_bytes()).is_empty(),
            "{kind}"
        );
    }
    assert!(!office.world.files_with(office.tablet, canary("late").as_bytes()).is_empty());

    office.world.erase(office.subject).unwrap();
    office.rest();
    office.world.scrub_server();

    office.assert_gone_from_server();
    for device in [office.admin, office.rep, office.manager, office.east] {
        office.assert_gone_from(device);
    }
    // Who is away has it until the next session.
    assert!(office.world.find(office.tablet, office.subject).is_some());
    office.world.online(office.tablet);
    office.world.settle();
    office.assert_gone_from(office.tablet);
    office.world.scrub_server();
    office.assert_gone_from_server();
}

#[test]
fn what_hangs_on_an_erased_record_stays() {
    let mut office = Office::open(2);
    let task = Edits::new().set("subject", "Call back").set("about", office.subject);
    let task = office.world.create(office.rep, "task", task);
    office.world.settle();
    office.world.erase(office.subject).unwrap();
    office.world.settle();
    let shown = office.world.see(office.rep, task);
    assert_eq!(shown.text("subject"), Some("Call back"));
    assert!(office.world.find(office.rep, office.bystander).is_some());
    assert!(office.world.find(office.rep, office.deal).is_some());
}

#[test]
fn what_a_late_device_wrote_about_it_is_taken_out_and_the_rest_goes_through() {
    let mut office = Office::open(3);
    office.world.offline(office.rep);
    let (subject, bystander) = (office.subject, office.bystander);
    // One batch about both, one about the subject alone, one about the bystander alone.
    let both = office.world.edit(office.rep, |tx| {
        tx.update(subject, Edits::new().set("title", canary("late")))?;
        tx.update(bystander, Edits::new().set("title", "Together"))
    });
    both.unwrap();
    office.world.set(office.rep, subject, "title", canary("kept"));
    office.world.set(office.rep, bystander, "first_name", "Alone");

    office.world.erase(subject).unwrap();
    office.world.online(office.rep);
    office.world.settle();

    for device in [office.rep, office.manager] {
        let shown = office.world.see(device, bystander);
        assert_eq!(shown.text("title"), Some("Together"));
        assert_eq!(shown.text("first_name"), Some("Alone"));
        office.assert_gone_from(device);
    }
    assert!(office.world.disputes(office.rep).is_empty(), "nobody has to decide anything");
    let client = office.world.at(office.rep).client();
    assert_eq!(client.unsent().unwrap().batches, 0);
    assert!(client.accounting().unwrap().balances());
    office.world.scrub_server();
    office.assert_gone_from_server();
}

#[test]
fn the_id_cannot_be_taken_anew_by_anybody() {
    let mut office = Office::open(4);
    office.world.erase(office.subject).unwrap();
    office.world.settle();
    for device in [office.rep, office.admin] {
        let (subject, name) = (office.subject, canary("late"));
        office
            .world
            .edit(device, |tx| {
                tx.create_with_id(subject, "contact", Edits::new().set("last_name", &name[..]))
            })
            .unwrap();
        office.world.settle();
        office.assert_gone_from(device);
        assert!(office.world.disputes(device).is_empty());
        assert_eq!(office.world.at(device).client().unsent().unwrap().batches, 0);
    }
    office.world.scrub_server();
    office.assert_gone_from_server();
}

#[test]
fn a_device_that_lost_the_scope_before_and_one_that_comes_later_know_of_it() {
    let mut office = Office::open(5);
    office.write_everything();
    // The tablet is away while the rep moves east and the record is erased.
    office.world.direct(office.rep_member, &whoever("rep", &["east"]));
    office.rest();
    office.world.erase(office.subject).unwrap();
    office.rest();
    office.world.online(office.tablet);
    office.world.settle();
    office.assert_gone_from(office.tablet);
    assert!(
        office
            .world
            .disputes(office.tablet)
            .iter()
            .all(|dispute| { dispute.tried.iter().all(|tried| tried.record != office.subject) })
    );

    let fresh = office.world.device_of(office.rep_member, "rep-new");
    office.world.settle();
    office.assert_gone_from(fresh);
    let certificate = office.world.certificate(office.subject).unwrap();
    let unconfirmed: Vec<&str> = certificate
        .devices
        .iter()
        .filter(|state| state.confirmed_at.is_none())
        .map(|state| state.device.name.as_str())
        .collect();
    assert!(unconfirmed.is_empty(), "{unconfirmed:?}");
}

#[test]
fn a_device_that_is_told_in_the_middle_of_catching_up_by_index_loses_it_too() {
    let mut office = Office::open(6);
    office.world.offline(office.tablet);
    for n in 0..40 {
        office.world.set(office.rep, office.bystander, "title", format!("{n}"));
        let edits = Edits::new().set("last_name", format!("Contact {n}"));
        let account = office.account;
        office.world.create(office.rep, "contact", edits.set("account", account));
    }
    office.rest();
    office.world.online(office.tablet);
    office.world.cut_after(office.tablet, tests::harness::network::Way::Down, 3_000);
    office.world.run_for(300);
    office.world.erase(office.subject).unwrap();
    office.world.settle();
    office.assert_gone_from(office.tablet);
    office.assert_gone_from(office.rep);
}

#[test]
fn a_dispute_about_it_and_a_kept_edit_go_with_it() {
    let mut office = Office::open(7);
    office.world.offline(office.tablet);
    office.world.set(office.tablet, office.subject, "title", canary("disputed"));
    // Its account moves out of the rep's reach meanwhile: what the tablet tried is refused, and kept beside it.
    let boss = RecordId::from(office.world.at(office.admin).member());
    let away = Edits::new().set("territory", "east").set("owner", boss);
    office.world.update(office.admin, office.account, away);
    office.world.set(office.admin, office.subject, "owner", boss);
    office.rest();
    office.world.online(office.tablet);
    office.world.settle();
    let disputes = office.world.disputes(office.tablet);
    assert_eq!(disputes.len(), 1, "{disputes:?}");
    assert!(
        !office.world.server_files_with(canary("disputed").as_bytes()).is_empty(),
        "it is kept"
    );

    office.world.erase(office.subject).unwrap();
    office.world.settle();
    office.world.scrub_server();
    assert!(office.world.disputes(office.tablet).is_empty());
    for device in [office.admin, office.rep, office.tablet, office.manager] {
        office.assert_gone_from(device);
    }
    office.assert_gone_from_server();
    let certificate = office.world.certificate(office.subject).unwrap();
    assert_eq!(certificate.with.len(), 1, "the kept edit went with it");
    assert!(office.world.at(office.tablet).client().accounting().unwrap().balances());
}

#[test]
fn a_section_that_only_some_may_read_goes_with_it() {
    let mut office = Office::open(8);
    let amount = Money::from_minor(123_456, "USD").unwrap();
    let edits = Edits::new().set("name", canary("finance")).set("commission", amount);
    office.world.update(office.admin, office.deal, edits);
    office.world.settle();
    assert!(!office.world.server_files_with(canary("finance").as_bytes()).is_empty());
    office.world.erase(office.deal).unwrap();
    office.world.settle();
    office.world.scrub_server();
    assert!(office.world.server_files_with(canary("finance").as_bytes()).is_empty());
    for device in [office.admin, office.rep, office.manager] {
        assert!(office.world.find(device, office.deal).is_none());
        assert!(office.world.files_with(device, canary("finance").as_bytes()).is_empty());
    }
    let certificate = office.world.certificate(office.deal).unwrap();
    assert_eq!(certificate.erasure.removed.documents, 2, "both sections");
}

#[test]
fn a_member_whose_policy_grants_it_erases_through_its_device_and_no_other_does() {
    let mut office = Office::open(9);
    let refused = |answer: Option<Result<u64, EraseFailure>>| match answer {
        Some(Err(EraseFailure::Refused(refusal))) => refusal,
        other => panic!("{other:?}"),
    };
    let asked = office.world.ask_erasure(office.rep, office.subject);
    office.world.settle();
    let refusal = refused(office.world.erasure_answer(asked));
    assert_eq!(refusal.code, "forbidden");
    assert!(refusal.rule.unwrap().contains("rep"), "the role is named");
    assert!(office.world.find(office.rep, office.subject).is_some());

    // Who may not see it is answered as if there were none.
    let asked = office.world.ask_erasure(office.east, office.subject);
    let nothing = office.world.ask_erasure(office.east, RecordId::from_source_key("no", "such"));
    office.world.settle();
    let unseen = refused(office.world.erasure_answer(asked));
    let none = refused(office.world.erasure_answer(nothing));
    assert_eq!((unseen.code, unseen.text, unseen.rule), (none.code, none.text, none.rule));

    office.world.offline(office.admin);
    office.world.cut(office.admin);
    office.rest();
    let asked = office.world.ask_erasure(office.admin, office.subject);
    assert_eq!(office.world.erasure_answer(asked), Some(Err(EraseFailure::Offline)));
    office.world.online(office.admin);
    office.world.settle();

    let asked = office.world.ask_erasure(office.admin, office.subject);
    office.world.settle();
    let position = office.world.erasure_answer(asked).unwrap().unwrap();
    for device in [office.admin, office.rep, office.tablet, office.manager] {
        office.assert_gone_from(device);
    }
    let certificate = office.world.certificate(office.subject).unwrap();
    assert_eq!(certificate.erasure.position, position);
    assert_eq!(certificate.erasure.by, Some(office.world.at(office.admin).member()));
    // To ask again is safe.
    let again = office.world.ask_erasure(office.admin, office.subject);
    office.world.settle();
    assert_eq!(office.world.erasure_answer(again), Some(Ok(position)));
}

#[test]
fn the_certificate_says_who_knows_and_who_does_not_yet() {
    let mut office = Office::open(10);
    office.world.offline(office.tablet);
    office.rest();
    office.world.erase(office.subject).unwrap();
    office.rest();
    let certificate = office.world.certificate(office.subject).unwrap();
    assert_eq!(certificate.erasure.removed.entity.as_deref(), Some("contact"));
    assert!(certificate.erasure.removed.changes > 0 && certificate.on_ledger);
    let late: Vec<_> =
        certificate.devices.iter().filter(|state| state.confirmed_at.is_none()).collect();
    let [late] = &late[..] else { panic!("{late:?}") };
    assert_eq!(late.device.member, office.rep_member);

    office.world.online(office.tablet);
    office.world.settle();
    let certificate = office.world.certificate(office.subject).unwrap();
    assert!(certificate.devices.iter().all(|state| state.confirmed_at.is_some()));
}

#[test]
fn an_erasure_outlives_a_crash_of_the_server_and_an_older_copy_of_its_file() {
    let mut office = Office::open(11);
    office.write_everything();
    office.world.stop_server();
    let older = office.world.server().files();
    office.world.start_server();
    office.rest();
    office.world.erase(office.subject).unwrap();
    office.world.stop_server();
    office.world.start_server();
    office.rest();
    assert!(office.world.certificate(office.subject).is_some());
    office.assert_gone_from(office.rep);

    office.world.stop_server();
    older.put_back();
    office.world.start_server();
    office.world.scrub_server();
    let certificate = office.world.certificate(office.subject).unwrap();
    assert!(certificate.erasure.removed.changes > 0, "it was in the older copy");
    office.assert_gone_from_server();
}

#[test]
fn what_does_not_exist_and_what_is_a_member_is_not_erased() {
    let mut office = Office::open(12);
    let nothing = RecordId::from_source_key("no", "such");
    assert!(matches!(office.world.erase(nothing), Err(EraseError::NoSuchRecord(_))));
    assert!(office.world.certificate(nothing).is_none());
    let member = RecordId::from(office.rep_member);
    assert!(matches!(office.world.erase(member), Err(EraseError::IsMember(_))));
    office.world.settle();
    assert!(office.world.find(office.rep, office.subject).is_some());
}

#[test]
fn the_app_is_told_what_was_erased() {
    let mut office = Office::open(13);
    let told = office.world.at(office.manager).client().watch();
    let unaware = office.world.at(office.east).client().watch();
    office.world.erase(office.subject).unwrap();
    office.world.settle();
    assert_eq!(told.take().unwrap().erased, BTreeSet::from([office.subject]));
    // Who never had it learns nothing, not even its id.
    assert!(unaware.take().is_none_or(|changes| changes.erased.is_empty()));
    let id = office.subject.as_bytes();
    assert!(office.world.files_with(office.east, id).is_empty());
}
