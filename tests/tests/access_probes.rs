//! Permission probes by the ten thousand: random policies, people, records and moves; every batch that a member
//! could push and every document that a device is sent, against an independent model. No false allow, no false
//! denial.

use crdt_core::id::{MemberId, RecordId, Section};
use crdt_core::protocol::Outcome;
use crdt_core::record::Scalar;
use crdt_core::time::Timestamp;
use sync_server::workspace::Stride;
use tests::harness::bare::{Bare, Part, Reader};
use tests::harness::files;
use tests::harness::probes::{self, Counts};
use tests::harness::time::WORLD_BEGINS_MS;
use tests::simulator::cores::on_every_core;
use tests::simulator::seeds::seeds_of;

/// Seeds unless `FIELDBOOK_PROBE_SEEDS` says otherwise.
const SEEDS: u64 = 26;
/// Questions that one run asks at least, of each way.
const PROBES_MIN: u64 = 20_000;
/// Answers of either kind that each way of asking has got at least.
const ANSWERS_MIN: u64 = 20;

#[test]
fn every_push_and_every_page_agree_with_the_reference_model() {
    let seeds = seeds_of("FIELDBOOK_PROBE_SEEDS", SEEDS);
    let mut counts = Counts::default();
    on_every_core(&seeds, |seed| probes::run(*seed)).iter().for_each(|one| counts.add(one));
    let mut pushes = 0;
    for (kind, asked) in counts.kinds() {
        println!("{kind}: {} allowed, {} denied", asked.allowed, asked.denied);
        pushes += if kind.starts_with("push") { asked.allowed + asked.denied } else { 0 };
    }
    println!("{} seeds, {} probes, {pushes} of them pushes", seeds.len(), counts.total());
    if seeds.len() as u64 >= SEEDS {
        assert!(pushes >= PROBES_MIN, "{pushes} pushes");
        assert!(counts.total() - pushes >= PROBES_MIN, "{} documents", counts.total() - pushes);
        for (kind, asked) in counts.kinds() {
            let both = asked.allowed >= ANSWERS_MIN && asked.denied >= ANSWERS_MIN;
            assert!(both, "{kind} was asked too one-sidedly: {asked:?}");
        }
    }
}

/// A record whose own documents stay where they are, between one that moves and one whose documents follow it.
#[test]
fn a_move_reaches_grandchildren_also_where_the_record_between_stays_in_its_scopes() {
    let folder = files::folder();
    let mut bare = Bare::create(folder.path(), Stride::default());
    let [boss, rep] = ["boss", "rep"].map(|name| MemberId::from_source_key("member", name));
    bare.add_member(boss);
    bare.add_member(rep);
    let mut hand = bare.hand(boss, 1);
    let at = Timestamp::from_millis(WORLD_BEGINS_MS);
    let id = |name: &str| RecordId::from_source_key("record", name);
    let bytes = |record: RecordId| Scalar::Bytes(record.as_bytes().to_vec());
    let text = |text: &str| Scalar::Str(text.to_owned());
    let main = |name: &str, entity: &str| Part::of(id(name), Section::main(), entity);
    let finance: Section = "finance".parse().unwrap();
    let people = [(boss, "admin", "nowhere"), (rep, "rep", "west")].map(|(member, role, place)| {
        let part = Part::of(member.into(), Section::main(), "member").begun(boss, at);
        let part = part.put("name", text("A member")).put("role", text(role));
        part.put("territory", text(place))
    });
    let account = main("a", "account").begun(boss, at).put("name", text("A"));
    let deal = main("o", "opportunity").begun(boss, at).put("name", text("O"));
    let item = main("i", "line_item").begun(boss, at).put("opportunity", bytes(id("o")));
    let cost = Part::of(id("i"), finance, "line_item").put("cost", text("7.00 USD"));
    let parts =
        [account.put("territory", text("west")), deal.put("account", bytes(id("a"))), item, cost];
    for part in people.iter().chain(&parts) {
        let outcome = bare.push(&mut hand, std::slice::from_ref(part));
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{part:?}: {outcome:?}");
    }
    // Territories are of use for the section `finance` of line items alone.
    bare.put_policy(
        "version = 2\n\
         [[role.admin.allow]]\nentities = \"*\"\non = [\"all\"]\nactions = \"*\"\nsections = \"*\"\n\
         [[role.rep.allow]]\nentities = [\"line_item\"]\non = [\"territory\"]\n\
         actions = [\"read\"]\nsections = [\"finance\"]\n",
    );
    let mut reader = Reader::numbered(rep, 9);
    assert!(bare.read_all(&mut reader, |_| {}));
    assert_eq!(reader.held().map(|id| id.record).collect::<Vec<_>>(), [id("i")]);
    let moved = bare.push(&mut hand, &[main("a", "account").put("territory", text("east"))]);
    assert!(matches!(moved, Outcome::Accepted { .. }), "{moved:?}");
    bare.settle();
    assert!(bare.read_all(&mut reader, |_| {}));
    assert_eq!(reader.held().count(), 0, "the account is in the east now");
}
