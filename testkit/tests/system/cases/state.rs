//! Unexpected files: separated, of a newer version, lost, or not regular files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    clocks::copy,
    rig::{Rig, finish},
};

/// C9: an identity and a database that do not match silently made a new daemon.
#[test]
fn case_c9_files_that_do_not_belong_together_start_nothing() {
    let mut rig = Rig::paired();
    rig.stop();
    let good = rig.state().with_extension("good");
    copy(&rig.state(), &good);
    let other = Rig::paired();
    let theirs = other.state();
    let from = |name: &str| theirs.join(name);
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: &[(&str, Spoil<'_>)] = &[
        ("identity.json is missing", &|dir| {
            fs::remove_file(dir.join("identity.json")).unwrap()
        }),
        ("bowline.db is empty", &|dir| {
            fs::write(dir.join("bowline.db"), "").unwrap()
        }),
        ("bowline.db is missing", &|dir| {
            fs::remove_file(dir.join("bowline.db")).unwrap()
        }),
        ("belong", &|dir| {
            let _ = fs::copy(from("identity.json"), dir.join("identity.json")).unwrap();
        }),
        ("another daemon", &|dir| {
            // The other daemon is running: its database is mostly in the write-ahead log.
            for name in ["bowline.db", "bowline.db-wal"] {
                fs::copy(from(name), dir.join(name)).unwrap();
            }
        }),
        ("is corrupt", &|dir| {
            fs::write(dir.join("identity.json"), "").unwrap()
        }),
        ("is a folder", &|dir| {
            fs::remove_file(dir.join("bowline.db")).unwrap();
            fs::create_dir(dir.join("bowline.db")).unwrap();
        }),
    ];
    for (expected, spoil) in cases {
        copy(&good, &rig.state());
        let _ = fs::remove_dir(rig.state().join("bowline.db"));
        spoil(&rig.state());
        let before = content(&rig.state());
        let ended = finish(rig.daemon_command(&[]));
        let said = ended.stderr;
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(ended.code, 1, "{expected}: {last}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(
            content(&rig.state()),
            before,
            "{expected}: left as they were"
        );
        let _ = fs::remove_dir(rig.state().join("bowline.db"));
    }
    copy(&good, &rig.state());
    rig.up(&[]);
    let known = rig.bl(&["agents"]);
    assert_eq!(
        known.code, 0,
        "with its files back it knows its devices: {known:?}"
    );
}

/// Identity, database and write-ahead log of a state folder.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    [
        "identity.json",
        "bowline.db",
        "bowline.db-wal",
        "store.json",
    ]
    .iter()
    .map(|name| dir.join(name))
    .filter_map(|path| Some((path.clone(), fs::read(path).ok()?)))
    .collect()
}

/// C10: files of a newer version were called corrupt, and users moved them away.
#[test]
fn case_c10_files_of_a_newer_version_are_said_to_be_that() {
    let mut rig = Rig::paired();
    rig.stop();
    let identity = rig.state().join("identity.json");
    let old = fs::read_to_string(&identity).unwrap();
    let newer = r#"{"version":99,"of":"another form"}"#;
    fs::write(&identity, newer).unwrap();
    let ended = finish(rig.daemon_command(&[]));
    assert_eq!(ended.code, 1);
    let said = ended.stderr;
    assert!(
        said.contains("newer version") && said.contains("99") && said.contains("up to 1"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&identity).unwrap(), newer);
    fs::write(&identity, old).unwrap();
    for name in ["profile.json", "hosts.json"] {
        let path = rig.client().join(name);
        let old = fs::read(&path).unwrap();
        fs::write(&path, newer).unwrap();
        let ended = rig.bl(&["hosts", "--json"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stdout.contains("newer_state"), "{ended:?}");
        assert!(
            ended.stdout.contains("newer version") && ended.stdout.contains(name),
            "{ended:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        fs::write(path, old).unwrap();
    }
}

/// C9 for the client: traces of earlier hosts prevent treating the folder as a new install.
#[test]
fn case_c9_a_client_that_lost_its_files_does_not_begin_anew() {
    let rig = Rig::paired();
    for (name, reason) in [
        ("hosts.json", "hosts_missing"),
        ("profile.json", "identity_missing"),
    ] {
        let path = rig.client().join(name);
        let old = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let ended = rig.bl(&["hosts", "--json"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended.stdout.contains(reason) && ended.stdout.contains(name),
            "{ended:?}"
        );
        assert!(!path.exists(), "no other one is made");
        fs::write(path, old).unwrap();
    }
    let hosts = rig.bl(&["hosts"]);
    assert_eq!(hosts.code, 0, "{hosts:?}");
}

/// C9: a pipe in place of a file blocked the start forever.
#[test]
fn case_c9_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting() {
    let rig = Rig::new();
    fs::create_dir_all(rig.state()).unwrap();
    for (folder, file, command) in [
        ("$D", "identity.json", "$BD run --listen 127.0.0.1:0"),
        ("$C", "profile.json", "$BL hosts"),
    ] {
        let script = format!("mkdir -p {folder} && mkfifo {folder}/{file} && {command}");
        let ended = rig.sh(&script);
        assert_ne!(ended.code, 0, "{ended:?}");
        let says = ended.stderr.contains(file) && ended.stderr.contains("a pipe");
        assert!(says, "{ended:?}");
    }
}
