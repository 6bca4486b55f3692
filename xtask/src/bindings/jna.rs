//! The one change made to the generated Kotlin: calls take their status object from a pool. The
//! generated code allocates a new one for each call, which costs more than the call.

use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Workspace;

/// The generated code.
const FRESH: &str = "    var status = UniffiRustCallStatus()
    val return_value = callback(status)
    uniffiCheckCallStatus(errorHandler, status)
    return return_value
";
/// The replacement. A status returns to the pool only after a successful call.
const USED: &str = "    val status = CallStatuses.take()
    val return_value = callback(status)
    uniffiCheckCallStatus(errorHandler, status)
    CallStatuses.giveBack(status)
    return return_value
";

/// Patches the generated file.
///
/// # Errors
/// The file differs from the output of the supported generator version.
pub(super) fn reuse_statuses(sh: &Workspace, path: &Path) -> Result<()> {
    let changed = reusing(&sh.read_file(path)?).with_context(|| {
        format!(
            "{}: the generated calls differ from those xtask/src/bindings/jna.rs patches; check whether the patch is still needed",
            path.display()
        )
    })?;
    Ok(sh.write_file(path, changed)?)
}

fn reusing(text: &str) -> Option<String> {
    (text.matches(FRESH).count() == 1).then(|| text.replace(FRESH, USED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_generated_otherwise_is_not_changed_in_silence() {
        let text = format!("fun call() {{\n{FRESH}}}\n");
        assert_eq!(
            reusing(&text).unwrap(),
            format!("fun call() {{\n{USED}}}\n")
        );
        assert_eq!(reusing("fun call() {}\n"), None);
        assert_eq!(reusing(&format!("{text}{text}")), None);
    }
}
