//! Golden files: JSON objects whose members, one per line, are the exact wire bytes.

use std::{collections::BTreeMap, fmt::Debug, fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Set to rewrite the fixtures instead of comparing with them.
const BLESS: &str = "BOWLINE_BLESS";

/// One fixture file under construction; [`Golden::check`] compares it with the committed one.
pub(crate) struct Golden {
    file: &'static str,
    members: Vec<(String, String)>,
}

impl Golden {
    pub(crate) fn new(file: &'static str) -> Self {
        Self {
            file,
            members: Vec::new(),
        }
    }

    /// Adds JSON text.
    pub(crate) fn json(&mut self, name: &str, json: String) {
        assert!(
            !json.contains('\n'),
            "{name}: what travels is on one line, so that the file shows it to the letter"
        );
        assert!(
            self.members.iter().all(|(known, _)| known != name),
            "{name} occurs twice"
        );
        self.members.push((name.to_owned(), json));
    }

    /// Adds a value in its serde form, and checks that the committed form parses to that value.
    pub(crate) fn value<T>(&mut self, name: &str, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        self.json(name, serde_json::to_string(value).unwrap());
        if let Some(committed) = self.committed().get(name) {
            let read: T = serde_json::from_str(committed.get()).unwrap();
            assert_eq!(&read, value, "{}: {name} as committed", self.file);
        }
    }

    /// Adds binary bytes, as hex.
    pub(crate) fn hex(&mut self, name: &str, bytes: &[u8]) {
        let hex = data_encoding::HEXLOWER.encode(bytes);
        self.json(name, format!("\"{hex}\""));
    }

    /// The committed members by name, byte for byte; empty while the file is rewritten.
    pub(crate) fn committed(&self) -> BTreeMap<String, Box<RawValue>> {
        if blessing() {
            return BTreeMap::new();
        }
        serde_json::from_str(&fs::read_to_string(self.path()).unwrap()).unwrap()
    }

    /// Compares with the committed file, or rewrites it if [`BLESS`] is set.
    pub(crate) fn check(self) {
        let lines: Vec<_> = self
            .members
            .iter()
            .map(|(name, json)| format!("  {}: {json}", serde_json::to_string(name).unwrap()))
            .collect();
        let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
        let path = self.path();
        if blessing() {
            fs::write(&path, text).unwrap();
            return;
        }
        let committed = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
        for (line, (ours, theirs)) in text.lines().zip(committed.lines()).enumerate() {
            assert_eq!(
                ours,
                theirs,
                "{}:{}: the protocol's bytes changed. If that is meant, run with {BLESS}=1",
                path.display(),
                line + 1
            );
        }
        assert_eq!(
            text.lines().count(),
            committed.lines().count(),
            "{}: members were added or removed. If that is meant, run with {BLESS}=1",
            path.display()
        );
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(self.file)
    }
}

pub(crate) fn blessing() -> bool {
    std::env::var_os(BLESS).is_some_and(|value| value == "1")
}
