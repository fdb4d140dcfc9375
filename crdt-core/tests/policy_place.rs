//! Where records stand: routing values from cells, parents, mergers, and the names that the index keeps.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crdt_core::id::{ActorId, ChangeHash, MemberId, RecordId, Section};
use crdt_core::limits::{ROUTES_FOLLOWED_MAX, ROUTING_NAME_CHARS_MAX};
use crdt_core::policy::{Placement, Policy, Route, Scope, Standing};
use crdt_core::record::{Action, Cells, Change, DELETED, Op, Scalar};
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;

fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}

/// Records are told apart and ordered by one byte.
fn record(number: u8) -> RecordId {
    RecordId(uuid::Uuid::from_bytes([number; 16]))
}

fn text(value: &str) -> Scalar {
    Scalar::Str(value.to_owned())
}

fn id(member: MemberId) -> Scalar {
    Scalar::Bytes(member.as_bytes().to_vec())
}

/// A document into which these values were written in this order, each by an actor who saw none of the
/// others.
fn cells(values: &[(&str, Scalar)]) -> Cells {
    let mut cells = Cells::default();
    for (place, (key, value)) in values.iter().enumerate() {
        let number = u8::try_from(place + 1).unwrap();
        let action = Action::Put(value.clone());
        let change = Change {
            actor: ActorId([number; 16]),
            seq: 1,
            start_op: 1,
            time: Timestamp::from_millis(1_700_000_000_000 + i64::from(number)),
            deps: Vec::new(),
            ops: vec![Op { key: (*key).to_owned(), action, preds: Vec::new() }],
        };
        cells.apply(&change, ChangeHash([number; 32]));
    }
    cells
}

fn route_of(entity: &str, values: &[(&str, Scalar)]) -> Route {
    Route::of(Schema::builtin().entity(entity).unwrap(), &cells(values))
}

fn standing_of(values: &[(&str, Scalar)]) -> Standing {
    Standing::of(member("me"), Schema::builtin().entity("member").unwrap(), &cells(values))
}

#[test]
fn a_route_is_read_from_the_values_that_win() {
    let parent = Scalar::Bytes(record(7).as_bytes().to_vec());
    let route = route_of(
        "opportunity",
        &[
            ("$created_by", id(member("creator"))),
            ("owner", id(member("first"))),
            ("owner", id(member("second"))),
            ("territory", text("west")),
            ("team", text("blue")),
            ("account", parent.clone()),
            ("$merged_into", parent),
        ],
    );
    let wanted = Route {
        entity: "opportunity".to_owned(),
        owner: Some(member("second")),
        territory: Some("west".to_owned()),
        team: Some("blue".to_owned()),
        parent: Some(record(7)),
        merged_into: Some(record(7)),
    };
    assert_eq!(route, wanted);
}

#[test]
fn while_the_owner_is_unset_the_creator_owns_the_record() {
    let creator = ("$created_by", id(member("creator")));
    let owner = |entity, values: &[_]| route_of(entity, values).owner;
    let alone = std::slice::from_ref(&creator);
    assert_eq!(owner("account", alone), Some(member("creator")));
    assert_eq!(
        owner("account", &[("owner", Scalar::Null), creator.clone()]),
        Some(member("creator"))
    );
    assert_eq!(owner("product", alone), Some(member("creator")));
    assert_eq!(owner("account", &[]), None);
    // These follow their parent and have no owner to set.
    assert_eq!(owner("line_item", alone), None);
    assert_eq!(owner("kept_edit", &[creator, ("author", id(member("author")))]), None);
}

#[test]
fn values_that_cannot_route_are_passed_over() {
    let long = "x".repeat(ROUTING_NAME_CHARS_MAX + 1);
    let route = route_of(
        "account",
        &[
            ("owner", Scalar::Bytes(vec![1, 2, 3])),
            ("territory", text("")),
            ("team", text(&long)),
            ("$merged_into", text("nonsense")),
        ],
    );
    assert_eq!(route, Route { entity: "account".to_owned(), ..Route::default() });
    let longest = "ü".repeat(ROUTING_NAME_CHARS_MAX);
    assert_eq!(route_of("account", &[("territory", text(&longest))]).territory, Some(longest));
    assert_eq!(route_of("task", &[("about", Scalar::Null)]).parent, None);
}

#[test]
fn routing_fields_of_another_type_or_section_or_name_do_not_route() {
    let schema = "version = 1\n[entity.a]\nlabel = 'A'\n[entity.a.fields]\nowner = 'string'\n\
                  territory = { type = 'string', section = 'finance' }\nteam = 'text'\n\
                  region = { type = 'string', aliases = ['role'] }\n";
    let schema = Schema::parse(schema, "s").unwrap();
    let entity = schema.entity("a").unwrap();
    let mut written = cells(&[
        ("$created_by", id(member("creator"))),
        ("owner", id(member("me"))),
        ("territory", text("west")),
        ("region", text("americas")),
    ]);
    let prose = crdt_core::record::seed(crdt_core::record::SeedKind::Text, "team");
    written.apply(&prose, ChangeHash([9; 32]));
    let route = Route::of(entity, &written);
    let owner = Some(member("creator"));
    assert_eq!(route, Route { entity: "a".to_owned(), owner, ..Route::default() });
    assert_eq!(Standing::of(member("me"), entity, &written).role, None);
}

