//! Standard input: arguments given as `-`, and the answer to a question.

use std::io::{self, BufRead, Read};

use crate::failure::CliError;

/// Maximum bytes read from standard input; no daemon accepts a longer message.
const MAX_BYTES: u64 = 1 << 20;
/// Longest answer to a question in bytes.
const MAX_ANSWER: u64 = 64;

/// A prompt: the argument, or all of standard input for `-`. Empty prompts are an error.
pub(crate) async fn prompt(value: String) -> Result<String, CliError> {
    let prompt = argument(value).await?;
    if prompt.trim().is_empty() {
        return Err(CliError::usage("usage", "the prompt is empty"));
    }
    Ok(prompt)
}

/// The argument, or all of standard input for `-`.
pub(crate) async fn argument(value: String) -> Result<String, CliError> {
    if value != "-" {
        return Ok(value);
    }
    // On a separate thread, so that Ctrl-C keeps working.
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        let read = io::stdin().take(MAX_BYTES + 1).read_to_string(&mut text);
        read.map(|_| text)
    });
    let problem = match read.await.map_err(io::Error::from).flatten() {
        Ok(text) if text.len() as u64 <= MAX_BYTES => return Ok(text),
        Ok(_) => {
            "it is longer than 1 MiB; a prompt has at most 64 KiB: put long text into a file and refer to it".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(CliError::failed(
        "io",
        format!("cannot read standard input: {problem}"),
    ))
}

/// Whether the next line of standard input is `y` or `yes`. Everything else, its end included, is
/// no.
pub(crate) async fn is_confirmed() -> Result<bool, CliError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let stdin = io::stdin().lock();
        stdin.take(MAX_ANSWER).read_line(&mut line).map(|_| line)
    });
    let failed =
        |problem: String| CliError::failed("io", format!("cannot read the answer: {problem}"));
    let line = read
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    let answer = line.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}
