//! What an app says when it creates a runtime.

use std::{path::PathBuf, sync::Arc};

use crate::{
    error::OpenError,
    settings::RuntimeSettings,
    storage::{FileStorage, KeyStorage, KeyStore, Storage},
};

/// What a runtime is created with. One of `storage_folder` and `key_store` is needed.
#[derive(Clone, Default)]
pub struct RuntimeConfig {
    /// A folder of the app's own, made if absent. Without a key store everything is kept in it.
    pub storage_folder: Option<PathBuf>,
    /// A place for the identity and the hosts. Without a folder the outbox is kept in it too.
    pub key_store: Option<Arc<dyn KeyStore>>,
    /// The app's name, told to daemons.
    pub app_name: String,
    /// The app's version, told to daemons.
    pub app_version: String,
    /// What the device is called, for its owner's list of devices.
    pub device_name: Option<String>,
}

impl RuntimeConfig {
    /// For an app of that name and version with everything in one folder.
    pub fn in_folder(
        folder: impl Into<PathBuf>,
        app_name: impl Into<String>,
        app_version: impl Into<String>,
    ) -> Self {
        Self {
            storage_folder: Some(folder.into()),
            key_store: None,
            app_name: app_name.into(),
            app_version: app_version.into(),
            device_name: None,
        }
    }

    pub(crate) fn settings(&self) -> RuntimeSettings {
        let mut settings = RuntimeSettings::new(self.app_name.as_str(), self.app_version.as_str());
        settings.device_name.clone_from(&self.device_name);
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
