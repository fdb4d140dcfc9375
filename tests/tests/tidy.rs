//! What a machine can check about the house style: lengths, leftovers, and who may know what.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the repository, with its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The part before the unit tests, which stand last in a file and may look where they want.
    fn before_tests(&self) -> &str {
        self.text.find("#[cfg(test)]\nmod ").map_or(&self.text, |end| &self.text[..end])
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

#[test]
fn files_and_functions_are_short_or_say_why_not() {
    let mut findings = Vec::new();
    for source in rust_sources() {
        let lines = source.text.lines().count();
        let head: String = source.text.lines().take(HEAD_LINES).collect();
        if lines > FILE_LINES_MAX && !head.contains(REASON) {
            findings.push(format!("{}: {lines} lines", source.path));
        }
        for function in functions_of(&source.text) {
            if function.lines > FUNCTION_LINES_MAX && !function.has_reason {
                let Function { name, first_line, lines, .. } = function;
                findings.push(format!("{}:{first_line}: fn {name}: {lines} lines", source.path));
            }
        }
    }
    report(&findings, "split it, or say `// Long because …` where it begins");
}

#[test]
fn every_rust_file_begins_with_its_one_job_and_none_is_called_mod() {
    let mut findings = Vec::new();
    for source in rust_sources() {
        if !source.text.starts_with("//! ") {
            findings.push(format!("{}:1", source.path));
        }
        if source.path.ends_with("/mod.rs") {
            findings.push(source.path);
        }
    }
    report(&findings, "begin with `//! ` and a sentence; use foo.rs beside foo/");
}

#[test]
fn nothing_unfinished_is_left() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let calls = [concat!("dbg", "!("), concat!("to", "do!("), concat!("unimplemented", "!(")];
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.path.ends_with(".md")) {
        for (number, line) in source.text.lines().enumerate() {
            let has_word = words.iter().any(|word| contains_word(line, word));
            let has_call = source.is_rust() && calls.iter().any(|call| line.contains(call));
            if has_word || has_call {
                findings.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report(&findings, "finish it, or open an issue");
}

#[test]
fn no_path_of_one_machine_is_named() {
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot"), concat!("/ho", "me/")];
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if paths.iter().any(|path| names_absolute_path(line, path)) {
                findings.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report(&findings, "the checkout is somewhere else on every other machine");
}

#[test]
fn the_crates_depend_in_one_direction() {
    let mut findings = Vec::new();
    for (krate, strangers) in [
        ("crdt-core", ["client-sdk", "sync-server"].as_slice()),
        ("client-sdk", &["sync-server", "examples", "tests"]),
        ("sync-server", &["client-sdk", "examples", "tests"]),
    ] {
        let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
        for stranger in strangers {
            let names =
                |line: &&str| line.starts_with(stranger) || line.contains(&format!(".{stranger}]"));
            findings.extend(manifest.lines().find(names).map(|line| format!("{krate}: {line}")));
        }
    }
    // What does I/O, tells the time or draws lots has no place in the pure middle.
    let core = fs::read_to_string(root().join("crdt-core/Cargo.toml")).unwrap();
    for impure in ["tokio", "rusqlite", "rand", "axum", "rustls"] {
        let normal = core.split("[dev-dependencies]").next().unwrap_or_default();
        if normal.lines().any(|line| line.starts_with(impure)) {
            findings.push(format!("crdt-core: {impure}"));
        }
    }
    report(&findings, "client-sdk and sync-server know crdt-core only, and crdt-core knows no I/O");
}

#[test]
fn sql_stands_in_store_folders_only() {
    let sides =
        |source: &Source| source.is_in("client-sdk/src/") || source.is_in("sync-server/src/");
    let in_store =
        |source: &Source| source.path.contains("/store/") || source.path.ends_with("/store.rs");
    let mut findings = Vec::new();
    for source in rust_sources().iter().filter(|source| sides(source) && !in_store(source)) {
        let masked = mask(source.before_tests());
        for (line, literal) in &masked.literals {
            let sql = literal.trim_start();
            if SQL_STARTS.iter().any(|start| sql.starts_with(start)) {
                findings.push(format!(
                    "{}:{line}: {}",
                    source.path,
                    sql.lines().next().unwrap_or("")
                ));
            }
        }
    }
    report(&findings, "move the statement under store/");
}

#[test]
fn only_the_record_module_knows_automerge() {
    let outside = |source: &Source| {
        let in_a_crate = ["crdt-core/src/", "client-sdk/src/", "sync-server/src/", "examples/"];
        in_a_crate.iter().any(|folder| source.is_in(folder))
            && !source.is_in("crdt-core/src/record/")
            && source.path != "crdt-core/src/record.rs"
    };
    let mut findings = Vec::new();
    for source in rust_sources().iter().filter(|source| outside(source)) {
        for (number, line) in mask(source.before_tests()).code.lines().enumerate() {
            if line.contains("automerge::") {
                findings.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report(&findings, "ask crdt_core::record for it");
}

#[test]
fn the_reader_of_rust_is_not_fooled_by_text_that_looks_like_code() {
    let long = "    x;\n".repeat(FUNCTION_LINES_MAX);
    let text = format!(
        "fn short() {{ let c = '{{'; let s = \"}} fn x() {{\"; /* {{ */ }}\n\
         fn r<'a>(a: &'a [u8; 2]) -> [&'a str; 1] {{ r#\"{{\"{{\"#; a }}\n\
         fn long() {{\n{long}}}\n// Long because it is a table.\nfn excused() {{\n{long}}}\n\
         trait T {{ fn no_body(&self); }}\ntype F = fn(u8) -> u8;\n"
    );
    let functions = functions_of(&text);
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["short", "r", "long", "excused"]);
    let lines: Vec<usize> = functions.iter().map(|function| function.lines).collect();
    assert_eq!(lines, [1, 1, FUNCTION_LINES_MAX + 2, FUNCTION_LINES_MAX + 2]);
    let excused: Vec<bool> = functions.iter().map(|function| function.has_reason).collect();
    assert_eq!(excused, [false, false, false, true]);
    let literals = mask("a(\"SELECT \\\" 1\", b'x', r\"y\", '\\'', \"z\")").literals;
    assert_eq!(
        literals.into_iter().map(|(_, text)| text).collect::<Vec<_>>(),
        ["SELECT \\\" 1", "y", "z"]
    );
}

fn report(findings: &[String], remedy: &str) {
    assert!(findings.is_empty(), "{remedy}:\n  {}", findings.join("\n  "));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_sources() -> Vec<Source> {
    sources().into_iter().filter(Source::is_rust).collect()
}

/// Every text file of the checkout, in the order of paths.
fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = BTreeSet::from([root.clone()]);
    while let Some(folder) = folders.pop_first() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !NOT_OURS.contains(&name.as_str()) {
                    folders.insert(path);
                }
            } else if name != "Cargo.lock" {
                // What is not UTF-8 is a fixture.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                let path = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(part_of_word)
            && !line[start + word.len()..].starts_with(part_of_word)
    })
}

/// Whether `path` stands in `line` as an absolute path, not as the middle of a longer one or of a URL.
fn names_absolute_path(line: &str, path: &str) -> bool {
    let before = |c: char| c.is_alphanumeric() || "._-~}$*".contains(c);
    let after = |c: char| !path.ends_with('/') && (c.is_alphanumeric() || "_-.".contains(c));
    line.match_indices(path).any(|(start, _)| {
        !line[..start].ends_with(before) && !line[start + path.len()..].starts_with(after)
    })
}

struct Function {
    name: String,
    first_line: usize,
    lines: usize,
    has_reason: bool,
}

/// The functions of a file with their lengths, from `fn` to the closing brace.
fn functions_of(text: &str) -> Vec<Function> {
    let code = mask(text).code;
    let mut functions = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let name: String =
            code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let whole_word = !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let Some(end) = end_of_body(&code[start..]).filter(|_| whole_word && !name.is_empty())
        else {
            continue;
        };
        let first_line = 1 + code[..start].matches('\n').count();
        let lines = 1 + code[start..start + end].matches('\n').count();
        // The reason stands above the function, among its attributes and docs, or in its body.
        let above = text.lines().take(first_line).collect::<Vec<_>>();
        let attached = |line: &&&str| {
            let line = line.trim_start();
            line.starts_with("//") || line.starts_with('#')
        };
        let head = above.iter().rev().skip(1).take_while(attached).copied();
        let body = text.lines().skip(first_line - 1).take(lines);
        let has_reason = head.chain(body).any(|line| line.contains(REASON));
        functions.push(Function { name, first_line, lines, has_reason });
    }
    functions
}

/// Where the body ends that follows a signature; nothing when there is none.
fn end_of_body(code: &str) -> Option<usize> {
    // A semicolon ends a signature without body, but not inside `[u8; 16]`.
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' if brackets == 0 => return None,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(at),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// Rust text without comments and literals, line by line as before; and the literals with their lines.
struct Masked {
    code: String,
    literals: Vec<(usize, String)>,
}

fn mask(text: &str) -> Masked {
    let mut masked = Masked { code: String::with_capacity(text.len()), literals: Vec::new() };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let in_word = masked.code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (length, literal) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), None)
        } else if c == '"' {
            quoted(rest)
        } else if c == 'r' && (!in_word || masked.code.ends_with('b')) && raw(rest).is_some() {
            raw(rest).expect("it was just found")
        } else if c == '\'' {
            (character(rest), None)
        } else {
            masked.code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        if let Some(literal) = literal {
            masked.literals.push((1 + masked.code.matches('\n').count(), literal));
        }
        let newlines = rest[..length].matches('\n').count();
        masked.code.push(' ');
        masked.code.push_str(&"\n".repeat(newlines));
        rest = &rest[length..];
    }
    masked
}

/// The length of a string literal with its quotes, and what is in it.
fn quoted(text: &str) -> (usize, Option<String>) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return (at + 1, Some(text[1..at].to_owned())),
            _ => {}
        }
    }
    (text.len(), None)
}

/// As `quoted`, for `r"…"` and `r#"…"#`; nothing when the `r` begins something else.
fn raw(text: &str) -> Option<(usize, Option<String>)> {
    let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).unwrap_or(body.len());
    let length = (2 + hashes + end + close.len()).min(text.len());
    Some((length, Some(body[..end].to_owned())))
}

/// The length of a character literal; one quote for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            text[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The words that excuse a length, followed by the reason.
const REASON: &str = "Long because ";

/// A file gives its reason within these lines.
const HEAD_LINES: usize = 20;

/// Folders that hold no source of ours.
const NOT_OURS: [&str; 4] = [".git", "target", "node_modules", "proptest-regressions"];

/// How a statement of SQL begins, as we write it.
const SQL_STARTS: [&str; 12] = [
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE FROM",
    "REPLACE INTO",
    "CREATE ",
    "ALTER TABLE",
    "DROP ",
    "PRAGMA ",
    "BEGIN",
    "SAVEPOINT",
    "WITH ",
];
