//! Columns as wide as what stands in them.

use unicode_width::UnicodeWidthStr;

use super::{Painted, Style, Terminal};

/// Columns between two others.
const GAP: &str = "  ";

/// What stands in one place of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: Painted,
    style: Style,
}

impl Cell {
    /// Text with a meaning.
    pub fn new(style: Style, text: impl Into<Painted>) -> Self {
        Self { text: text.into(), style }
    }

    fn width(&self) -> usize {
        self.text.as_str().width()
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Style::Plain, text.as_ref())
    }
}

/// A table with a head.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table of these columns, and no row yet.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| Cell::new(Style::Strong, *name)).collect()] }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        self.rows.push(row.into_iter().collect());
    }

    /// The text of all of it, without an end of line after the last.
    pub fn render(&self, terminal: &Terminal) -> Painted {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let rows = self.rows.iter().map(|row| {
            let mut line = Painted::default();
            let mut pending = 0;
            for (cell, width) in row.iter().zip(&widths) {
                // What is empty to the right of a line leaves no blanks there.
                if cell.width() > 0 {
                    line.push(" ".repeat(pending));
                    line.push(terminal.paint(cell.style, cell.text.clone()));
                    pending = 0;
                }
                pending += width - cell.width() + GAP.len();
            }
            line
        });
        Painted::lines(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_seen_of_their_text() {
        let mut table = Table::new(&["NAME", "STATE", "WHY"]);
        table.push(["blåbær".into(), Cell::new(Style::Bad, "down"), "refused".into()]);
        table.push(["漢字".into(), "up".into(), "".into()]);
        table.push(["".into(), "\u{1b}[2J".into(), "x".into()]);
        let plain = Terminal::new(Box::new(std::io::sink()), false, false);
        let wanted = "NAME    STATE      WHY\nblåbær  down       refused\n漢字    up\n        \\u{1b}[2J  x";
        assert_eq!(table.render(&plain).as_str(), wanted);
        let coloured = Terminal::new(Box::new(std::io::sink()), true, true);
        let shown = table.render(&coloured);
        let shown = shown.as_str();
        assert!(shown.contains("blåbær  \u{1b}[31mdown\u{1b}[0m       refused\n"), "{shown:?}");
    }
}
