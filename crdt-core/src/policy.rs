//! Who may see and do what: `policy.toml`, evaluated by pure functions that the server enforces with and the
//! SDK advises with.
//!
//! A [`Policy`] gives roles rules, and rules only allow: what no rule of a member's role allows is denied. A
//! rule names actions, entities, sections, and whose records it is about, seen from the member: their own,
//! those of their territories, teams or region, those shared with everybody, or all. A record's [`Placement`]
//! says which [`Scope`]s it stands in; [`Policy::place`] computes it from the record's [`Route`] and the
//! records above it. What the directory says of a member is a [`Standing`].
//!
//! [`Policy::decide`] answers one question, [`Policy::judge`] a batch's whole [`Deed`] on a record, and
//! [`Policy::subscriptions`] says what a device is sent. They know nothing of documents, tables or time.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use crdt_core::id::{MemberId, Section};
//! use crdt_core::policy::{Action, Ask, Decision, Policy, Route, Standing, Why};
//!
//! let policy = Policy::sales();
//! let rep = Standing {
//!     role: Some("rep".to_owned()),
//!     territories: ["west".to_owned()].into(),
//!     ..Standing::unlisted(MemberId::from_source_key("member", "ada"))
//! };
//! let account = Route {
//!     entity: "account".to_owned(),
//!     territory: Some("west".to_owned()),
//!     ..Route::default()
//! };
//! let placement = policy.place::<Infallible>(&account, &mut |_| Ok(None)).unwrap();
//! let may = |section: &str, field| {
//!     let section: Section = section.parse().unwrap();
//!     let entity = "account";
//!     let ask = Ask { action: Action::Update, entity, section: &section, field, placement: &placement };
//!     policy.decide(&rep, &ask)
//! };
//!
//! assert!(may("main", Some("phone")).is_allowed());
//! let Decision::Deny(denial) = may("finance", Some("credit_limit")) else { unreachable!() };
//! assert_eq!(denial.why, Why::SectionNotGranted);
//! ```

mod deed;
mod denial;
mod evaluate;
mod parse;
mod place;
mod route;
mod rule;
mod scope;
mod standing;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

pub use crate::schema::{SchemaProblem as PolicyProblem, SchemaProblems as PolicyProblems};
pub use deed::Deed;
pub use denial::{Action, Denial, RuleId, Why};
pub use evaluate::{Ask, Decision};
pub use place::Placement;
pub use route::Route;
pub use scope::Scope;
pub use standing::Standing;
pub use subscription::Subscription;

use crate::id::Section;
use crate::schema::Schema;
use rule::{Names, Role};

/// The policy of a sales organisation: rep, manager, support, admin, auditor. It is written for the built-in
/// schema.
pub const SALES: &str = include_str!("policy/sales.toml");

/// Everybody may do everything: what a workspace has before it is given a policy. It fits every schema.
pub const OPEN: &str = include_str!("policy/open.toml");

/// A workspace's policy. It never changes; share it in an [`Arc`].
#[derive(Debug)]
pub struct Policy {
    version: u64,
    text: String,
    default_role: Option<String>,
    shared: BTreeSet<String>,
    regions: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, Role>,
    /// For each kind of scope the sections that some rule lets be read from it.
    indexed: BTreeMap<scope::Kind, Names>,
}

impl Policy {
    /// Reads `policy.toml`; `file` is the name that problems are reported under.
    ///
    /// # Errors
    /// Lists every problem of the text, each with its line, in the order of the lines.
    pub fn parse(text: &str, file: &str, schema: &Schema) -> Result<Self, PolicyProblems> {
        parse::read_policy(text, file, schema)
    }

    /// [`SALES`] for the built-in schema.
    pub fn sales() -> &'static Arc<Self> {
        static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| builtin(SALES, "sales.toml"));
        &POLICY
    }

    /// [`OPEN`].
    pub fn open() -> &'static Arc<Self> {
        static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| builtin(OPEN, "open.toml"));
        &POLICY
    }

    /// The version that receipts and audit entries name.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The text that it was read from: what the server sends to devices.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its roles and their names for people, in the order of names.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.roles.iter().map(|(name, role)| (name.as_str(), role.label.as_str()))
    }

    /// The role that a member has: the one that the directory names when the policy has it, else the
    /// default. Whether the member is active does not matter.
    #[must_use]
    pub fn role_of(&self, who: &Standing) -> Option<&str> {
        self.named_role(who).map(|(name, _)| name)
    }

    /// Whether a member may give roles to everybody: active, and allowed to update `role` of `member` on all
    /// records.
    #[must_use]
    pub fn is_administrator(&self, who: &Standing) -> bool {
        let anywhere = Placement::of([]);
        let ask = Ask {
            action: Action::Update,
            entity: route::MEMBER,
            section: &Section::main(),
            field: Some("role"),
            placement: &anywhere,
        };
        self.decide(who, &ask).is_allowed()
    }

    fn named_role(&self, who: &Standing) -> Option<(&str, &Role)> {
        let known = |name: &str| self.roles.get_key_value(name);
        let role = who.role.as_deref().and_then(known);
        let (name, role) = role.or_else(|| known(self.default_role.as_deref()?))?;
        Some((name, role))
    }
}

fn builtin(text: &str, file: &str) -> Arc<Policy> {
    let policy = Policy::parse(text, file, Schema::builtin());
    Arc::new(policy.expect("the built-in text is fixed, and a test of this module parses it"))
}
