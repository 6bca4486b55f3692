//! Statements of the other modules here, prepared once each, and the stored form of typed values.

use std::{error::Error, str::FromStr};

use rusqlite::{
    Connection, OptionalExtension, Params, Result, Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};

/// Runs a statement without rows; returns the number of rows it changed.
pub(crate) fn change(conn: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    conn.prepare_cached(sql)?.execute(params)
}

/// Runs a statement without rows.
pub(crate) fn run(conn: &Connection, sql: &str, params: impl Params) -> Result<()> {
    change(conn, sql, params).map(|_| ())
}

/// The first row of a statement, if it has one.
pub(super) fn first<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    conn.prepare_cached(sql)?.query_row(params, read).optional()
}

/// Every row of a statement.
pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, read)?.collect()
}

/// The count that a statement selects.
pub(super) fn count(conn: &Connection, sql: &str, params: impl Params) -> Result<u64> {
    let count = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::cast_unsigned);
    conn.prepare_cached(sql)?.query_row(params, count)
}

/// A value stored as its JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0);
        text.map(Into::into)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Self)
            .map_err(invalid)
    }
}

/// A value stored as its text.
pub(super) struct Parsed<T>(pub(super) T);

impl<T: FromStr<Err: Error + Send + Sync + 'static>> FromSql for Parsed<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(invalid)
    }
}

fn invalid(error: impl Error + Send + Sync + 'static) -> FromSqlError {
    FromSqlError::other(error)
}
