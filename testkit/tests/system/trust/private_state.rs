//! TR-11: other users of the machine can neither read nor change the state of daemon and client.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
};

use crate::cases::rig::{Ended, Rig, finish};

/// A user that is nobody on the test machine.
const MALLORY: u32 = 12_345;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A start of the daemon and a command of the client, each on its folder. `plant` prepares the
/// folder; both programs must refuse it with a text that contains `says`, and leave it unchanged.
fn refused(how: &str, plant: impl Fn(&Path), says: impl Fn(&Path) -> String) {
    let rig = Rig::new();
    let programs: [(PathBuf, &dyn Fn() -> Ended); 2] = [
        (rig.state(), &|| finish(rig.daemon_command(&[]))),
        (rig.client(), &|| rig.bl(&["hosts", "--json"])),
    ];
    for (folder, start) in programs {
        plant(&folder);
        let before = names(&folder);
        let ended = start();
        let said = &ended.stderr;
        assert_eq!(ended.code, 1, "{how}: {said}");
        let says = says(&folder);
        assert!(said.contains(&says), "{how}: `{says}` in {said}");
        if folder == rig.client() {
            let reason = r#""reason":"state_not_private""#;
            assert!(ended.stdout.contains(reason), "{how}: {ended:?}");
        }
        assert_eq!(names(&folder), before, "{how}: nothing was made there");
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.path()).collect();
    names.sort();
    names
}

/// The programs are started with a mask that lets everyone read and write new files.
#[test]
fn tr_11_what_the_programs_write_is_private_whatever_the_umask() {
    let mut rig = Rig::new();
    let open = ["bash", "-c", "umask 0 && exec \"$@\"", "bash"];
    let daemon = rig.daemon_command(&[]);
    rig.start(rig.wrapped(&open, &daemon));
    let offer = rig.bd(&["pair", "--json"]).stdout;
    let offer: serde_json::Value = serde_json::from_str(&offer).unwrap();
    let pair = rig.bl_command(&["pair", "--yes", offer["offer"].as_str().unwrap()]);
    let paired = finish(rig.wrapped(&open, &pair));
    assert_eq!(paired.code, 0, "{paired:?}");
    let mask = rig.work().join("mask");
    let prompt = format!("umask > {}", mask.display());
    let sent = finish(rig.wrapped(
        &open,
        &rig.bl_command(&["run", "--provider", "shell", &prompt]),
    ));
    assert_eq!(sent.code, 0, "{sent:?}");
    for folder in [rig.state(), rig.client()] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        let made = names(&folder);
        assert!(made.len() >= 3, "{made:?}");
        for file in made {
            assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
        }
    }
    // An agent's files are its user's business: it has the mask that the daemon was started with.
    let mask = fs::read_to_string(mask).unwrap();
    assert_eq!(mask.trim(), "0000");
}

#[test]
fn tr_11_a_folder_that_others_may_write_to_is_refused() {
    for open in [0o777, 0o1777, 0o775] {
        refused(
            &format!("mode {open:o}"),
            |folder| {
                fs::create_dir(folder).unwrap();
                chmod(folder, open);
            },
            |folder| format!("chmod 700 {}", folder.display()),
        );
    }
    let open = |folder: &Path| folder.with_extension("open");
    refused(
        "a link to one",
        |folder| {
            fs::create_dir(open(folder)).unwrap();
            chmod(&open(folder), 0o777);
            symlink(open(folder), folder).unwrap();
        },
        |folder| format!("chmod 700 {}", open(folder).display()),
    );
    refused(
        "below one",
        |folder| {
            fs::create_dir(open(folder)).unwrap();
            fs::create_dir(open(folder).join("state")).unwrap();
            chmod(&open(folder), 0o777);
            symlink(open(folder).join("state"), folder).unwrap();
        },
        |folder| format!("chmod go-w {}", open(folder).display()),
    );
}

/// A daemon or a client of root in another user's folder would follow what that user puts there.
#[test]
fn tr_11_a_folder_or_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make files of other users");
        return;
    }
    let whose = |path: &Path| format!("{} belongs to user {MALLORY}", path.display());
    refused(
        "the folder",
        |folder| {
            fs::create_dir(folder).unwrap();
            chown(folder, Some(MALLORY), Some(MALLORY)).unwrap();
        },
        whose,
    );
    let key = |folder: &Path| match folder.ends_with("D") {
        true => folder.join("identity.json"),
        false => folder.join("profile.json"),
    };
    refused(
        "a planted key",
        |folder| {
            fs::create_dir(folder).unwrap();
            fs::write(key(folder), "{}").unwrap();
            chown(key(folder), Some(MALLORY), None).unwrap();
        },
        |folder| whose(&key(folder)),
    );
    refused(
        "a planted link",
        |folder| {
            fs::create_dir(folder).unwrap();
            symlink("/etc/passwd", key(folder)).unwrap();
            lchown(key(folder), Some(MALLORY), None).unwrap();
        },
        |folder| whose(&key(folder)),
    );
}

/// As OpenSSH does with a private key that others may write; one that they may only read is made
/// private again.
#[test]
fn tr_11_an_existing_key_file_is_made_private_or_refused() {
    let mut rig = Rig::paired();
    rig.stop();
    for key in [
        rig.state().join("identity.json"),
        rig.client().join("profile.json"),
    ] {
        chmod(&key, 0o644);
    }
    rig.up(&[]);
    let hosts = rig.bl(&["--log", "warn", "hosts"]);
    assert_eq!(hosts.code, 0, "{hosts:?}");
    for (key, log) in [
        (rig.state().join("identity.json"), rig.log()),
        (rig.client().join("profile.json"), hosts.stderr),
    ] {
        assert_eq!(mode(&key), 0o600, "{}", key.display());
        assert!(log.contains("readable by others"), "{log}");
    }
    rig.stop();
    chmod(&rig.state().join("identity.json"), 0o666);
    chmod(&rig.client().join("profile.json"), 0o666);
    let daemon = finish(rig.daemon_command(&[]));
    assert_eq!(daemon.code, 1);
    assert!(daemon.stderr.contains("chmod 600"), "{daemon:?}");
    let client = rig.bl(&["hosts"]);
    assert_eq!(client.code, 1, "{client:?}");
    assert!(client.stderr.contains("chmod 600"), "{client:?}");
}
