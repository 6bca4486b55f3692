//! Folders and files that are private, and those that are not.

use std::os::unix::fs::symlink;

use super::*;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A folder below one of the given mode.
fn below(mode: u32) -> (tempfile::TempDir, PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("above/state");
    fs::create_dir_all(&folder).unwrap();
    chmod(folder.parent().unwrap(), mode);
    (base, folder)
}

#[test]
fn tr_11_a_new_folder_is_private_whatever_the_umask() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("deep/er/state");
    make_private_folder(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(folder.parent().unwrap()), 0o700);
    make_private_folder(&folder).unwrap();
}

#[test]
fn tr_11_a_folder_that_others_may_write_to_is_refused_with_what_to_do() {
    for open in [0o777, 0o770, 0o720, 0o1777] {
        let (_base, folder) = below(0o755);
        chmod(&folder, open);
        let error = make_private_folder(&folder).unwrap_err();
        assert!(matches!(error, PrivacyError::Writable { .. }), "{error}");
        let remedy = format!("chmod 700 {}", folder.display());
        assert!(error.to_string().contains(&remedy), "{error}");
        assert_eq!(mode(&folder), open, "left as it was");
        chmod(&folder, 0o700);
        make_private_folder(&folder).unwrap();
    }
    // Others may read its names; its files are private themselves.
    let (_base, folder) = below(0o755);
    chmod(&folder, 0o755);
    make_private_folder(&folder).unwrap();
}

#[test]
fn tr_11_a_link_is_followed_to_what_it_leads_to() {
    let (base, folder) = below(0o755);
    let link = base.path().join("link");
    symlink("above/../above/state", &link).unwrap();
    make_private_folder(&link).unwrap();
    chmod(&folder, 0o777);
    let error = make_private_folder(&link).unwrap_err();
    assert!(
        error.to_string().contains(folder.to_str().unwrap()),
        "{error}"
    );
    fs::remove_dir(&folder).unwrap();
    let error = make_private_folder(&link).unwrap_err();
    assert!(
        matches!(error, PrivacyError::Io { .. }),
        "dangling: {error}"
    );
    assert!(!folder.exists(), "nothing is made where a link leads");
    let turn = base.path().join("turn");
    symlink("turn", &turn).unwrap();
    let error = make_private_folder(&turn).unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
}

#[test]
fn tr_11_a_folder_above_that_others_may_write_to_is_refused_unless_sticky() {
    let (_base, folder) = below(0o777);
    let above = folder.parent().unwrap();
    for path in [folder.clone(), above.join("new/state")] {
        let error = make_private_folder(&path).unwrap_err();
        assert!(
            matches!(error, PrivacyError::Exchangeable { .. }),
            "{error}"
        );
        let remedy = format!("chmod go-w {}", above.display());
        assert!(error.to_string().contains(&remedy), "{error}");
    }
    assert!(!above.join("new").exists(), "nothing was created");
    chmod(above, 0o1777);
    make_private_folder(&folder).unwrap();
    make_private_folder(&above.join("new/state")).unwrap();
}

#[test]
fn tr_11_a_file_is_the_users_own_and_made_private_again() {
    let (base, folder) = below(0o755);
    let file = folder.join("key");
    check_private_file(&file).unwrap();
    fs::write(&file, "secret").unwrap();
    chmod(&file, 0o644);
    check_private_file(&file).unwrap();
    assert_eq!(mode(&file), 0o600);
    chmod(&file, 0o666);
    let error = check_private_file(&file).unwrap_err();
    let remedy = format!("chmod 600 {}", file.display());
    assert!(error.to_string().contains(&remedy), "{error}");
    // A link leads to a file that is checked in the same way.
    let elsewhere = base.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    let error = check_private_file(&file).unwrap_err();
    assert!(
        error.to_string().contains(elsewhere.to_str().unwrap()),
        "{error}"
    );
    chmod(&elsewhere, 0o600);
    check_private_file(&file).unwrap();
}

#[test]
fn tr_11_what_belongs_to_another_user_is_refused() {
    use std::os::unix::fs::{chown, lchown};
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let (base, folder) = below(0o755);
    let above = folder.parent().unwrap().to_owned();
    let file = folder.join("key");
    fs::write(&file, "secret").unwrap();
    chmod(&file, 0o600);
    let link = base.path().join("link");
    symlink(&folder, &link).unwrap();
    let refused = |path: &Path| {
        let checked = match path.is_dir() {
            true => make_private_folder(path),
            false => check_private_file(path),
        };
        checked.unwrap_err().to_string()
    };

    chown(&file, Some(12_345), None).unwrap();
    let text = refused(&file);
    assert!(text.contains("belongs to user 12345"), "{text}");
    let remedy = format!("sudo chown -R 0 {}", folder.display());
    assert!(text.contains(&remedy), "{text}");

    chown(&folder, Some(12_345), None).unwrap();
    let text = refused(&folder);
    assert!(
        text.contains("belongs to user 12345") && text.contains(&remedy),
        "{text}"
    );
    chown(&folder, Some(0), None).unwrap();

    lchown(&link, Some(12_345), None).unwrap();
    let text = refused(&link);
    assert!(
        text.contains(&format!("{} belongs", link.display())),
        "{text}"
    );

    chown(&above, Some(12_345), None).unwrap();
    let text = refused(&folder);
    assert!(
        text.contains(&format!("{} belongs", above.display())),
        "{text}"
    );
    // In a folder that everyone shares, what somebody else made is not used.
    chown(&above, Some(0), None).unwrap();
    chmod(&above, 0o1777);
    chown(&folder, Some(12_345), None).unwrap();
    let text = refused(&folder);
    assert!(text.contains("belongs to user 12345"), "{text}");
}
