//! Opens and migrates the database file. A damaged file is never replaced.

use std::{path::Path, time::Duration};

use bowline_protocol::ServerId;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{StoreError, facts, moves};

/// "BwLn": the application id of the file.
const APPLICATION_ID: i64 = 0x4277_4c6e;

/// One script per version; a new version adds one and changes none.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001.sql"),
    include_str!("migrations/002.sql"),
    include_str!("migrations/003.sql"),
    include_str!("migrations/004.sql"),
    include_str!("migrations/005.sql"),
    include_str!("migrations/006.sql"),
    include_str!("migrations/007.sql"),
    include_str!("migrations/008.sql"),
    include_str!("migrations/009.sql"),
    include_str!("migrations/010.sql"),
    include_str!("migrations/011.sql"),
    include_str!("migrations/012.sql"),
    include_str!("migrations/013.sql"),
];

/// The version whose content is moved, in steps, before the next script drops the old tables.
const MOVED_AGENTS: usize = 12;

/// Size up to which the whole file is checked at every start.
const CHECKED_BYTES: u64 = 64 << 20;

/// Name of the file in the state directory.
pub(crate) const FILE: &str = "bowline.db";

/// Opens this daemon's database and migrates it to the newest version. `max_pages` limits its size.
/// Writes nothing before the file is known to be sound, supported and this daemon's.
pub(crate) fn open(
    path: &Path,
    server_id: &ServerId,
    max_pages: Option<u32>,
) -> Result<Connection, StoreError> {
    let said = |error: rusqlite::Error| classify(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
    refuse_what_is_no_file(path)?;
    let mut conn = Connection::open_with_flags(path, flags).map_err(said)?;
    // A write-ahead log of another database must not be copied into a database that is then
    // refused.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(said)?;
    conn.busy_timeout(Duration::from_secs(5)).map_err(said)?;
    identify(&conn, path)?;
    if size > 0 && size <= CHECKED_BYTES {
        let verdict: String = conn
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(said)?;
        if verdict != "ok" {
            return Err(corrupt(path, verdict));
        }
    }
    refuse_newer(&conn, path)?;
    refuse_another_daemons(&conn, path, server_id)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(said)?;
    if conn.is_readonly(rusqlite::MAIN_DB).map_err(said)? {
        return Err(StoreError::Unavailable {
            path: path.to_owned(),
            detail: "it is not writable".to_owned(),
        });
    }
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .map_err(said)?;
    conn.set_prepared_statement_cache_capacity(96);
    migrate(&mut conn, path)?;
    if let Some(pages) = max_pages {
        limit_pages(&conn, pages).map_err(said)?;
    }
    Ok(conn)
}

/// Limits the size of the file; one that is larger already does not grow.
pub(crate) fn limit_pages(conn: &Connection, pages: u32) -> rusqlite::Result<()> {
    conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// Pages of the file, unused ones included.
pub(crate) fn pages(conn: &Connection) -> rusqlite::Result<u32> {
    let pages = pragma(conn, "page_count")?;
    Ok(u32::try_from(pages).unwrap_or(u32::MAX))
}

/// Pages of the file that hold nothing.
pub(crate) fn free_pages(conn: &Connection) -> rusqlite::Result<u32> {
    let pages = pragma(conn, "freelist_count")?;
    Ok(u32::try_from(pages).unwrap_or(u32::MAX))
}

/// Moves everything to the main file, so that a copy of that file alone is complete.
pub(crate) fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Refuses another daemon's database before any write.
fn identify(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let said = |error: rusqlite::Error| classify(path, &error);
    let id: i64 = pragma(conn, "application_id").map_err(said)?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(said)?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        Ok(())
    } else {
        Err(corrupt(path, "it is another program's database".to_owned()))
    }
}

/// A folder, or a dangling link: its disk may not be mounted.
fn refuse_what_is_no_file(path: &Path) -> Result<(), StoreError> {
    let unavailable = |detail: &str| StoreError::Unavailable {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(unavailable("it is a folder")),
        Ok(_) => Ok(()),
        Err(_) if path.is_symlink() => Err(unavailable("it is a dangling link")),
        Err(_) => Ok(()),
    }
}

fn refuse_newer(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = pragma(conn, "user_version").map_err(|error| classify(path, &error))?;
    if found > known {
        return Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

/// A database from before version 4 does not name its daemon; the first daemon that opens it takes
/// it.
fn refuse_another_daemons(
    conn: &Connection,
    path: &Path,
    server_id: &ServerId,
) -> Result<(), StoreError> {
    let said = |error: rusqlite::Error| classify(path, &error);
    let named = conn.table_exists(None, "facts").map_err(said)?;
    let found = if named {
        facts::get(conn, facts::SERVER_ID).map_err(said)?
    } else {
        None
    };
    match found {
        Some(found) if found != server_id.as_str() => Err(StoreError::Foreign {
            path: path.to_owned(),
            found,
            expected: server_id.clone(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let said = |error: rusqlite::Error| classify(path, &error);
    let found: i64 = pragma(conn, "user_version").map_err(said)?;
    let done = usize::try_from(found)
        .map_err(|_| corrupt(path, format!("its version number {found} is invalid")))?;
    for (n, script) in MIGRATIONS.iter().enumerate().skip(done) {
        let version = n + 1;
        if n == MOVED_AGENTS {
            moves::agents(conn).map_err(said)?;
        }
        let tx = conn.transaction().map_err(said)?;
        tx.execute_batch(script).map_err(said)?;
        tx.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
        ))
        .map_err(said)?;
        tx.commit().map_err(said)?;
    }
    Ok(())
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

fn corrupt(path: &Path, detail: String) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        detail,
    }
}

/// Maps a store failure at opening to its error.
pub(crate) fn classify(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            corrupt(path, error.to_string())
        }
        _ if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) => {
            corrupt(path, error.to_string())
        }
        _ => StoreError::Unavailable {
            path: path.to_owned(),
            detail: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose() -> ServerId {
        ServerId::of_public_key(b"test")
    }

    #[test]
    fn a_new_store_is_made_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        drop(open(&path, &whose(), None).unwrap());
        let conn = open(&path, &whose(), None).unwrap();
        assert_eq!(
            pragma(&conn, "user_version").unwrap(),
            MIGRATIONS.len() as i64
        );
        assert_eq!(pragma(&conn, "synchronous").unwrap(), 2, "FULL");
        let mode: String = conn
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn inv_9_a_damaged_store_is_an_explicit_error_and_stays_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        let garbage = vec![0x5a_u8; 8_192];
        std::fs::write(&path, &garbage).unwrap();
        let error = open(&path, &whose(), None).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("bowline.db"), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }

    #[test]
    fn a_damaged_page_in_the_middle_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        let conn = open(&path, &whose(), None).unwrap();
        checkpoint(&conn).unwrap();
        drop(conn);
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > 3 * 4_096);
        bytes[2 * 4_096..3 * 4_096].fill(0xff);
        std::fs::write(&path, &bytes).unwrap();
        let error = open(&path, &whose(), None).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn another_programs_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE theirs (a)")
            .unwrap();
        let error = open(&path, &whose(), None).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn a_newer_format_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        let conn = open(&path, &whose(), None).unwrap();
        conn.execute_batch("PRAGMA user_version = 99").unwrap();
        drop(conn);
        let error = open(&path, &whose(), None).unwrap_err();
        assert!(
            matches!(error, StoreError::TooNew { found: 99, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_missing_directory_is_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(&dir.path().join("none/bowline.db"), &whose(), None).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }

    #[test]
    fn a_store_of_the_first_version_is_brought_up_and_keeps_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bowline.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;
             INSERT INTO subscriptions VALUES (1, 'agt_1');"
        ))
        .unwrap();
        drop(old);
        let conn = open(&path, &whose(), None).unwrap();
        assert_eq!(
            pragma(&conn, "user_version").unwrap(),
            MIGRATIONS.len() as i64
        );
        let kept: String = conn
            .query_row("SELECT agent FROM subscriptions", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, "agt_1");
        conn.execute_batch("INSERT INTO service_data VALUES ('s', 'k', x'00', 0, 0)")
            .unwrap();
    }

    /// A stored format is frozen: a change needs a migration and a new value here.
    #[test]
    fn the_versions_of_the_schema_are_frozen() {
        let figures: Vec<String> = MIGRATIONS
            .iter()
            .map(|script| {
                let digest = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
                let hex = digest.as_ref()[..8].iter();
                hex.map(|b| format!("{b:02x}")).collect()
            })
            .collect();
        assert_eq!(
            figures,
            [
                "6f847f490791a6f1",
                "0701e792ad2a66b2",
                "ec531e8032d7ac8e",
                "52e18ca18fe1e624",
                "230400e1841e1c43",
                "07d815467b99aed9",
                "15d55b0d08abf60a",
                "6bb3c3ac9ad31471",
                "8ab8db5e0bd39f3b",
                "01b084306ff22d2a",
                "e379a2744401e756",
                "494361ee773968c7",
                "1f7e761610d1054e",
            ]
        );
    }
}
