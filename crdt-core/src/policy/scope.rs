//! Scopes: named groups of records that can be subscribed to, and how their names are spelt.

use std::fmt;

use crate::id::{MemberId, Section};
use crate::limits::ROUTING_NAME_CHARS_MAX;

/// A group of records. Its name is the same on every side and no other scope has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every record of the workspace.
    All,
    /// Records of the entities that the policy shares with everybody.
    Shared,
    /// What this member owns.
    Owner(MemberId),
    /// What belongs to this territory.
    Territory(String),
    /// What belongs to this team.
    Team(String),
}

/// What a scope's name begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    All,
    Shared,
    Owner,
    Territory,
    Team,
}

impl Scope {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::All => Kind::All,
            Self::Shared => Kind::Shared,
            Self::Owner(_) => Kind::Owner,
            Self::Territory(_) => Kind::Territory,
            Self::Team(_) => Kind::Team,
        }
    }

    /// Its name for the documents of a section: the index keeps documents under it.
    pub(super) fn name_in(&self, section: &Section) -> String {
        if section.is_main() { self.to_string() } else { format!("{self}#{section}") }
    }

    /// Reads what [`fmt::Display`] writes. It also takes other spellings of a name: its caller has to compare.
    pub(super) fn read(name: &str) -> Option<Self> {
        Some(match name.split_once(':') {
            None if name == "all" => Self::All,
            None if name == "shared" => Self::Shared,
            Some(("owner", id)) => Self::Owner(id.parse().ok()?),
            Some(("territory", name)) => Self::Territory(unescape(name)?),
            Some(("team", name)) => Self::Team(unescape(name)?),
            _ => return None,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Shared => f.write_str("shared"),
            Self::Owner(member) => write!(f, "owner:{member}"),
            Self::Territory(name) => escape("territory", name, f),
            Self::Team(name) => escape("team", name, f),
        }
    }
}

/// The name of a territory, team or region as data spells it, unless it is none: empty, or too long for a
/// scope's name.
pub(super) fn routing_name(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.chars().nth(ROUTING_NAME_CHARS_MAX).is_none();
    fits.then(|| text.to_owned())
}

/// Characters with a meaning in names of scopes and subscriptions never stand in a part of one.
fn escape(kind: &str, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{kind}:")?;
    for character in name.chars() {
        if matches!(character, '%' | '#' | '/' | ',') || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                write!(f, "%{byte:02X}")?;
            }
        } else {
            write!(f, "{character}")?;
        }
    }
    Ok(())
}

fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = 16 * digit(rest.next()?)? + digit(rest.next()?)?;
                u8::try_from(value).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}
