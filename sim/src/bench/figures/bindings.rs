//! The library as an app of another language sees it. Each language measures itself, by a program beside its bindings; what
//! it writes is summed up and judged here, by the same rules for all.
//!
//! A program writes one JSON object a line, `{"figure": "append_100", "samples_us": [1.5, …]}`. Samples of figures
//! that are compared stand in the order in which they were measured in turns.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use super::super::{
    Bench, Outcome,
    report::{Measured, Target, Unit},
    stats::{Samples, ratios},
};

/// One line of a program.
#[derive(Deserialize)]
struct Line {
    figure: String,
    samples_us: Vec<f64>,
}

/// Sums up what the program of that language wrote.
///
/// # Errors
/// When it has not run, or did not measure everything.
pub(in super::super) fn measure(bench: &Bench, language: &str) -> Outcome<Measured> {
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
    let (alone, slow) = (of("burst_alone")?, of("burst_slow")?);
    Measured::by(
        "by a program in that language on the release library, which runs on its own. An item is appended and waited for in the list that a view \
         holds: a sample is the mean of 200 in a row, the two lengths in turns. An intent's call is the synchronous call alone; first snapshot: from \
         before the runtime is made, with 20 hosts on disk. 100,000 changes of a host are published as fast as it goes, in turns with nobody \
         listening and with a listener that takes 10 ms; then 100,000 in a second, and the time from when that listener is free, and the last of \
         them is published, until it has it"
            .to_owned(),
    )
    .goal("first snapshot from disk", Unit::Micros, of("first_snapshot")?, Target::AtMost(10_000.0))?
    .goal("an intent's call", Unit::Micros, of("intent_call")?, Target::AtMost(20.0))?
    .row("an item after 100", Unit::Micros, short)?
    .row("an item after 10,000", Unit::Micros, long)?
    .goal("of that after 100", Unit::Ratio, &ratios(long, short), Target::AtMost(1.2))?
    .row("100,000 changes, nobody listening", Unit::Micros, alone)?
    .row("with a listener that takes 10 ms", Unit::Micros, slow)?
    .goal("of that with nobody", Unit::Ratio, &ratios(slow, alone), Target::AtMost(1.2))?
    .goal("the last one, once it is free", Unit::Micros, of("last_after_free")?, Target::AtMost(20_000.0))
}

/// Where the lines of a language's program are.
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
