//! Plain aligned tables for people.

/// Rows under headings; every column as wide as its widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with only its headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // A name is free text: a control character in it must not reach a terminal.
        let printable = |cell: String| cell.replace(char::is_control, " ");
        self.rows.push(cells.into_iter().map(printable).collect());
    }

    /// The lines, without a line break at the end; only the headings say that there is no row.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let gap = width - cell.chars().count();
                format!("{cell}{}", " ".repeat(gap))
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What stands for nothing in a cell.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_names_cannot_steer_a_terminal() {
        let mut table = Table::new(&["id", "name"]);
        table.row(["1".to_owned(), "Zoë\u{1b}[2J".to_owned()]);
        table.row(["1000".to_owned(), String::new()]);
        assert_eq!(table.text(), "id    name\n1     Zoë [2J\n1000");
    }
}
