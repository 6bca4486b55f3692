//! The library seen from an app in another language. A program beside each binding measures; its
//! samples are summarised and judged here, by the same rules for all.
//!
//! A program writes one JSON object per line, `{"figure": "append_100", "samples_us": [1.5, …]}`.
//! Samples of compared figures are measured alternately and listed in that order.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::{
    Bench, Outcome,
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// One output line of a program.
#[derive(Deserialize)]
struct Line {
    figure: String,
    samples_us: Vec<f64>,
}

/// Summarises the samples of one language.
///
/// # Errors
/// The program has not run, or a figure is missing.
pub(crate) fn measure(bench: &Bench, language: &str) -> Outcome<Measured> {
    let Some(path) = lines(bench, language) else {
        return Err("no program of that language has run; `cargo xtask bench` runs it".into());
    };
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("what {language} measured, {}: {error}", path.display()))?;
    let measured = read(&text)?;
    let of = |figure: &str| {
        let samples = measured.get(figure);
        samples.ok_or_else(|| format!("the program of {language} did not measure `{figure}`"))
    };
    let (short, long) = (of("append_100")?, of("append_10000")?);
    let (few, many) = (of("row_100")?, of("row_100000")?);
    let (alone, slow) = (of("burst_alone")?, of("burst_slow")?);
    Measured::by(
        "by a separate program in that language with the release library. An item is appended to the list of a view and awaited there: \
         a sample is the mean of 200 in a row, alternating between the two lengths. So is a row that is changed in a table, from its JSON to the decoded value. An intent's call is the synchronous call alone; the \
         first snapshot is timed from before the creation of the runtime, with 20 hosts on disk. 100,000 changes of a host are published at \
         full rate, alternately without a listener and with one that takes 10 ms; then 100,000 within a second, and the time from the \
         last publication with an idle listener to its delivery"
            .to_owned(),
    )
    .goal("first snapshot from disk", Unit::Micros, of("first_snapshot")?, Target::AtMost(10_000.0))?
    .goal("an intent's call", Unit::Micros, of("intent_call")?, Target::AtMost(20.0))?
    .row("an item after 100", Unit::Micros, short)?
    .row("an item after 10,000", Unit::Micros, long)?
    .beside("an item after 10,000", "an item after 100", (long, short), Some(Target::AtMost(1.2)))?
    .row("a row of 100", Unit::Micros, few)?
    .row("a row of 100,000", Unit::Micros, many)?
    .beside("a row of 100,000", "a row of 100", (many, few), Some(Target::AtMost(1.2)))?
    .row("100,000 changes, nobody listening", Unit::Micros, alone)?
    .row("with a listener that takes 10 ms", Unit::Micros, slow)?
    .beside("100,000 changes, a listener that takes 10 ms", "nobody listening", (slow, alone), Some(Target::AtMost(1.2)))?
    .goal("the last one, once it is free", Unit::Micros, of("last_after_free")?, Target::AtMost(20_000.0))
}

/// Path of the lines written by a language's program.
pub(super) fn lines(bench: &Bench, language: &str) -> Option<PathBuf> {
    let folder = bench.bindings.as_deref()?;
    Some(folder.join(language).with_extension("jsonl"))
}

fn read(text: &str) -> Outcome<BTreeMap<String, Samples>> {
    let mut measured = BTreeMap::<_, Samples>::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)?;
        let samples = measured.entry(line.figure).or_default();
        for sample in line.samples_us {
            samples.one(sample);
        }
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_wrote_is_read_by_figure() {
        let measured = read(
            "{\"figure\":\"a\",\"samples_us\":[1,2]}\n\n{\"figure\":\"b\",\"samples_us\":[3.5]}\n",
        )
        .unwrap();
        assert_eq!(measured["a"].medians(), [1.0, 2.0]);
        assert_eq!(measured["b"].medians(), [3.5]);
        assert!(read("figures").is_err());
    }
}
