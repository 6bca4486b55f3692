//! The name of this machine.

/// Most characters of a name.
const MAX_NAME: usize = 64;

/// The machine's host name as known without a network query, without control characters and with at
/// most 64 characters.
pub fn machine_name() -> Option<String> {
    let name: String = from_system()?
        .chars()
        .filter(|c| !bowline_protocol::text::is_harmful(*c))
        .take(MAX_NAME)
        .collect();
    (!name.trim().is_empty()).then_some(name)
}

#[cfg(unix)]
fn from_system() -> Option<String> {
    let system = rustix::system::uname();
    Some(system.nodename().to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn from_system() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}
