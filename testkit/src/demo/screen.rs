//! Terminal output of the demo: steps, events, and tables.

use std::{io::IsTerminal, time::Instant};

use bowline_program::table::{Cell, table};

/// Prints the story as it runs. Colours only on a terminal.
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

    /// A new step.
    pub(super) fn step(&self, text: &str) {
        if !self.quiet {
            bowline_program::say!();
        }
        self.line(&self.paint("1;36", "▶"), &self.paint("1", text));
    }

    /// An event.
    pub(super) fn note(&self, text: &str) {
        self.line(" ", text);
    }

    /// A deliberate fault.
    pub(super) fn harm(&self, text: &str) {
        self.line(&self.paint("1;31", "✂"), text);
    }

    /// A fulfilled expectation.
    pub(super) fn good(&self, text: &str) {
        self.line(&self.paint("1;32", "✓"), text);
    }

    /// The connection state reported by the client.
    pub(super) fn state(&self, text: &str) {
        self.line(&self.paint("33", "◆"), &self.paint("2", text));
    }

    /// Output of the command.
    pub(super) fn output(&self, text: &str) {
        self.line(&self.paint("2", "│"), &self.paint("2", text));
    }

    /// A table below an empty line.
    pub(super) fn table(&self, head: &[&str], rows: &[Vec<Cell>]) {
        if !self.quiet {
            bowline_program::say!("\n{}", table(head, rows, self.colour));
        }
    }
}
