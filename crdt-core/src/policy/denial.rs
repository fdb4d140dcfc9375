//! The words of a decision: actions, the rule that allows, and the reason when none does. None of them holds
//! a value of a record.

use std::fmt;
use std::str::FromStr;

use crate::id::{BadSpelling, Section};

/// What a member may be allowed to do with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Have it on the device.
    Read,
    /// Make a new one.
    Create,
    /// Write fields of one that exists.
    Update,
    /// Delete or restore it.
    Delete,
    /// Move it from one scope to another.
    Transfer,
    /// Declare it to be the same as another.
    Merge,
    /// Remove it for ever, with its history.
    Erase,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Transfer,
        Self::Merge,
        Self::Erase,
    ];

    /// The word for it in `policy.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Transfer => "transfer",
            Self::Merge => "merge",
            Self::Erase => "erase",
        }
    }

    /// Whether a rule may allow it for some fields only.
    pub(super) const fn has_fields(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = BadSpelling;

    fn from_str(text: &str) -> Result<Self, BadSpelling> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| misspelt("an action", text))
    }
}

/// Why a member may not do something. The later variants came closer to being allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The member is switched off.
    Inactive,
    /// The member has no role of the policy.
    NoRole,
    /// No rule of the role allows the action on the entity.
    NotGranted,
    /// Rules allow it, but none in this section.
    SectionNotGranted,
    /// Rules allow it in this section, but none for this field.
    FieldNotGranted,
    /// Rules allow it, but the record is in none of the scopes where they do.
    NotInScope,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Inactive,
        Self::NoRole,
        Self::NotGranted,
        Self::SectionNotGranted,
        Self::FieldNotGranted,
        Self::NotInScope,
    ];

    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::NoRole => "no_role",
            Self::NotGranted => "not_granted",
            Self::SectionNotGranted => "section_not_granted",
            Self::FieldNotGranted => "field_not_granted",
            Self::NotInScope => "not_in_scope",
        }
    }
}

impl FromStr for Why {
    type Err = BadSpelling;

    fn from_str(text: &str) -> Result<Self, BadSpelling> {
        let found = Self::ALL.into_iter().find(|why| why.as_str() == text);
        found.ok_or_else(|| misspelt("a reason of a denial", text))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "the member is switched off",
            Self::NoRole => "the member has no role",
            Self::NotGranted => "no rule of the role allows it",
            Self::SectionNotGranted => "no rule of the role allows it in this section",
            Self::FieldNotGranted => "no rule of the role allows it for this field",
            Self::NotInScope => "the record is in no scope where a rule of the role allows it",
        })
    }
}

fn misspelt(what: &'static str, text: &str) -> BadSpelling {
    BadSpelling { what, text: text.chars().take(80).collect() }
}

/// The rule that allowed something: where it stands in the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// Its role.
    pub role: String,
    /// Its line, counted from one.
    pub line: usize,
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "role `{}`, rule of line {}", self.role, self.line)
    }
}

/// One thing that a member may not do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Denial {
    /// What was asked for.
    pub action: Action,
    /// On a record of this entity.
    pub entity: String,
    /// In this section.
    pub section: Section,
    /// On this field; nothing when the record as a whole was meant.
    pub field: Option<String>,
    /// What is missing.
    pub why: Why,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of ", self.action)?;
        if let Some(field) = &self.field {
            write!(f, "field `{field}` of ")?;
        }
        write!(f, "`{}`", self.entity)?;
        if !self.section.is_main() {
            write!(f, " in section `{}`", self.section)?;
        }
        write!(f, " is denied: {}", self.why)
    }
}
