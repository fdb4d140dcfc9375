//! What is wrong with a schema or a policy, and where: every problem of a text, not the first one.

use std::fmt;

/// One thing that is wrong with a schema or a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaProblem {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong, as a lower-case fact.
    pub what: String,
}

impl fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Everything that is wrong with a schema or a policy, in the order of the lines. There is at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaProblems {
    /// The problems.
    pub problems: Vec<SchemaProblem>,
}

impl fmt::Display for SchemaProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SchemaProblems {}

/// Collects problems while a text is read; places are byte offsets, which become lines here.
pub(crate) struct Problems<'t> {
    file: &'t str,
    newlines: Vec<usize>,
    found: Vec<SchemaProblem>,
}

impl<'t> Problems<'t> {
    pub(crate) fn of(text: &str, file: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at);
        Self { file, newlines: newlines.collect(), found: Vec::new() }
    }

    /// The line, counted from one, that holds byte `at`.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.newlines.partition_point(|newline| *newline < at) + 1
    }

    /// Notes a problem at byte `at`.
    pub(crate) fn add(&mut self, at: usize, what: impl Into<String>) {
        self.add_line(self.line(at), what);
    }

    /// Notes a problem at a line that is already known.
    pub(crate) fn add_line(&mut self, line: usize, what: impl Into<String>) {
        self.found.push(SchemaProblem { file: self.file.to_owned(), line, what: what.into() });
    }

    /// What was noted, and a last problem at byte `at` that ends the reading.
    pub(crate) fn ended_by(mut self, at: usize, what: impl Into<String>) -> SchemaProblems {
        self.add(at, what);
        SchemaProblems { problems: self.found }
    }

    /// Good only when nothing was noted.
    pub(crate) fn finish(self) -> Result<(), SchemaProblems> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut problems = self.found;
        problems.sort_by_key(|problem| problem.line);
        Err(SchemaProblems { problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_in_the_order_of_lines_one_to_a_line() {
        let mut problems = Problems::of("a\nb\nc\n", "schema.toml");
        problems.add(4, "third");
        problems.add(0, "first");
        problems.add(3, "end of second");
        let text = problems.finish().unwrap_err().to_string();
        let wanted = "schema.toml:1: first\nschema.toml:2: end of second\nschema.toml:3: third";
        assert_eq!(text, wanted);
    }

    #[test]
    fn nothing_noted_is_good() {
        assert_eq!(Problems::of("", "f").finish(), Ok(()));
    }
}
