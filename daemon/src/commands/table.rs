//! Plain tables for terminals.

/// Columns as wide as their widest cell, two spaces apart, no trailing space.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let head = head.get(column).map_or(0, |cell| cell.chars().count());
        cells
            .map(|cell| cell.chars().count())
            .fold(head, usize::max)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A span of milliseconds as people say it.
pub(super) fn span(millis: u64) -> String {
    match millis / 1_000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds @ 3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        seconds => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["1".to_owned(), "x".to_owned()],
            vec!["1000".to_owned(), String::new()],
        ];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID    NAME\n1     x\n1000\n");
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(
            [999, 61_000, 3_660_000, 90_000_000].map(span),
            ["0s", "1m1s", "1h1m", "1d1h"]
        );
    }
}
