//! The permissions of the files that this process creates.

/// The mask at the start of the process, which child processes should get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Umask(Option<u32>);

impl Umask {
    /// The mask: permissions that new files do not get. `None`: a system without one.
    pub const fn bits(self) -> Option<u32> {
        self.0
    }
}

/// Keeps the files that this process creates from here on to its user (umask 077), those of
/// libraries included, and returns the former mask (TR-11). Only Unix has a mask; on Windows new
/// files inherit the access list of their folder.
pub fn create_private_files() -> Umask {
    #[cfg(unix)]
    {
        use rustix::{fs::Mode, process::umask};
        #[allow(clippy::useless_conversion, reason = "the type differs by system")]
        Umask(Some(umask(Mode::RWXG | Mode::RWXO).bits().into()))
    }
    #[cfg(not(unix))]
    Umask(None)
}
