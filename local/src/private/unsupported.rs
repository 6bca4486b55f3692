//! Private folders on systems without Unix permissions. On Windows a state folder is below the
//! user's profile, whose access list lets in this user, administrators and the system, and which
//! new files inherit. A folder elsewhere has the access list that its owner gave it; it is not
//! examined.

use std::{fs, path::Path};

use super::PrivacyError;

/// Creates the folder if it is missing.
///
/// # Errors
/// [`PrivacyError::Io`].
pub fn make_private_folder(folder: &Path) -> Result<(), PrivacyError> {
    fs::create_dir_all(folder).map_err(|error| PrivacyError::Io {
        path: folder.to_owned(),
        error,
    })
}

/// Examines nothing.
///
/// # Errors
/// None on these systems.
pub fn check_private_file(_file: &Path) -> Result<(), PrivacyError> {
    Ok(())
}
