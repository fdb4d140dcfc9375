//! One declared field → its [`Field`], or one for each part when it is a group.

use toml::de::DeValue;

use super::ranges;
use super::table::{Items, Placed, TableReader, distinct_strings, items_of};
use crate::id::{Section, is_name};
use crate::record::Value;
use crate::schema::problem::Problems;
use crate::schema::{Field, FieldKind, MergeRule, Validation};

/// A field as read, with the places that later checks report.
pub(super) struct FieldDraft {
    pub(super) at: usize,
    pub(super) field: Field,
    /// The entities that a reference names.
    pub(super) targets: Vec<Placed<String>>,
    pub(super) aliases: Vec<Placed<String>>,
}

/// Reads what `name` declares.
pub(super) fn read<'t>(
    name: &'t str,
    value: Placed<&'t DeValue<'t>>,
    problems: &mut Problems<'_>,
) -> Vec<FieldDraft> {
    let origin = Origin {
        key: name.to_owned(),
        column: name.to_owned(),
        label: words_of(name),
        section: Section::main(),
        hidden: false,
    };
    let Some(mut reader) = open(&origin, name, value, problems) else { return Vec::new() };
    match read_type(&origin, &mut reader, problems) {
        Some(Placed { value: "group", .. }) => read_group(&origin, reader, problems),
        kind => vec![read_single(&origin, kind, reader, problems)],
    }
}

/// Where a field comes from: its names, and what a group hands down to its parts.
struct Origin {
    key: String,
    column: String,
    label: String,
    section: Section,
    hidden: bool,
}

impl Origin {
    fn part(&self, name: &str) -> Self {
        Self {
            key: format!("{}.{name}", self.key),
            column: format!("{}_{name}", self.column),
            label: format!("{} {}", self.label, words_of(name).to_lowercase()),
            section: self.section.clone(),
            hidden: self.hidden,
        }
    }
}

fn open<'t>(
    origin: &Origin,
    name: &str,
    value: Placed<&'t DeValue<'t>>,
    problems: &mut Problems<'_>,
) -> Option<TableReader<'t>> {
    if !is_name(name) {
        problems.add(value.at, format!("field name {name:?} {NAME_RULE}"));
    }
    let owner = format!("field `{}`", origin.key);
    match value.value {
        DeValue::String(_) => Some(TableReader::of_entry(owner, "type", value)),
        DeValue::Table(table) => Some(TableReader::new(owner, value.at, table)),
        _ => {
            problems.add(value.at, format!("{owner} must be a type or a table"));
            None
        }
    }
}

fn read_type<'t>(
    origin: &Origin,
    reader: &mut TableReader<'t>,
    problems: &mut Problems<'_>,
) -> Option<Placed<&'t str>> {
    if !reader.has("type") {
        problems.add(reader.at, format!("field `{}` has no `type`", origin.key));
    }
    reader.string("type", problems)
}

fn read_group<'t>(
    origin: &Origin,
    mut reader: TableReader<'t>,
    problems: &mut Problems<'_>,
) -> Vec<FieldDraft> {
    let group = Origin {
        key: origin.key.clone(),
        column: origin.column.clone(),
        label: read_label(&mut reader, &origin.label, problems),
        section: read_section(&mut reader, &origin.section, problems),
        hidden: reader.flag("hidden", problems),
    };
    let parts = reader.table("parts", problems).map_or_else(Vec::new, TableReader::into_entries);
    if parts.is_empty() {
        problems.add(reader.at, format!("group `{}` has no parts", group.key));
    }
    finish(reader, "group", problems);
    let read_part = |(name, value)| {
        let origin = group.part(name);
        let mut reader = open(&origin, name, value, problems)?;
        let kind = read_type(&origin, &mut reader, problems);
        Some(read_single(&origin, kind, reader, problems))
    };
    parts.into_iter().filter_map(read_part).collect()
}

