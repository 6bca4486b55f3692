//! Tables for terminals: a header, columns aligned also for wide characters, optional colours.

use unicode_width::UnicodeWidthStr;

/// One cell: its text, which must be free of control characters, and its colour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    /// SGR sequence that switches the colour on; empty for none.
    paint: String,
}

impl Cell {
    /// A cell in the default colour.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            paint: String::new(),
        }
    }

    /// A cell in a colour; `paint` is the SGR sequence.
    pub fn painted(text: impl Into<String>, paint: impl ToString) -> Self {
        Self {
            text: text.into(),
            paint: paint.to_string(),
        }
    }

    fn render(&self, colours: bool) -> String {
        if colours && !self.paint.is_empty() {
            format!("{}{}\u{1b}[0m", self.paint, self.text)
        } else {
            self.text.clone()
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// Width of a text in terminal columns.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to `columns` columns, with `…` where text is missing.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if width(&cut) + 1 > columns {
            cut.pop();
            break;
        }
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// Rows below a header, two spaces between columns, no trailing spaces.
pub fn table(head: &[&str], rows: &[Vec<Cell>], colours: bool) -> String {
    let head: Vec<Cell> = head.iter().map(|name| Cell::new(*name)).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| width(&cell.text)).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in lines() {
        let filled = line.iter().rposition(|cell| !cell.text.is_empty());
        let filled = filled.map_or(0, |last| last + 1);
        for (column, (cell, wide)) in line.iter().zip(&widths).take(filled).enumerate() {
            out.push_str(&cell.render(colours));
            if column + 1 < filled {
                let gap = wide.saturating_sub(width(&cell.text)) + 2;
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_below_a_header_also_with_wide_characters() {
        let rows = [
            vec!["1".into(), "x".into(), Cell::default()],
            vec!["工房".into(), Cell::default(), Cell::default()],
            vec!["aé√".into(), "y".into(), "z".into()],
        ];
        assert_eq!(
            table(&["ID", "NAME", ""], &rows, false),
            "ID    NAME\n1     x\n工房\naé√   y     z\n"
        );
        assert_eq!(table(&["ID"], &[], false), "ID\n");
    }

    #[test]
    fn colours_do_not_count_as_columns() {
        let rows = [vec![Cell::painted("x", "\u{1b}[31m"), Cell::new("y")]];
        assert_eq!(
            table(&["A", "B"], &rows, true),
            "A  B\n\u{1b}[31mx\u{1b}[0m  y\n"
        );
        assert_eq!(table(&["A", "B"], &rows, false), "A  B\nx  y\n");
    }

    #[test]
    fn what_does_not_fit_is_cut_by_columns() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("too long", 5), "too …");
        assert_eq!(fit("工房の中", 5), "工房…");
        assert_eq!(fit("工房の中", 4), "工…");
        assert_eq!((fit("ab", 1).as_str(), fit("ab", 0).as_str()), ("…", ""));
    }
}
