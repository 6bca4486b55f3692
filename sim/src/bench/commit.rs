//! The disk by itself: what a commit costs without us.

use std::{fs::File, io::Write, path::Path, time::Instant};

use rusqlite::Connection;

use super::{Outcome, stats};

/// A database with the daemon's own settings (WAL, synchronous FULL) and one table.
pub(super) struct BareStore {
    conn: Connection,
    row: Vec<u8>,
}

impl BareStore {
    /// In that folder, with rows of that many bytes.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn create(dir: &Path, row: usize) -> Outcome<Self> {
        let conn = Connection::open(dir.join("bare.db"))?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE bare (id INTEGER PRIMARY KEY, row BLOB NOT NULL);",
        )?;
        Ok(Self {
            conn,
            row: vec![7; row],
        })
    }

    /// Commits one row, so many times; each in microseconds.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn commits(&self, count: usize) -> Outcome<Vec<f64>> {
        let mut insert = self.conn.prepare("INSERT INTO bare (row) VALUES (?1)")?;
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            insert.execute([&self.row])?;
            samples.push(stats::micros_since(start));
        }
        Ok(samples)
    }
}

/// A file that is appended to and synchronised.
pub(super) struct BareFile {
    file: File,
    row: Vec<u8>,
}

impl BareFile {
    /// In that folder, with appends of that many bytes.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn create(dir: &Path, row: usize) -> Outcome<Self> {
        Ok(Self {
            file: File::create(dir.join("bare.log"))?,
            row: vec![7; row],
        })
    }

    /// Appends and synchronises, so many times; each in microseconds.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn appends(&mut self, count: usize) -> Outcome<Vec<f64>> {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.file.write_all(&self.row)?;
            self.file.sync_data()?;
            samples.push(stats::micros_since(start));
        }
        Ok(samples)
    }
}