/// An unreadable type counts as `string` from here on: the schema is refused anyway, and what refers to
/// the field is not reported as well.
fn read_single<'t>(
    origin: &Origin,
    type_name: Option<Placed<&'t str>>,
    mut reader: TableReader<'t>,
    problems: &mut Problems<'_>,
) -> FieldDraft {
    let at = reader.at;
    let mut field = Field {
        key: origin.key.clone(),
        column: origin.column.clone(),
        kind: FieldKind::String,
        merge: MergeRule::Latest,
        section: read_section(&mut reader, &origin.section, problems),
        label: read_label(&mut reader, &origin.label, problems),
        validation: Validation::default(),
        hidden: reader.flag("hidden", problems) || origin.hidden,
        aliases: Vec::new(),
        line: problems.line(at),
    };
    let aliases = owned(reader.strings("aliases", problems));
    field.aliases = aliases.iter().map(|alias| alias.value.clone()).collect();
    let Some(type_name) = type_name else {
        return FieldDraft { at, field, targets: vec![], aliases };
    };
    let Some((kind, targets)) = read_kind(type_name, &mut reader, problems) else {
        return FieldDraft { at, field, targets: vec![], aliases };
    };
    field.kind = kind;
    field.merge = read_merge(&field.kind, &mut reader, problems);
    field.validation = ranges::read(&field, &mut reader, problems);
    finish(reader, field.kind.name(), problems);
    FieldDraft { at, field, targets, aliases }
}

fn read_kind<'t>(
    type_name: Placed<&'t str>,
    reader: &mut TableReader<'t>,
    problems: &mut Problems<'_>,
) -> Option<(FieldKind, Vec<Placed<String>>)> {
    if let Some(kind) = simple_kind(type_name.value) {
        return Some((kind, Vec::new()));
    }
    match type_name.value {
        "enum" => Some((FieldKind::Enum(ranges::read_picklist(reader, problems)), Vec::new())),
        "ref" => {
            let targets = read_targets(reader, problems);
            let names = targets.iter().map(|target| target.value.clone()).collect();
            Some((FieldKind::Ref(names), targets))
        }
        "set" => {
            let element = read_element(reader, problems)?;
            Some((FieldKind::Set(Box::new(element)), Vec::new()))
        }
        "group" => {
            problems.add(type_name.at, "a group may not hold another group");
            None
        }
        unknown => {
            problems.add(type_name.at, format!("unknown type `{unknown}`; the types are {TYPES}"));
            None
        }
    }
}

fn simple_kind(name: &str) -> Option<FieldKind> {
    Some(match name {
        "string" => FieldKind::String,
        "email" => FieldKind::Email,
        "phone" => FieldKind::Phone,
        "url" => FieldKind::Url,
        "int" => FieldKind::Int,
        "float" => FieldKind::Float,
        "bool" => FieldKind::Bool,
        "timestamp" => FieldKind::Timestamp,
        "date" => FieldKind::Date,
        "money" => FieldKind::Money,
        "counter" => FieldKind::Counter,
        "text" => FieldKind::Text,
        _ => return None,
    })
}

fn read_targets<'t>(
    reader: &mut TableReader<'t>,
    problems: &mut Problems<'_>,
) -> Vec<Placed<String>> {
    let at = reader.at;
    let targets = match reader.take("to") {
        Some(Placed { at, value: DeValue::String(name) }) => {
            vec![Placed { at, value: name.to_string() }]
        }
        Some(Placed { value: DeValue::Array(names), .. }) => {
            owned(distinct_strings(items_of(names), "`to`", problems))
        }
        Some(Placed { .. }) | None => Vec::new(),
    };
    if targets.is_empty() {
        problems.add(at, "a ref needs `to`: the name of an entity or a list of them");
    }
    targets
}

fn read_element(reader: &mut TableReader<'_>, problems: &mut Problems<'_>) -> Option<FieldKind> {
    let at = reader.at;
    let of = reader.string("of", problems);
    match of.as_ref().map(|of| of.value) {
        Some("enum") => Some(FieldKind::Enum(ranges::read_picklist(reader, problems))),
        name => {
            let element = name.and_then(simple_kind).filter(FieldKind::is_string_like);
            if element.is_none() {
                let at = of.map_or(at, |of| of.at);
                problems.add(at, "a set needs `of`: string, email, phone, url or enum");
            }
            element
        }
    }
}

