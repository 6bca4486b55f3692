//! The labels of a host's paths. Everything that is pending for a path refers to it by its label,
//! so a label is never reused: not for another place, and not for a place that went and returned as
//! something else, such as the same address with another key.

use super::PathId;

/// Every place that a host ever had, with its label. Grows by what its user configures.
#[derive(Clone, Debug)]
pub struct PathLabels<P> {
    /// A place's index is its label.
    places: Vec<P>,
}

impl<P> Default for PathLabels<P> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<P: PartialEq> PathLabels<P> {
    /// The label of a place: the one that it always had, or the next one.
    pub fn assign(&mut self, place: P) -> PathId {
        self.find(&place).unwrap_or_else(|| {
            self.places.push(place);
            path_id(self.places.len() - 1)
        })
    }

    /// The label of a place that has one.
    pub fn find(&self, place: &P) -> Option<PathId> {
        self.places
            .iter()
            .position(|known| known == place)
            .map(path_id)
    }

    /// The place of a label.
    pub fn place(&self, label: PathId) -> Option<&P> {
        self.places.get(usize::try_from(label.0).ok()?)
    }
}

/// The label of an index.
fn path_id(index: usize) -> PathId {
    PathId(u32::try_from(index).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_10_a_label_is_never_that_of_another_place() {
        let mut labels = PathLabels::default();
        let old_key = labels.assign(("192.0.2.1", "old key"));
        let relay = labels.assign(("relay", "old key"));
        let new_key = labels.assign(("192.0.2.1", "new key"));
        assert!(old_key != relay && relay != new_key && old_key != new_key);
        assert_eq!(labels.assign(("192.0.2.1", "old key")), old_key);
        assert_eq!(labels.find(&("relay", "old key")), Some(relay));
        assert_eq!(labels.find(&("relay", "new key")), None);
        assert_eq!(labels.place(new_key), Some(&("192.0.2.1", "new key")));
        assert_eq!(labels.place(PathId(9)), None);
    }
}
