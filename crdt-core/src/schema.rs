//! The schema of a workspace: its entities, their fields, and how each merges, indexes and validates.
//!
//! It knows nothing of documents or tables: it says what they must look like.

mod check;
mod field;
pub(crate) mod parse;
pub(crate) mod problem;
mod successor;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub use check::Violation;
pub use field::{Field, FieldKind, MergeRule, Pattern, Validation};
pub use problem::{SchemaProblem, SchemaProblems};

use crate::id::Section;

/// Columns that every projection has beside those of its fields.
pub const SYSTEM_COLUMNS: [&str; 6] =
    ["_id", "_created_at", "_created_by", "_updated_at", "_updated_by", "_sync_state"];

/// A workspace's schema. It never changes; share it in an [`Arc`].
#[derive(Debug)]
pub struct Schema {
    version: u64,
    text: String,
    entities: BTreeMap<String, Entity>,
}

impl Schema {
    /// Reads `schema.toml`; `file` is the name that problems are reported under.
    ///
    /// # Errors
    /// Lists every problem of the text, each with its line, in the order of the lines.
    pub fn parse(text: &str, file: &str) -> Result<Self, SchemaProblems> {
        parse::read_schema(text, file)
    }

    /// The CRM that a workspace starts with.
    pub fn builtin() -> &'static Arc<Self> {
        static BUILTIN: LazyLock<Arc<Schema>> = LazyLock::new(|| {
            let schema = Schema::parse(include_str!("schema/builtin.toml"), "builtin.toml");
            Arc::new(
                schema.expect("the built-in text is fixed, and a test of this module parses it"),
            )
        });
        &BUILTIN
    }

    /// The version that batches name and that devices compare.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The text that it was read from: what the server sends to devices.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every entity, in the order of names.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.entities.values()
    }

    /// The entity of this name.
    #[must_use]
    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.get(name)
    }

    /// Whether `next` may take this schema's place: its version is greater, everything declared here is
    /// still there under the same key and section, and types only widen.
    ///
    /// # Errors
    /// Lists every step back; `file` names the text of `next`.
    pub fn check_successor(&self, next: &Self, file: &str) -> Result<(), SchemaProblems> {
        successor::check(self, next, file)
    }
}

/// A kind of record.
#[derive(Debug)]
pub struct Entity {
    /// Its name, also that of its table.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// Its fields in the order of the file; a group gives one field for each part.
    pub fields: Vec<Field>,
    /// The columns of each declared index.
    pub indexes: Vec<Vec<String>>,
    /// Keys of the fields that full-text search covers.
    pub search: Vec<String>,
    /// Key of the `ref` field whose record's scopes this one follows.
    pub inherits: Option<String>,
    /// The line that declares it.
    pub line: usize,
    by_name: BTreeMap<String, usize>,
    by_column: BTreeMap<String, usize>,
    sections: Vec<Section>,
}