fn read_merge(
    kind: &FieldKind,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> MergeRule {
    if !kind.is_replaced() {
        if let Some(merge) = reader.take("merge") {
            let name = kind.name();
            problems
                .add(merge.at, format!("a {name} field merges by itself and takes no merge rule"));
        }
        return MergeRule::Latest;
    }
    let Some(Placed { at, value }) = reader.take("merge") else { return MergeRule::Latest };
    if let DeValue::Table(table) = value {
        let mut rule = TableReader::new("`merge`", at, table);
        let ranked = rule.array("ranked", problems).unwrap_or_default();
        rule.finish(problems);
        return read_ranking(kind, Placed { at, value: ranked }, problems);
    }
    let rule = match value.as_str() {
        Some("latest") => return MergeRule::Latest,
        Some("ask") => return MergeRule::Ask,
        Some("max") => MergeRule::Max,
        Some("min") => MergeRule::Min,
        _ => {
            problems.add(at, "`merge` must be latest, max, min, ask or { ranked = [..] }");
            return MergeRule::Latest;
        }
    };
    if !kind.is_ordered() {
        problems.add(at, format!("a {} field has no greatest or least value", kind.name()));
    }
    rule
}

fn read_ranking(
    kind: &FieldKind,
    ranked: Placed<Items<'_>>,
    problems: &mut Problems<'_>,
) -> MergeRule {
    if ranked.value.is_empty() {
        problems.add(ranked.at, "`merge` needs `ranked`: a list of values, the winner first");
    }
    let mut ranks = Vec::new();
    for Placed { at, value } in ranked.value {
        let rank = match (kind, value) {
            (FieldKind::Bool, DeValue::Boolean(truth)) => Value::Bool(*truth),
            (FieldKind::Enum(allowed), DeValue::String(text))
                if allowed.iter().any(|value| value == text) =>
            {
                Value::Str(text.to_string())
            }
            (FieldKind::Enum(_), _) => {
                problems.add(at, "`ranked` may only list values of the picklist");
                continue;
            }
            (FieldKind::Bool, _) => {
                problems.add(at, "`ranked` of a bool field may only list true and false");
                continue;
            }
            (kind, _) => {
                problems.add(ranked.at, format!("a {} field cannot be ranked", kind.name()));
                break;
            }
        };
        if ranks.contains(&rank) {
            problems.add(at, "`ranked` lists a value twice");
        }
        ranks.push(rank);
    }
    MergeRule::Ranked(ranks)
}

fn read_label(reader: &mut TableReader<'_>, fallback: &str, problems: &mut Problems<'_>) -> String {
    let Some(label) = reader.string("label", problems) else { return fallback.to_owned() };
    ranges::check_label(&label, problems);
    label.value.to_owned()
}

fn read_section(
    reader: &mut TableReader<'_>,
    fallback: &Section,
    problems: &mut Problems<'_>,
) -> Section {
    let Some(name) = reader.string("section", problems) else { return fallback.clone() };
    name.value.parse().unwrap_or_else(|_| {
        problems.add(name.at, format!("section name {:?} {NAME_RULE}", name.value));
        fallback.clone()
    })
}

/// Tells an entry that belongs to another type from one that no type has.
fn finish(mut reader: TableReader<'_>, type_name: &str, problems: &mut Problems<'_>) {
    for key in TYPE_KEYS {
        if let Some(entry) = reader.take(key) {
            problems.add(entry.at, format!("`{key}` does not apply to a {type_name} field"));
        }
    }
    reader.finish(problems);
}

fn owned(strings: Vec<Placed<&str>>) -> Vec<Placed<String>> {
    strings.into_iter().map(|s| Placed { at: s.at, value: s.value.to_owned() }).collect()
}

/// `close_date` → `Close date`.
pub(crate) fn words_of(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// How every name in a schema or a policy is spelt.
pub(crate) const NAME_RULE: &str =
    "must be a lower case letter, then up to 63 lower case letters, digits and `_`";

const TYPES: &str = "string, email, phone, url, enum, int, float, bool, timestamp, date, money, ref, set, \
                     counter, text and group";

/// Keys that belong to some types only.
const TYPE_KEYS: [&str; 11] = [
    "aliases",
    "required",
    "merge",
    "pattern",
    "min",
    "max",
    "max_chars",
    "values",
    "to",
    "of",
    "parts",
];
