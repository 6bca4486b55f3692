//! The command that agents run in tests, the same on every platform.
//!
//! | command | what it does |
//! |---|---|
//! | `append FILE PROMPT` | appends the prompt as one line to the file, as a countable effect |
//! | `stream MILLIS PROMPT` | prints the number of lines given by the prompt, one every `MILLIS` ms |
//! | `burst PROMPT` | prints that many lines at once, alternating between both outputs, for many items in little time. `stream` does the same for `burst N` |
//! | `print PROMPT` | prints that many bytes |
//! | `edit JSON` | runs a client that edits live tables under chaos ([`bowline_testkit::world::edits`]), and reports as JSON lines until it is killed |
//! | `work JSON` | runs a client under chaos ([`bowline_testkit::world::work`]) and reports its progress as JSON lines |

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use bowline_testkit::world::WorldError;
use serde::Serialize;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["append", file, prompt] => append(file, prompt),
        ["stream", millis, prompt] => match (
            millis.parse(),
            prompt.parse(),
            prompt.strip_prefix("burst "),
        ) {
            (Ok(millis), Ok(lines), _) => stream(Duration::from_millis(millis), lines),
            (_, _, Some(lines)) => burst(lines),
            _ => Err(io::Error::other("`stream` takes two numbers")),
        },
        ["print", bytes] => print(bytes),
        ["edit", json] => edit(json),
        ["work", json] => work(json),
        ["burst", prompt] => burst(prompt),
        _ => Err(io::Error::other(
            "what to do? `append`, `stream`, `burst`, `print`, `edit` or `work`",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            bowline_program::complain!("bowline-testkit-actor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(json: &str) -> io::Result<()> {
    let work = serde_json::from_str(json)?;
    run(bowline_testkit::world::work::work(work, told))
}

fn edit(json: &str) -> io::Result<()> {
    let edits = serde_json::from_str(json)?;
    run(bowline_testkit::world::edits::edit(edits, told))
}

fn run(work: impl Future<Output = Result<(), WorldError>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work).map_err(io::Error::other)
}

/// The work continues without a reader.
fn told(progress: impl Serialize) {
    let _ = serde_json::to_string(&progress)
        .map_err(io::Error::other)
        .and_then(|line| say(&line));
}

/// A single write, so that lines of several processes never mix.
fn append(file: &str, prompt: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{prompt}\n").as_bytes())?;
    say(&format!("wrote {prompt}"))
}

fn print(bytes: &str) -> io::Result<()> {
    let bytes = bytes.parse().map_err(io::Error::other)?;
    io::stdout().write_all("x".repeat(bytes).as_bytes())
}

fn stream(pause: Duration, lines: u64) -> io::Result<()> {
    for line in 1..=lines {
        say(&format!("line {line}"))?;
        thread::sleep(pause);
    }
    Ok(())
}

/// The pauses let the daemon see the order of the outputs.
fn burst(lines: &str) -> io::Result<()> {
    let lines: u64 = lines.parse().map_err(io::Error::other)?;
    for line in 1..=lines {
        if line % 2 == 0 {
            writeln!(io::stderr().lock(), "line {line}")?;
        } else {
            say(&format!("line {line}"))?;
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
