//! In-memory storage that outlives its runtimes: a restarted app finds its state.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bowline_runtime::storage::{Journal, OpenJournal, Rewrite, Storage, StorageError, Update};

#[derive(Clone, Default)]
pub(super) struct MemoryStorage(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    values: BTreeMap<String, Vec<u8>>,
    journals: BTreeMap<(String, usize), Lines>,
}

#[derive(Default)]
struct Lines {
    /// Held by a running process.
    owned: bool,
    lines: Vec<Vec<u8>>,
}

impl Storage for MemoryStorage {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.lock().unwrap().values.get(name).cloned())
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut state = self.0.lock().unwrap();
        state.values.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn update(&self, name: &str, change: &mut Update<'_>) -> Result<(), StorageError> {
        let mut state = self.0.lock().unwrap();
        if let Some(value) = change(state.values.get(name).cloned())? {
            state.values.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn journal(&self, name: &str) -> Result<OpenJournal, StorageError> {
        let mut state = self.0.lock().unwrap();
        let mut adopted = Vec::new();
        let mut number = 0;
        for ((of, place), journal) in &mut state.journals {
            if of == name {
                number = number.max(place + 1);
                if !journal.owned {
                    adopted.append(&mut journal.lines);
                }
            }
        }
        state
            .journals
            .retain(|(of, _), journal| of != name || journal.owned);
        let key = (name.to_owned(), number);
        let lines = Lines {
            owned: true,
            lines: adopted.clone(),
        };
        state.journals.insert(key.clone(), lines);
        let journal = MemoryJournal {
            state: Arc::clone(&self.0),
            key,
        };
        Ok((Box::new(journal), adopted))
    }

    fn location(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}

struct MemoryJournal {
    state: Arc<Mutex<State>>,
    key: (String, usize),
}

impl MemoryJournal {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(
            self.state
                .lock()
                .unwrap()
                .journals
                .entry(self.key.clone())
                .or_default(),
        );
    }
}

impl Journal for MemoryJournal {
    fn append(&mut self, line: &[u8]) -> Result<(), StorageError> {
        self.change(|journal| journal.lines.push(line.to_vec()));
        Ok(())
    }

    fn rewrite(&mut self) -> Rewrite {
        let mut before = 0;
        self.change(|journal| before = journal.lines.len());
        let (state, key) = (Arc::clone(&self.state), self.key.clone());
        Box::new(move |lines| {
            let mut state = state.lock().unwrap();
            let journal = state.journals.entry(key).or_default();
            journal.lines.splice(..before, lines.iter().cloned());
            Ok(())
        })
    }

    fn location(&self) -> PathBuf {
        PathBuf::from(&self.key.0)
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.change(|journal| journal.owned = false);
    }
}
