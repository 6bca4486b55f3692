//! The programs in the guides of `docs/`: taken out of the page, so that what the page says is what is compiled and run.

use std::{fs, path::Path};

use crate::{process::Outcome, tree};

/// The first block of that language in a page, as a file.
///
/// # Errors
/// When the page or the block is missing, or the file cannot be written.
pub(crate) fn extract(page: &str, language: &str, to: &Path) -> Outcome {
    let path = tree::root().join(page);
    let text = fs::read_to_string(&path).map_err(|error| format!("{page}: {error}"))?;
    let code =
        block(&text, language).ok_or_else(|| format!("{page} has no block of {language}"))?;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // Unchanged it stays, so that nothing is compiled again for it.
    if fs::read_to_string(to).is_ok_and(|old| old == code) {
        return Ok(());
    }
    fs::write(to, code).map_err(|error| format!("{}: {error}", to.display()))
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
