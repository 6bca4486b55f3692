//! The files of the repository, read once, so that checks are functions of a value and easy to test.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of ours.
const SKIPPED: &[&str] = &[
    "target",
    ".git",
    "node_modules",
    "generated",
    "generated-native",
    "dist",
    ".build",
];
/// Larger files are known by name only.
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
    pub(crate) fn read() -> Result<Self, String> {
        let mut tree = Self::default();
        let root = root();
        tree.walk(&root, "")
            .map_err(|(path, error)| format!("{}: {error}", path.display()))?;
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> Result<(), (PathBuf, io::Error)> {
        let at = |error| (folder.to_owned(), error);
        for entry in fs::read_dir(folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(at)?;
            if kind.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let small = entry.metadata().map_err(at)?.len() <= MAX_TEXT;
                let bytes = if small {
                    fs::read(entry.path()).map_err(|error| (entry.path(), error))?
                } else {
                    vec![0xff]
                };
                self.files.insert(path, String::from_utf8(bytes).ok());
            }
        }
        Ok(())
    }

    /// Text files whose path ends so, in order of path.
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
