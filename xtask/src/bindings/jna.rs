//! The one change that we make to the generated Kotlin: calls take used memory for their outcome again. The generator makes
//! some with each call, which costs more than the call.

use std::{fs, path::Path};

use super::write;
use crate::process::Outcome;

/// As it is generated.
const FRESH: &str = "    var status = UniffiRustCallStatus()
    val return_value = callback(status)
    uniffiCheckCallStatus(errorHandler, status)
    return return_value
";
/// As we want it: a status is given back only if all went well.
const USED: &str = "    val status = dev.bowline.CallStatuses.take()
    val return_value = callback(status)
    uniffiCheckCallStatus(errorHandler, status)
    dev.bowline.CallStatuses.giveBack(status)
    return return_value
";

/// Changes the generated file.
///
/// # Errors
/// When it is not as this version of the generator makes it.
pub(super) fn reuse_statuses(path: &Path) -> Outcome {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let changed = reusing(&text).ok_or_else(|| {
        format!(
            "{}: calls are generated otherwise than xtask/src/bindings/jna.rs knows; look whether it is still needed",
            path.display()
        )
    })?;
    write(path, &changed)
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
