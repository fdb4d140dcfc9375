//! A CSV file as rows with line numbers: exact header, right number of columns, strict quotes.

use super::input::{InputError, Problem};
use super::quoting;
use super::report::clip;

/// The columns of one file, in their order.
pub(super) type Header = &'static [&'static str];

/// One row below the header.
pub(super) struct Row {
    /// The line on which it begins.
    pub(super) line: u64,
    header: Header,
    cells: csv::StringRecord,
}

impl Row {
    /// The cell under `column`, without the spaces around it; empty when there is nothing.
    pub(super) fn cell(&self, column: &'static str) -> &str {
        let index = self.header.iter().position(|name| *name == column);
        index.and_then(|index| self.cells.get(index)).expect("columns are named in the header")
    }

    /// Each column with its cell.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.header.iter().copied().zip(self.cells.iter())
    }
}

/// All rows of `text`, or the first reason why it is not the table that `header` describes. A byte
/// order mark, CRLF line ends and empty lines are no reason.
pub(super) fn parse(file: &str, text: &str, header: Header) -> Result<Vec<Row>, InputError> {
    parse_rows(text.strip_prefix('\u{feff}').unwrap_or(text), header)
        .map_err(|problem| problem.in_file(file))
}

fn parse_rows(text: &str, header: Header) -> Result<Vec<Row>, Problem> {
    quoting::check(text)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut lines = Lines { text: text.as_bytes(), byte: 0, line: 1 };
    let mut rows = Vec::new();
    let mut header_seen = false;
    for record in reader.records() {
        let cells = record
            .map_err(|error| Problem::new(lines.line, "a row of a CSV table", error.to_string()))?;
        let line = lines.of_record_at(cells.position().map_or(0, csv::Position::byte));
        if !header_seen {
            header_seen = true;
            check_header(&cells, header, line)?;
            continue;
        }
        if cells.len() != header.len() {
            let expected = format!("{} columns", header.len());
            return Err(Problem::new(line, expected, cells.len().to_string()));
        }
        rows.push(Row { line, header, cells });
    }
    if header_seen {
        Ok(rows)
    } else {
        Err(Problem::new(1, format!("the header {}", header.join(",")), "an empty file"))
    }
}

fn check_header(cells: &csv::StringRecord, header: Header, line: u64) -> Result<(), Problem> {
    if cells.iter().eq(header.iter().copied()) {
        return Ok(());
    }
    let found = cells.iter().collect::<Vec<_>>().join(",");
    Err(Problem::new(line, format!("the header {}", header.join(",")), clip(&found)))
}

/// Counts line ends up to a byte position. The reader's own line numbers are one behind after CRLF
/// and empty lines, since it takes a record's position before it skips what separates it.
struct Lines<'a> {
    text: &'a [u8],
    byte: usize,
    line: u64,
}

impl Lines<'_> {
    fn of_record_at(&mut self, byte: u64) -> u64 {
        let separator = |b: u8| b == b'\r' || b == b'\n';
        let mut end = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        while self.text.get(end).copied().is_some_and(separator) {
            end += 1;
        }
        while self.byte < end {
            let (now, next) = (self.text[self.byte], self.text.get(self.byte + 1));
            if now == b'\n' || (now == b'\r' && next != Some(&b'\n')) {
                self.line += 1;
            }
            self.byte += 1;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = &["name", "size"];

    fn lines_of(text: &str) -> Vec<u64> {
        parse("f.csv", text, HEADER).unwrap().iter().map(|row| row.line).collect()
    }

    #[test]
    fn rows_know_their_line_whatever_ends_the_lines() {
        assert_eq!(lines_of("name,size\na,1\nb,2"), [2, 3]);
        assert_eq!(lines_of("name,size\r\na,1\r\n\r\nb,2\r\n"), [2, 4]);
        assert_eq!(lines_of("\u{feff}name,size\n\n\"two\nlines\",1\nb,2\n"), [3, 5]);
    }

    #[test]
    fn a_table_of_another_shape_is_refused_with_what_was_expected() {
        let error = |text| parse("f.csv", text, HEADER).err().map(|e| e.to_string()).unwrap();
        assert_eq!(error(""), "f.csv, line 1: expected the header name,size, found an empty file");
        assert_eq!(
            error("name;size\na;1\n"),
            "f.csv, line 1: expected the header name,size, found \"name;size\""
        );
        assert_eq!(error("name,size\na,1\nb\n"), "f.csv, line 3: expected 2 columns, found 1");
        assert_eq!(error("name,size\na,1,x\n"), "f.csv, line 2: expected 2 columns, found 3");
    }
}
