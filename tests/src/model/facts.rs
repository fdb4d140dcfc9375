//! What the model knows of the built-in schema: which fields route a record, written down by hand.

/// How records of an entity are routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The entity.
    pub entity: &'static str,
    /// The field that a new record cannot be without, and a value of it.
    pub required: Option<(&'static str, &'static str)>,
    /// The field through which it follows another record, and that record's entity.
    pub parent: Option<(&'static str, &'static str)>,
    /// Whether it has a field `owner`.
    pub has_owner: bool,
    /// Whether it has fields `territory` and `team`.
    pub has_territory: bool,
    /// Whether it has a section `finance`.
    pub has_finance: bool,
}

/// Every entity that people make records of, parents before children.
pub const ENTITIES: [Facts; 10] = [
    of_everyone("account", "name").routed().with_finance(),
    of_everyone("product", "name").with_finance(),
    of_everyone("lead", "last_name").routed(),
    of_everyone("task", "subject").routed(),
    Facts { required: None, ..of_everyone("note", "") }.routed(),
    Facts { required: None, ..of_everyone("contact", "") }.owned().below("account", "account"),
    of_everyone("opportunity", "name").routed().below("account", "account").with_finance(),
    of_everyone("activity", "subject").owned().below("account", "account"),
    of_everyone("case", "subject").owned().below("account", "account"),
    Facts { required: None, ..of_everyone("line_item", "") }
        .below("opportunity", "opportunity")
        .with_finance(),
];

const MEMBER: Facts = Facts { has_territory: true, ..of_everyone("member", "name").with_finance() };
const KEPT_EDIT: Facts = of_everyone("kept_edit", "reason").below("record", "").with_finance();

/// What is known of an entity.
///
/// # Panics
/// When the built-in schema has no such entity.
#[must_use]
pub fn of(entity: &str) -> Facts {
    let mut all = ENTITIES.into_iter().chain([MEMBER, KEPT_EDIT]);
    all.find(|facts| facts.entity == entity).unwrap_or_else(|| panic!("{entity} is no entity"))
}

const fn of_everyone(entity: &'static str, required: &'static str) -> Facts {
    Facts {
        entity,
        required: Some((required, "A name")),
        parent: None,
        has_owner: false,
        has_territory: false,
        has_finance: false,
    }
}

impl Facts {
    const fn owned(self) -> Self {
        Self { has_owner: true, ..self }
    }

    const fn routed(self) -> Self {
        Self { has_owner: true, has_territory: true, ..self }
    }

    const fn below(self, field: &'static str, entity: &'static str) -> Self {
        Self { parent: Some((field, entity)), ..self }
    }

    const fn with_finance(self) -> Self {
        Self { has_finance: true, ..self }
    }
}