#[test]
fn a_standing_is_read_from_the_members_record() {
    let listed = |name: &str| (name.to_owned(), Scalar::Bool(true));
    let sets = [listed("territories/east"), listed("territories/a/b"), listed("teams/red")];
    let mut values: Vec<(&str, Scalar)> = vec![
        ("role", text("rep")),
        ("territory", text("west")),
        ("team", text("blue")),
        ("region", text("americas")),
    ];
    values.extend(sets.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let wanted = Standing {
        member: member("me"),
        role: Some("rep".to_owned()),
        territories: ["a/b", "east", "west"].map(str::to_owned).into(),
        teams: ["blue", "red"].map(str::to_owned).into(),
        region: Some("americas".to_owned()),
        active: true,
    };
    assert_eq!(standing_of(&values), wanted);
    assert_eq!(standing_of(&[]), Standing::unlisted(member("me")));
}

#[test]
fn who_is_switched_off_or_deleted_is_not_active() {
    let active = |values: &[_]| standing_of(values).active;
    assert!(active(&[("active", Scalar::Bool(true))]));
    assert!(active(&[("active", Scalar::Null)]));
    assert!(!active(&[("active", Scalar::Bool(false))]));
    assert!(!active(&[("active", Scalar::Bool(false)), ("active", Scalar::Bool(true))]));
    assert!(!active(&[(DELETED, Scalar::Bytes(Vec::new()))]));
}

/// Records with a parent, a survivor, or neither; each is owned by the member of its number and stands in
/// the territory of its number.
#[derive(Default)]
struct World(BTreeMap<RecordId, Route>);

impl World {
    fn with(mut self, number: u8, parent: Option<u8>, merged_into: Option<u8>) -> Self {
        let route = Route {
            entity: "account".to_owned(),
            owner: Some(member(&number.to_string())),
            territory: Some(number.to_string()),
            team: Some(number.to_string()),
            parent: parent.map(record),
            merged_into: merged_into.map(record),
        };
        self.0.insert(record(number), route);
        self
    }

    /// The numbers of the owners, and that of the territory and team, of a record in this world.
    fn place(&self, number: u8) -> (Vec<String>, String) {
        let mut routes = |id| Ok::<_, Infallible>(self.0.get(&id).cloned());
        let route = &self.0[&record(number)];
        let placement = Policy::sales().place(route, &mut routes).unwrap();
        let known = (0..=255_u8).map(|number| number.to_string());
        let owners = known.filter(|name| placement.contains(&Scope::Owner(member(name))));
        let named = |scope: &Scope| match scope {
            Scope::Territory(name) | Scope::Team(name) => Some(name.clone()),
            Scope::All | Scope::Shared | Scope::Owner(_) => None,
        };
        let names: Vec<String> = placement.scopes().filter_map(named).collect();
        let [territory, team] = &names[..] else { panic!("{placement:?}") };
        assert_eq!(territory, team);
        assert!(placement.contains(&Scope::All) && !placement.contains(&Scope::Shared));
        (owners.collect(), territory.clone())
    }
}

#[track_caller]
fn assert_place(world: &World, number: u8, owners: &[u8], top: u8) {
    let owners: Vec<String> = owners.iter().map(u8::to_string).collect();
    assert_eq!(world.place(number), (owners, top.to_string()));
}

#[test]
fn a_record_without_a_parent_stands_with_its_owner_territory_and_team() {
    assert_place(&World::default().with(1, None, None), 1, &[1], 1);
    let bare = Route { entity: "account".to_owned(), ..Route::default() };
    let placement = Policy::sales().place::<Infallible>(&bare, &mut |_| Ok(None)).unwrap();
    assert_eq!(placement, Placement::of([]));
}

#[test]
fn a_record_with_a_parent_stands_where_the_parent_stands_and_with_its_own_owner() {
    let world = World::default().with(1, Some(2), None).with(2, Some(3), None).with(3, None, None);
    assert_place(&world, 1, &[1, 2, 3], 3);
    assert_place(&world, 2, &[2, 3], 3);
}

#[test]
fn a_record_whose_parent_does_not_exist_stands_by_itself() {
    let world = World::default().with(1, Some(2), None).with(2, Some(9), None);
    assert_place(&world, 1, &[1, 2], 2);
    assert_place(&world, 2, &[2], 2);
}

#[test]
fn a_merged_parent_stands_for_the_record_that_survived() {
    let world = World::default()
        .with(1, Some(2), None)
        .with(2, None, Some(3))
        .with(3, None, Some(4))
        .with(4, Some(5), None)
        .with(5, None, None);
    assert_place(&world, 1, &[1, 4, 5], 5);
    // The record itself is not where its survivor is: it may have to be found again.
    assert_place(&world, 2, &[2], 2);
}

#[test]
fn a_parent_that_was_merged_into_nothing_known_stands_for_itself() {
    let world = World::default().with(1, Some(2), None).with(2, None, Some(9));
    assert_place(&world, 1, &[1, 2], 2);
}

#[test]
fn in_a_circle_of_mergers_the_smallest_id_survives() {
    let itself = World::default().with(1, Some(2), None).with(2, None, Some(2));
    assert_place(&itself, 1, &[1, 2], 2);
    // 6 leads into the circle 5 → 3 → 4 → 5 without being part of it.
    let world = World::default()
        .with(1, Some(5), None)
        .with(2, Some(6), None)
        .with(3, None, Some(4))
        .with(4, None, Some(5))
        .with(5, None, Some(3))
        .with(6, None, Some(5));
    assert_place(&world, 1, &[1, 3], 3);
    assert_place(&world, 2, &[2, 3], 3);
    let led_in = World::default()
        .with(9, Some(2), None)
        .with(2, None, Some(5))
        .with(5, None, Some(6))
        .with(6, None, Some(5));
    assert_place(&led_in, 9, &[5, 9], 5);
    // A merger of a merger with itself.
    let tail =
        World::default().with(9, Some(2), None).with(2, None, Some(5)).with(5, None, Some(5));
    assert_place(&tail, 9, &[5, 9], 5);
}

#[test]
fn parents_in_a_circle_end_where_it_closes() {
    let world = World::default().with(1, Some(2), None).with(2, Some(1), None);
    assert_place(&world, 1, &[1, 2], 1);
    assert_place(&world, 2, &[1, 2], 2);
    assert_place(&World::default().with(1, Some(1), None), 1, &[1], 1);
}

/// Records 1, 2, 3 … each of which says of the next what `link` makes of it, without an end.
fn lookups(start: &Route, link: impl Fn(Option<RecordId>) -> Route) -> usize {
    let mut count = 0;
    let mut routes = |id: RecordId| {
        count += 1;
        let next = RecordId(uuid::Uuid::from_u128(id.0.as_u128() + 1));
        Ok::<_, Infallible>(Some(link(Some(next))))
    };
    Policy::sales().place(start, &mut routes).unwrap();
    count
}

#[test]
fn a_way_up_without_an_end_is_followed_so_far() {
    let child = Route { parent: Some(record(1)), ..Route::default() };
    let parents = lookups(&child, |next| Route { parent: next, ..Route::default() });
    assert_eq!(parents, ROUTES_FOLLOWED_MAX);
    let mergers = lookups(&child, |next| Route { merged_into: next, ..Route::default() });
    assert_eq!(mergers, ROUTES_FOLLOWED_MAX);
}

#[test]
fn an_error_of_the_lookup_is_handed_on() {
    let child = Route { parent: Some(record(1)), ..Route::default() };
    let policy = Policy::sales();
    assert_eq!(policy.place(&child, &mut |_| Err("the disk is gone")), Err("the disk is gone"));
    let merged = Route { merged_into: Some(record(2)), ..Route::default() };
    let mut second =
        |id| if id == record(1) { Ok(Some(merged.clone())) } else { Err("the disk is gone") };
    assert_eq!(policy.place(&child, &mut second), Err("the disk is gone"));
}

#[test]
fn a_shared_entity_is_shared_and_what_hangs_below_it_is_not() {
    let product = Route { entity: "product".to_owned(), ..Route::default() };
    let child = Route { parent: Some(record(1)), ..Route::default() };
    let mut routes = |_| Ok::<_, Infallible>(Some(product.clone()));
    let below = Policy::sales().place(&child, &mut routes).unwrap();
    assert_eq!(below, Placement::of([]));
    let placement = Policy::sales().place::<Infallible>(&product, &mut |_| Ok(None)).unwrap();
    assert_eq!(placement, Placement::of([Scope::Shared]));
    assert_eq!(placement.scopes().collect::<Vec<_>>(), [&Scope::All, &Scope::Shared]);
}

#[test]
fn the_index_keeps_only_scopes_from_which_the_section_can_be_read() {
    let placement = Placement::of([
        Scope::Shared,
        Scope::Owner(member("me")),
        Scope::Territory("west".to_owned()),
        Scope::Team("blue".to_owned()),
    ]);
    let names = |policy: &Policy, section: &str| {
        policy.index_scopes(&placement, &section.parse().unwrap()).join(" ")
    };
    let owner = format!("owner:{}", member("me"));
    let sales = Policy::sales();
    assert_eq!(names(sales, Section::MAIN), format!("all shared {owner} territory:west"));
    assert_eq!(
        names(sales, "finance"),
        format!("all#finance {owner}#finance territory:west#finance")
    );
    assert_eq!(names(Policy::open(), Section::MAIN), "all");
    let text = "version = 1\nrole.x.allow = [\n\
                { entities = '*', on = ['team'], actions = ['read'], sections = ['finance'] },\n\
                { entities = '*', on = ['own'], actions = ['update'] }]";
    let policy = Policy::parse(text, "p", Schema::builtin()).unwrap();
    assert_eq!(names(&policy, Section::MAIN), "");
    assert_eq!(names(&policy, "finance"), "team:blue#finance");
    assert_eq!(names(&policy, "health"), "");
}
