//! Tells the story on the terminal: short lines, a bar for long steps, a table at the end. Says nothing
//! when only JSON is wanted.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// Where the story goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A person reads along.
    Person,
    /// A program reads the one object at the end.
    Program,
}

/// Tells the story.
#[derive(Debug)]
pub struct Teller {
    audience: Audience,
    began: Instant,
}

const BAR: usize = 30;

impl Teller {
    /// Begins to tell.
    #[must_use]
    pub fn new(audience: Audience) -> Self {
        Self { audience, began: Instant::now() }
    }

    /// A heading.
    pub fn chapter(&self, text: &str) {
        self.line("");
        self.line(text);
    }

    /// One line. A closed terminal ends the telling, not the work.
    pub fn line(&self, text: &str) {
        if self.audience == Audience::Person {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// How far a long step has come; drawn only on a terminal.
    pub fn progress(&self, what: &str, done: usize, of: usize) {
        if self.audience == Audience::Program || !std::io::stderr().is_terminal() {
            return;
        }
        let filled = (done * BAR).checked_div(of).unwrap_or(BAR).min(BAR);
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(BAR - filled));
        let end = if done >= of { "\r\x1b[K" } else { "" };
        let mut out = std::io::stderr();
        let _ = write!(out, "\r  [{bar}] {what} {done}/{of}{end}").and_then(|()| out.flush());
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Rows under headings, each column as wide as its widest cell.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    lines.push(line(&mut rules.iter().map(String::as_str)));
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}
