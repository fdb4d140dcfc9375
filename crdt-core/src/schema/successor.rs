//! Whether one schema may follow another: old devices keep writing what they know, so nothing is taken back.

use super::problem::Problems;
use super::{Entity, Field, FieldKind, Schema, SchemaProblems};

/// Every step back from `old` to `next`, each at its line in the text of `next`.
pub(super) fn check(old: &Schema, next: &Schema, file: &str) -> Result<(), SchemaProblems> {
    let mut problems = Problems::of(next.text(), file);
    if next.version() <= old.version() {
        problems.add_line(1, format!("`version` must be greater than {}", old.version()));
    }
    for entity in old.entities() {
        match next.entity(&entity.name) {
            Some(successor) => check_entity(entity, successor, &mut problems),
            None => {
                problems.add_line(1, format!("entity `{}` was there and may not go", entity.name));
            }
        }
    }
    problems.finish()
}

fn check_entity(old: &Entity, next: &Entity, problems: &mut Problems<'_>) {
    for field in &old.fields {
        match next.field(&field.key).filter(|successor| successor.key == field.key) {
            Some(successor) => check_field(field, successor, problems),
            None => {
                let (entity, key) = (&old.name, &field.key);
                let what = format!(
                    "field `{key}` of `{entity}` was there and may not go; hide it instead"
                );
                problems.add_line(next.line, what);
            }
        }
    }
}

fn check_field(old: &Field, next: &Field, problems: &mut Problems<'_>) {
    let key = &old.key;
    if old.section != next.section {
        problems
            .add_line(next.line, format!("field `{key}` may not leave section `{}`", old.section));
    }
    if !widens(&old.kind, &next.kind) {
        let (from, to) = (old.kind.name(), next.kind.name());
        problems.add_line(
            next.line,
            format!("field `{key}` may not change from {from} to {to}: types only widen"),
        );
    }
}

/// Whether every value of `old` is one of `next`, in a column of the same type.
fn widens(old: &FieldKind, next: &FieldKind) -> bool {
    match (old, next) {
        (FieldKind::Set(old), FieldKind::Set(next)) => widens(old, next),
        (FieldKind::Enum(old), FieldKind::Enum(next)) => {
            old.iter().all(|value| next.contains(value))
        }
        (FieldKind::Ref(old), FieldKind::Ref(next)) => {
            old.iter().all(|entity| next.contains(entity))
        }
        (FieldKind::Int, FieldKind::Float) | (FieldKind::Date, FieldKind::String) => true,
        (old, FieldKind::String) if old.is_string_like() => true,
        (old, next) => old == next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(version: u64, fields: &str) -> Schema {
        let text = format!("version = {version}\n[entity.a]\n[entity.a.fields]\n{fields}\n");
        Schema::parse(&text, "s").unwrap()
    }

    fn refusals(old: &str, next: &str) -> String {
        let result = schema(1, old).check_successor(&schema(2, next), "next.toml");
        result.map_or_else(|problems| problems.to_string(), |()| String::new())
    }

    #[test]
    fn new_fields_wider_types_and_hiding_are_steps_forward() {
        let steps = [
            ("x = 'int'", "x = 'float'\ny = 'text'"),
            ("x = 'email'", "x = 'string'"),
            ("x = 'date'", "x = 'string'"),
            ("x = 'string'", "x = { type = 'string', hidden = true, aliases = ['y'] }"),
            ("x = { type = 'enum', values = ['p'] }", "x = { type = 'enum', values = ['q', 'p'] }"),
            ("x = { type = 'set', of = 'phone' }", "x = { type = 'set', of = 'string' }"),
        ];
        for (old, next) in steps {
            assert_eq!(refusals(old, next), "", "{old} -> {next}");
        }
    }

    #[test]
    fn narrower_types_are_refused_with_their_line() {
        let steps = [
            ("x = 'float'", "x = 'int'"),
            ("x = 'string'", "x = 'email'"),
            ("x = 'string'", "x = 'text'"),
            ("x = 'int'", "x = 'counter'"),
            ("x = { type = 'enum', values = ['p', 'q'] }", "x = { type = 'enum', values = ['p'] }"),
        ];
        for (old, next) in steps {
            let refused = refusals(old, next);
            assert!(refused.starts_with("next.toml:4: field `x` may not change"), "{refused}");
        }
    }

    #[test]
    fn what_was_there_may_not_go() {
        let refused = refusals("x = 'int'\ny = 'int'", "x = 'int'");
        let wanted = "next.toml:2: field `y` of `a` was there and may not go; hide it instead";
        assert_eq!(refused, wanted);
        let refused = refusals("x = 'int'", "z = { type = 'int', aliases = ['x'] }");
        assert!(refused.contains("field `x` of `a`"), "an alias does not keep the key: {refused}");
        let empty = Schema::parse("version = 3", "s").unwrap();
        let refused = schema(1, "x = 'int'").check_successor(&empty, "n").unwrap_err().to_string();
        assert_eq!(refused, "n:1: entity `a` was there and may not go");
    }

    #[test]
    fn a_field_stays_in_its_section_and_the_version_grows() {
        let refused = refusals("x = 'int'", "x = { type = 'int', section = 'finance' }");
        assert_eq!(refused, "next.toml:4: field `x` may not leave section `main`");
        let same = schema(1, "x = 'int'").check_successor(&schema(1, "x = 'int'"), "n");
        assert_eq!(same.unwrap_err().to_string(), "n:1: `version` must be greater than 1");
    }
}
