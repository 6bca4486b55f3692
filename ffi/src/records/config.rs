//! Settings of a runtime, and platform events.

use bowline_runtime::RuntimeSettings;

use super::host::Path;

/// Settings of a runtime.
///
/// The app's key store and its log listener are not part of it. A record is a value that is copied,
/// compared and dropped on any thread, but these two are app code, which is called and dropped on
/// known threads only. The key store is an argument of `with_key_store`. The log belongs to the
/// process, not to a runtime: call `subscribe_logs` first to receive the lines of a runtime's
/// creation.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct RuntimeConfig {
    /// The app's own folder for identity, hosts and pending intents. Created if absent.
    pub storage_folder: String,
    /// Program name, sent to daemons.
    pub app_name: String,
    /// Program version, sent to daemons.
    pub app_version: String,
    /// Device name for the owner's list of devices: `my app on Ann's phone` is easier to revoke
    /// than `my app`. By default the app's name is used.
    #[uniffi(default = None)]
    pub device_name: Option<String>,
    /// Restricts paths to this kind; by default all are used.
    #[uniffi(default = None)]
    pub only: Option<Path>,
    /// Certificates in PEM to trust for TLS besides the public ones.
    #[uniffi(default = [])]
    pub extra_roots: Vec<Vec<u8>>,
    /// URL of the proxy: `http://…`, `https://…` or `socks5://…`, with `USER:PASSWORD@` if it
    /// requires them. By default the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` of the process apply; phones have none.
    #[uniffi(default = None)]
    pub proxy: Option<String>,
    /// Most bytes in the storage folder for the rows of tables and the items of logs that were
    /// open, of all hosts: a cold start shows them before there is a network, in the state
    /// `Revalidating` (LD-5). Encrypted under the identity of this install; deleted with the host.
    /// By default 32 MiB; 0 keeps nothing, and deletes what was kept.
    #[uniffi(default = None)]
    pub cache_bytes: Option<u32>,
}

/// Without the proxy's URL, which may contain a password.
impl std::fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeConfig")
            .field("storage_folder", &self.storage_folder)
            .field("app_name", &self.app_name)
            .field("only", &self.only)
            .field("has_proxy", &self.proxy.is_some())
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

impl From<&RuntimeConfig> for RuntimeSettings {
    fn from(config: &RuntimeConfig) -> Self {
        let mut settings = Self::new(&config.app_name, &config.app_version);
        settings.device_name.clone_from(&config.device_name);
        settings.only = config.only.map(Path::core);
        settings.extra_roots = config.extra_roots.clone();
        settings.proxy = config.proxy.clone();
        if let Some(bytes) = config.cache_bytes {
            settings.cache_bytes = bytes.into();
        }
        settings
    }
}

/// Platform events. The bindings' own observers send them, never views (INV-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum PlatformEvent {
    /// The app came to the foreground.
    Foreground,
    /// The app went to the background.
    Background,
    /// The network changed or came back.
    NetworkChanged,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_in_no_debug_text() {
        let config = RuntimeConfig {
            storage_folder: "/app".to_owned(),
            app_name: "app".to_owned(),
            app_version: "1".to_owned(),
            device_name: None,
            only: None,
            extra_roots: Vec::new(),
            proxy: Some("http://ann:s3cret@proxy:1".to_owned()),
            cache_bytes: None,
        };
        let settings = RuntimeSettings::from(&config);
        for text in [format!("{config:?}"), format!("{settings:?}")] {
            assert!(text.contains("has_proxy: true"), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
