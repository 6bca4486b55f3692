//! The files of the repository, read once, so that checks are functions of a value and easy to
//! test.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Folders without sources of the project.
const SKIPPED: [&str; 7] = [
    "target",
    ".git",
    "node_modules",
    "generated",
    "generated-native",
    "dist",
    ".build",
];
/// Contents of larger files are not read (bytes).
const MAX_TEXT: u64 = 4 << 20;

/// Every file by its path from the root, with `/` between the parts. `None`: not text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads the repository.
    ///
    /// # Errors
    /// When a folder or file cannot be read; the text names it.
    pub(crate) fn read() -> Result<Self> {
        let mut tree = Self::default();
        tree.walk(&root(), "")?;
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (path, kind) = (format!("{prefix}{name}"), entry.file_type()?);
            if SKIPPED.contains(&name.as_str()) {
                continue;
            } else if kind.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let is_small = entry.metadata()?.len() <= MAX_TEXT;
                let bytes = is_small.then(|| fs::read(entry.path())).transpose();
                let text = bytes.with_context(|| path.clone())?.map(String::from_utf8);
                self.files
                    .insert(path, text.and_then(std::result::Result::ok));
            }
        }
        Ok(())
    }

    /// Text files whose path ends with `suffix`, in order of path.
    pub(crate) fn ending<'a>(
        &'a self,
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts().filter(move |(path, _)| path.ends_with(ending))
    }

    /// Every text file, in order of path.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether there is a file or folder of that path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&folder))
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let entry = |(path, text): &(&str, &str)| ((*path).to_owned(), Some((*text).to_owned()));
        Self {
            files: files.iter().map(entry).collect(),
        }
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_read_without_build_output() {
        let tree = Tree::read().unwrap();
        assert!(tree.text("xtask/src/tree.rs").is_some());
        assert!(tree.contains("xtask/src"));
        assert!(!tree.contains("xtask/sr"));
        assert!(!tree.contains("target"));
    }
}
