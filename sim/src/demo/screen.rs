//! The live account on the terminal: steps, what happens, and the table at the end.

use std::{io::IsTerminal, time::Instant};

/// Writes the story as it happens. Colour only on a terminal.
pub(super) struct Screen {
    began: Instant,
    colour: bool,
    quiet: bool,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            began: Instant::now(),
            colour,
            quiet,
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn line(&self, mark: &str, text: &str) {
        if !self.quiet {
            let time = format!("{:7.2}s", self.began.elapsed().as_secs_f64());
            bowline_program::say!("{} {mark} {text}", self.paint("2", &time));
        }
    }

    /// A new part of the story.
    pub(super) fn step(&self, text: &str) {
        if !self.quiet {
            bowline_program::say!();
        }
        self.line(&self.paint("1;36", "▶"), &self.paint("1", text));
    }

    /// Something happened.
    pub(super) fn note(&self, text: &str) {
        self.line(" ", text);
    }

    /// Something was broken on purpose.
    pub(super) fn harm(&self, text: &str) {
        self.line(&self.paint("1;31", "✂"), text);
    }

    /// Something held.
    pub(super) fn good(&self, text: &str) {
        self.line(&self.paint("1;32", "✓"), text);
    }

    /// The connection's state, as the client tells it.
    pub(super) fn state(&self, text: &str) {
        self.line(&self.paint("33", "◆"), &self.paint("2", text));
    }

    /// What the command printed.
    pub(super) fn output(&self, text: &str) {
        self.line(&self.paint("2", "│"), &self.paint("2", text));
    }

    /// The table at the end.
    pub(super) fn table(&self, rows: &[(&str, String)]) {
        if self.quiet {
            return;
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        bowline_program::say!();
        for (name, value) in rows {
            bowline_program::say!("  {name:<width$}  {}", self.paint("1", value));
        }
        bowline_program::say!();
    }

    /// A table with a head, its cells under each other; the last column is of numbers.
    pub(super) fn grid<const N: usize>(&self, head: &[String; N], rows: &[[String; N]]) {
        if self.quiet {
            return;
        }
        let mut widths = [0; N];
        for row in std::iter::once(head).chain(rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        bowline_program::say!();
        for (n, row) in std::iter::once(head).chain(rows).enumerate() {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                line += &if at + 1 == N {
                    format!("  {pad}{cell}")
                } else {
                    format!("  {cell}{pad}")
                };
            }
            bowline_program::say!(
                "{}",
                self.paint(if n == 0 { "2" } else { "0" }, line.trim_end())
            );
        }
    }
}
