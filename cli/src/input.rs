//! Arguments that may stand on standard input instead: `-`.

use std::io::{self, Read};

use crate::failure::CliError;

/// Most bytes read from standard input; a daemon takes no longer message.
const MAX_BYTES: u64 = 1 << 20;

/// A prompt: the argument, or all of standard input if it is `-`. Not an empty one: nothing could come of it.
pub(crate) async fn prompt(value: String) -> Result<String, CliError> {
    let prompt = argument(value).await?;
    if prompt.trim().is_empty() {
        return Err(CliError::usage("usage", "the prompt is empty"));
    }
    Ok(prompt)
}

/// The argument, or all of standard input if it is `-`.
pub(crate) async fn argument(value: String) -> Result<String, CliError> {
    if value != "-" {
        return Ok(value);
    }
    // On a thread of its own, so that Ctrl-C works meanwhile.
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        let read = io::stdin().take(MAX_BYTES + 1).read_to_string(&mut text);
        read.map(|_| text)
    });
    let failed =
        |problem: String| CliError::failed("io", format!("cannot read standard input: {problem}"));
    let text = read
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        let problem = "it is longer than 1 MiB; a prompt has at most 64 KiB: put long text into a file and name that";
        return Err(failed(problem.to_owned()));
    }
    Ok(text)
}
