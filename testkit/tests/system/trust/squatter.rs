//! TR-17: another user of the machine takes the place of the local socket, or knocks at it. (Pipes
//! of Windows: local/tests/pipe.rs.)
#![cfg(target_os = "linux")]

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
};

use bowline_testkit::{
    blocking::eventually,
    shell::{DEADLINE, clean},
    world::program,
};
use rustix::{process::Uid, thread::set_thread_uid};
use tempfile::TempDir;

use crate::cases::rig::{Ended, Rig, finish, has};

/// Other users of the test machine.
const MALLORY: u32 = 12_345;
const ANN: u32 = 23_456;

/// A folder like `/tmp`, with a program that everyone may run.
struct Shared {
    folder: TempDir,
    program: PathBuf,
}

impl Shared {
    /// `None` where this cannot be played.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can be several users");
            return None;
        }
        if !has("setpriv", "util-linux") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        let copy = folder.path().join("bowline-daemon");
        fs::copy(program("bowline-daemon").unwrap(), &copy).unwrap();
        Some(Self {
            folder,
            program: copy,
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `bowline-daemon --socket SOCKET …` of a user.
    fn asked(&self, user: u32, socket: &Path, words: &[&str]) -> Ended {
        let mut command = of(user, self.folder.path(), &self.program);
        let state = self.at(&format!("state-{user}"));
        command.arg("--state-dir").arg(state);
        command.arg("--socket").arg(socket).args(words);
        finish(command)
    }
}

/// A program run as a user.
fn of(user: u32, home: &Path, program: &Path) -> Command {
    let mut command = clean("setpriv", home);
    let id = user.to_string();
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(program);
    command
}

/// Runs something as Mallory, on a thread that stays hers.
fn as_mallory<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        set_thread_uid(Uid::from_raw(MALLORY)).unwrap();
        let _ = send.send(work());
    });
    receive
}

/// Listens at the path as Mallory. What each connection says first comes out.
fn squat(socket: &Path) -> mpsc::Receiver<String> {
    let (send, heard) = mpsc::channel();
    let path = socket.to_owned();
    let bound = as_mallory(move || {
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        listener
    });
    let listener = bound.recv_timeout(DEADLINE).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if send.send(first_words(stream)).is_err() {
                break;
            }
        }
    });
    heard
}

/// What the other end says until it pauses or ends.
fn first_words(mut stream: UnixStream) -> String {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut words = [0; 4_096];
    let count = stream.read(&mut words).unwrap_or_default();
    String::from_utf8_lossy(&words[..count]).into_owned()
}

#[test]
fn tr_17_a_socket_that_another_user_has_put_there_is_told_nothing() {
    let Some(shared) = Shared::new() else {
        return;
    };
    let socket = shared.at("daemon.sock");
    let squatter = squat(&socket);
    let heard = || squatter.recv_timeout(DEADLINE).unwrap();
    for user in [ANN, 0] {
        for words in [&["pair", "--yes"][..], &["devices"], &["status"]] {
            let ended = shared.asked(user, &socket, words);
            assert_eq!(ended.code, 4, "{user}: {ended:?}");
            for said in ["belongs to user 12345", "nothing was sent", "--socket"] {
                assert!(ended.stderr.contains(said), "{said}: {ended:?}");
            }
            assert_eq!(heard(), "", "{user}: {words:?}");
        }
    }
    // Its own user finds it no daemon either, but asks it: the check is about users.
    let ended = shared.asked(MALLORY, &socket, &["status"]);
    assert_ne!(ended.code, 4, "{ended:?}");
    assert!(heard().contains("daemon.status"));
}

#[test]
fn tr_17_a_daemon_of_ones_own_or_of_root_is_asked() {
    let Some(shared) = Shared::new() else {
        return;
    };
    let mut rig = Rig::new();
    let socket = shared.at("root.sock");
    rig.up(&["--socket", socket.to_str().unwrap()]);
    let open = || fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
    let own = shared.asked(0, &socket, &["status"]);
    assert_eq!(own.code, 0, "{own:?}");
    let closed = shared.asked(ANN, &socket, &["status"]);
    assert_eq!(closed.code, 4, "{closed:?}");
    assert!(
        closed.stderr.contains("run this as that user"),
        "{closed:?}"
    );
    // Even where the file's mode lets everybody in, the daemon does not.
    open();
    let refused = shared.asked(ANN, &socket, &["status"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    let path = socket.clone();
    let knock = as_mallory(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        let request = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.info\"}\n";
        let _ = stream.write_all(request.as_bytes());
        first_words(stream)
    });
    assert_eq!(knock.recv_timeout(DEADLINE).unwrap(), "");
    // A thread of the daemon writes the log.
    eventually("the log tells of the stranger", || {
        rig.log().contains("user 12345 is not the daemon's user")
    });
    assert_eq!(shared.asked(0, &socket, &["status"]).code, 0, "still there");
    assert_eq!(rig.stop(), 0);
}