impl Entity {
    /// The field of this key or alias: `name`, `address.street`; for a set, its name without a member.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Field> {
        self.by_name.get(key).map(|place| &self.fields[*place])
    }

    /// The field that a key found in a document belongs to, and for a set the member that it names.
    /// Aliases are not document keys, and a set's name without a member is not one either.
    #[must_use]
    pub fn field_of_key<'k>(&self, document_key: &'k str) -> Option<(&Field, Option<&'k str>)> {
        let (name, member) = match document_key.split_once('/') {
            Some((name, member)) => (name, Some(member)),
            None => (document_key, None),
        };
        let field = self.field(name).filter(|field| field.key == name)?;
        (field.kind.is_set() == member.is_some()).then_some((field, member))
    }

    /// The field that a column shows. A money field has two columns; system columns belong to no field.
    #[must_use]
    pub fn column(&self, column: &str) -> Option<&Field> {
        self.by_column.get(column).map(|place| &self.fields[*place])
    }

    /// The sections of its records: `main`, then the others in the order of their first field.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }

    /// Fills in the lookups from the fields.
    fn indexed(mut self) -> Self {
        self.sections = vec![Section::main()];
        for (place, field) in self.fields.iter().enumerate() {
            for name in field.aliases.iter().chain([&field.key]) {
                self.by_name.insert(name.clone(), place);
            }
            for column in field.columns() {
                self.by_column.insert(column, place);
            }
            if !self.sections.contains(&field.section) {
                self.sections.push(field.section.clone());
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;

    fn entity(name: &str) -> &'static Entity {
        Schema::builtin().entity(name).unwrap()
    }

    #[test]
    fn the_builtin_schema_has_no_problems_and_every_entity_of_the_design() {
        let parsed = Schema::parse(include_str!("schema/builtin.toml"), "builtin.toml");
        assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
        let names: Vec<_> = Schema::builtin().entities().map(|e| e.name.as_str()).collect();
        let wanted = "account activity case contact kept_edit lead line_item member note opportunity product task";
        assert_eq!(names.join(" "), wanted);
    }

    #[test]
    fn the_builtin_schema_uses_every_merge_rule() {
        let rules: Vec<_> =
            Schema::builtin().entities().flat_map(|e| e.fields.iter().map(|f| &f.merge)).collect();
        assert!(rules.iter().any(|r| matches!(r, MergeRule::Latest)));
        assert!(rules.iter().any(|r| matches!(r, MergeRule::Ranked(_))));
        assert!(rules.contains(&&MergeRule::Max));
        assert!(rules.contains(&&MergeRule::Min));
        assert!(rules.contains(&&MergeRule::Ask));
        assert_eq!(
            entity("contact").field("do_not_contact").unwrap().merge,
            MergeRule::Ranked(vec![Value::Bool(true), Value::Bool(false)])
        );
    }

    #[test]
    fn a_document_key_finds_its_field_and_its_member() {
        let contact = entity("contact");
        let found = |key| contact.field_of_key(key).map(|(f, m)| (f.key.as_str(), m));
        assert_eq!(found("last_name"), Some(("last_name", None)));
        assert_eq!(found("address.street"), Some(("address.street", None)));
        assert_eq!(found("tags/vip"), Some(("tags", Some("vip"))));
        assert_eq!(found("tags/a/b"), Some(("tags", Some("a/b"))));
        for not_a_key in
            ["tags", "last_name/x", "address", "address_street", "nothing", "", "/", "$deleted"]
        {
            assert_eq!(found(not_a_key), None, "{not_a_key}");
        }
    }

    #[test]
    fn a_group_gives_one_field_and_one_column_for_each_part() {
        let contact = entity("contact");
        let street = contact.field("address.street").unwrap();
        assert_eq!(street.column, "address_street");
        assert_eq!(contact.column("address_street").unwrap().key, "address.street");
        assert_eq!(contact.column("_updated_at").map(|f| &f.key), None);
    }

    #[test]
    fn a_money_field_answers_for_both_of_its_columns() {
        let opportunity = entity("opportunity");
        assert_eq!(opportunity.column("amount").unwrap().key, "amount");
        assert_eq!(opportunity.column("amount_currency").unwrap().key, "amount");
        assert!(opportunity.field("amount_currency").is_none());
    }

    #[test]
    fn an_alias_finds_the_field_but_is_no_document_key() {
        let text =
            "version = 1\n[entity.a.fields]\nname = { type = \"string\", aliases = [\"title\"] }\n";
        let schema = Schema::parse(text, "s").unwrap();
        let a = schema.entity("a").unwrap();
        assert_eq!(a.field("title").unwrap().key, "name");
        assert!(a.field_of_key("title").is_none());
    }

    #[test]
    fn sections_are_distinct_and_main_comes_first() {
        let names: Vec<_> = entity("opportunity").sections().map(Section::as_str).collect();
        assert_eq!(names, ["main", "finance"]);
        let names: Vec<_> = entity("contact").sections().map(Section::as_str).collect();
        assert_eq!(names, ["main"]);
    }

    #[test]
    fn the_builtin_schema_indexes_and_routes_what_the_design_names() {
        let contact = entity("contact");
        for wanted in [vec!["stage", "score"], vec!["last_name"], vec!["owner", "_updated_at"]] {
            assert!(contact.indexes.iter().any(|index| *index == wanted), "{wanted:?}");
        }
        for child in ["contact", "opportunity", "activity", "case"] {
            assert_eq!(entity(child).inherits.as_deref(), Some("account"));
        }
        assert!(entity("account").inherits.is_none());
    }

    #[test]
    fn the_version_and_the_text_are_kept() {
        let schema = Schema::parse("version = 7\n", "s").unwrap();
        assert_eq!((schema.version(), schema.text()), (7, "version = 7\n"));
        assert_eq!(schema.entities().count(), 0);
    }
}
