//! The size that the library adds to an app.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

use crate::{
    Bench, Outcome,
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Bytes, on Linux x86-64.
const MOST: f64 = 8.0 * 1024.0 * 1024.0;

pub(crate) fn measure(_: &Bench) -> Outcome<Measured> {
    let program = std::env::current_exe()?;
    let library = program.with_file_name(format!("{DLL_PREFIX}bowline_ffi{DLL_SUFFIX}"));
    let file = std::fs::metadata(&library).map_err(|error| {
        format!(
            "{}: {error}; `cargo xtask bench` builds it",
            library.display()
        )
    })?;
    let mut size = Samples::default();
    #[expect(clippy::cast_precision_loss, reason = "a file of some megabytes")]
    size.one(file.len() as f64);
    Measured::by("the file of the release build, without symbols".to_owned()).goal(
        "native library",
        Unit::Bytes,
        &size,
        Target::AtMost(MOST),
    )
}
