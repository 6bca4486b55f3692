//! What a runtime is created with, and what the platform tells it.

use bowline_runtime::RuntimeSettings;

use super::host::Path;

/// What a runtime is created with.
///
/// The app's key store and its log listener are not in it. A record is a value that is copied and compared, and dropped on
/// whatever thread had it last; both of them are the app's own code, which is called and let go on known threads only. The
/// key store is an argument of `with_key_store`. The log is that of the process rather than of one runtime: subscribe to it
/// with `subscribe_logs` first, and what is logged while the runtime is created is in it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct RuntimeConfig {
    /// Folder of the app's own, for identity, hosts and waiting intents. Made if it is not there.
    pub storage_folder: String,
    /// Program name, told to daemons.
    pub app_name: String,
    /// Program version, told to daemons.
    pub app_version: String,
    /// What the device is called, for its owner's list of devices: `my app on Ann's phone` is easier to revoke than `my app`.
    /// By default the app's name stands alone.
    #[uniffi(default = None)]
    pub device_name: Option<String>,
    /// Only this kind of path is used; by default all are.
    #[uniffi(default = None)]
    pub only: Option<Path>,
    /// Certificates in PEM that are trusted for TLS besides the public ones.
    #[uniffi(default = [])]
    pub extra_roots: Vec<Vec<u8>>,
    /// The proxy to go through, `http://…`, `https://…` or `socks5://…`, with `USER:PASSWORD@` if it asks for them. By default
    /// the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the process say; there are none on phones.
    #[uniffi(default = None)]
    pub proxy: Option<String>,
}

impl From<&RuntimeConfig> for RuntimeSettings {
    fn from(config: &RuntimeConfig) -> Self {
        let mut settings = Self::new(&config.app_name, &config.app_version);
        settings.device_name.clone_from(&config.device_name);
        settings.only = config.only.map(Path::core);
        settings.extra_roots = config.extra_roots.clone();
        settings.proxy = config.proxy.clone();
        settings
    }
}

/// What the platform tells the runtime. Sent by the bindings' own observers, never by views (INV-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum PlatformEvent {
    /// The app came to the foreground.
    Foreground,
    /// The app went to the background.
    Background,
    /// The network is another one, or is there again.
    NetworkChanged,
}
