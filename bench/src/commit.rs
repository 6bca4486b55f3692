//! The bare disk: the cost of a commit without the daemon.

use std::{fs::File, io::Write, path::Path};

use rusqlite::Connection;

use super::{Outcome, stats::timed};

/// A database with the daemon's own settings (WAL, synchronous FULL) and one table.
pub(super) struct BareStore {
    conn: Connection,
    row: Vec<u8>,
}

impl BareStore {
    /// Creates the database in a folder, with rows of `row` bytes.
    ///
    /// # Errors
    /// The disk refuses the write.
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

    /// Commits `count` rows one by one. Returns the time of each in microseconds.
    ///
    /// # Errors
    /// The disk refuses the write.
    pub(super) fn commits(&self, count: usize) -> Outcome<Vec<f64>> {
        let mut insert = self.conn.prepare("INSERT INTO bare (row) VALUES (?1)")?;
        Ok(timed!(count, insert.execute([&self.row])?))
    }
}

/// A file with synchronised appends.
pub(super) struct BareFile {
    file: File,
    row: Vec<u8>,
}

impl BareFile {
    /// Creates the file in a folder, with appends of `row` bytes.
    ///
    /// # Errors
    /// The disk refuses the write.
    pub(super) fn create(dir: &Path, row: usize) -> Outcome<Self> {
        Ok(Self {
            file: File::create(dir.join("bare.log"))?,
            row: vec![7; row],
        })
    }

    /// Appends and synchronises `count` times. Returns the time of each in microseconds.
    ///
    /// # Errors
    /// The disk refuses the write.
    pub(super) fn appends(&mut self, count: usize) -> Outcome<Vec<f64>> {
        Ok(timed!(count, {
            self.file.write_all(&self.row)?;
            self.file.sync_data()?;
        }))
    }
}
