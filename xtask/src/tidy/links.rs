//! Every relative link in a Markdown file leads to a file of the repository, and its anchor to a
//! heading.

use super::Violation;
use crate::tree::Tree;

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, target) in targets(text) {
            if let Err(what) = resolve(tree, path, target) {
                found.push(Violation::new(path, line, what));
            }
        }
    }
    found
}

fn resolve(tree: &Tree, from: &str, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = if file.is_empty() {
        from.to_owned()
    } else {
        join(from, file).ok_or_else(|| format!("`{target}` leads out of the repository"))?
    };
    if !tree.contains(&path) {
        return Err(format!("`{target}` leads nowhere"));
    }
    match (anchor, tree.text(&path)) {
        (Some(anchor), Some(text))
            if path.ends_with(".md") && !headings(text).any(|slug| slug == anchor) =>
        {
            Err(format!("`{path}` has no heading for `#{anchor}`"))
        }
        _ => Ok(()),
    }
}

/// `file` relative to the folder of `from`; `None` when it leaves the root.
fn join(from: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(n, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((n + 1, line))
    })
}

/// The targets of `[text](target)`, outside code.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(line, content)| {
        // Every second piece between backticks is code.
        let pieces = content.split('`').step_by(2);
        pieces.flat_map(move |piece| {
            piece.split("](").skip(1).filter_map(move |rest| {
                let target = rest.split([')', ' ']).next()?;
                Some((line, target))
            })
        })
    })
}

/// The anchors of a page's headings: lower case, punctuation dropped, spaces as hyphens.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| {
        let title = line.strip_prefix('#')?.trim_start_matches('#');
        let kept = title.trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        });
        Some(kept.flat_map(char::to_lowercase).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_and_anchors_are_found_and_good_ones_are_not() {
        let tree = Tree::of(&[
            (
                "docs/a.md",
                "# Close codes, and reasons\n[up](../README.md) [here](#close-codes-and-reasons)\n\
                 [gone](gone.md)\n[no heading](../README.md#nothing)\n[out](../../etc)\n\
                 `[code](gone.md)` [web](https://example.org)\n```\n[fenced](gone.md)\n```\n\
                 [folder](../docs)\n",
            ),
            (
                "README.md",
                "# Top\n[a](docs/a.md#close-codes-and-reasons)\n",
            ),
        ]);
        let lines: Vec<_> = check(&tree).into_iter().map(|v| (v.file, v.line)).collect();
        let at = |line| ("docs/a.md".to_owned(), line);
        assert_eq!(lines, [at(3), at(4), at(5)]);
    }
}
