//! The configuration of a runtime.

use std::{path::PathBuf, sync::Arc};

use crate::{
    error::OpenError,
    settings::{CACHE_BYTES, RuntimeSettings},
    storage::{FileStorage, KeyStorage, KeyStore, Storage},
};

/// Configuration of a runtime. Requires `storage_folder` or `key_store`.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Folder owned by the app; created if absent. Without a key store it contains all state.
    pub storage_folder: Option<PathBuf>,
    /// Storage of the identity and the hosts; without a folder also of the outbox.
    pub key_store: Option<Arc<dyn KeyStore>>,
    /// The app's name, sent to daemons.
    pub app_name: String,
    /// The app's version, sent to daemons.
    pub app_version: String,
    /// The device's name in the daemon's device list.
    pub device_name: Option<String>,
    /// As [`RuntimeSettings::cache_bytes`]; without a folder nothing is kept.
    pub cache_bytes: u64,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            storage_folder: None,
            key_store: None,
            app_name: String::new(),
            app_version: String::new(),
            device_name: None,
            cache_bytes: CACHE_BYTES,
        }
    }
}

impl RuntimeConfig {
    /// Configuration of an app with all state in one folder.
    pub fn in_folder(
        folder: impl Into<PathBuf>,
        app_name: impl Into<String>,
        app_version: impl Into<String>,
    ) -> Self {
        Self {
            storage_folder: Some(folder.into()),
            app_name: app_name.into(),
            app_version: app_version.into(),
            ..Self::default()
        }
    }

    pub(crate) fn settings(&self) -> RuntimeSettings {
        let mut settings = RuntimeSettings::new(self.app_name.as_str(), self.app_version.as_str());
        settings.device_name.clone_from(&self.device_name);
        settings.cache_bytes = self.cache_bytes;
        settings
    }

    pub(crate) fn storage(&self) -> Result<Arc<dyn Storage>, OpenError> {
        let folder = self.storage_folder.as_ref().map(FileStorage::open);
        let folder = folder.transpose()?;
        match (&self.key_store, folder) {
            (Some(keys), journals) => Ok(Arc::new(KeyStorage::new(Arc::clone(keys), journals))),
            (None, Some(folder)) => Ok(Arc::new(folder)),
            (None, None) => Err(OpenError::NoStorage),
        }
    }
}
