//! Extracts the programs of the guides in `docs/`, so that the published code is compiled and run.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::process::Workspace;

/// Writes the first code block of a language in a page to a file.
///
/// # Errors
/// The page or block is missing, or the file cannot be written.
pub(crate) fn extract(sh: &Workspace, page: &str, language: &str, to: &Path) -> Result<()> {
    let text = sh.read_file(page)?;
    let code =
        block(&text, language).with_context(|| format!("{page} has no block of {language}"))?;
    write(sh, to, &code)
}

/// Writes the code blocks that a page marks as a `fragment` of a language to one file, which begins
/// with `head`; `wrap` makes a function of each, from its number and code.
///
/// # Errors
/// The page is missing or has no fragment, or the file cannot be written.
pub(crate) fn extract_fragments(
    sh: &Workspace,
    page: &str,
    language: &str,
    head: &str,
    wrap: fn(usize, &str) -> String,
    to: &Path,
) -> Result<()> {
    let text = sh.read_file(page)?;
    let found = fragments(&text, language);
    ensure!(!found.is_empty(), "{page} has no fragment of {language}");
    let functions = found.iter().enumerate();
    let functions: Vec<_> = functions.map(|(n, code)| wrap(n, code)).collect();
    write(sh, to, &format!("{head}\n{}", functions.join("\n")))
}

/// An unchanged file keeps its time, so that nothing is recompiled.
fn write(sh: &Workspace, to: &Path, code: &str) -> Result<()> {
    if sh.read_file(to).is_ok_and(|old| old == code) {
        return Ok(());
    }
    Ok(sh.write_file(to, code)?)
}

fn fragments(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language} fragment\n");
    let after = text.split(fence.as_str()).skip(1);
    let code = after.filter_map(|rest| rest.split_once("```"));
    code.map(|(code, _)| code.to_owned()).collect()
}

fn block(text: &str, language: &str) -> Option<String> {
    let fence = format!("```{language}");
    let mut lines = text.lines().skip_while(|line| *line != fence);
    lines.next()?;
    let code: Vec<_> = lines.take_while(|line| *line != "```").collect();
    Some(code.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_first_block_of_the_language_is_taken() {
        let page =
            "a\n```sh\nno\n```\n```kotlin\nval a = 1\n\nval b = 2\n```\n```kotlin\nlater\n```\n";
        assert_eq!(block(page, "kotlin").unwrap(), "val a = 1\n\nval b = 2\n");
        assert_eq!(block(page, "swift"), None);
    }

    #[test]
    fn fragments_are_no_program_and_a_program_is_no_fragment() {
        let page = "```swift fragment\na\n```\nb\n```swift\nc\n```\n```swift fragment\nd\ne\n```\n";
        assert_eq!(fragments(page, "swift"), ["a\n", "d\ne\n"]);
        assert_eq!(block(page, "swift").unwrap(), "c\n");
        assert!(fragments(page, "kotlin").is_empty());
    }

    #[test]
    fn the_app_to_start_from_is_the_guides_program() {
        let tree = Tree::read().unwrap();
        let page = block(tree.text("docs/kotlin.md").unwrap(), "kotlin").unwrap();
        let app = tree
            .text("bindings/kotlin/app/src/main/kotlin/Guide.kt")
            .unwrap();
        assert!(
            app == page,
            "copy the program of docs/kotlin.md to bindings/kotlin/app"
        );
    }

    #[test]
    fn a_guide_leads_from_nothing_to_a_prompt_in_under_40_lines() {
        let tree = Tree::read().unwrap();
        for (page, language) in [("docs/swift.md", "swift"), ("docs/kotlin.md", "kotlin")] {
            let code = block(tree.text(page).unwrap(), language).unwrap();
            assert!(
                code.lines().count() < 40,
                "{page}: {}",
                code.lines().count()
            );
        }
    }
}
