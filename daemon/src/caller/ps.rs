//! The descent of a process from `ps`, on Unix systems other than Linux.
//!
//! A process is followed to its ancestors and to the leader of its session, which the launcher of
//! an agent's turn is. One whose ancestors have ended, and that has a session of its own, is not
//! recognised.

use std::{
    collections::HashMap,
    process::{Command, Stdio},
};

use super::{Ask, Descent, Peer, descends};
use crate::process::Process;

/// Parent and command line of every process.
type Table = HashMap<i32, (i32, String)>;

#[cfg_attr(
    target_os = "linux",
    allow(dead_code, reason = "only the rest is tested there")
)]
pub(super) const fn started(_pid: i32) -> Option<u64> {
    None
}

pub(super) fn descent(peer: Peer, ask: &Ask<'_>) -> Descent {
    let Some(table) = table() else {
        return Descent::Unsupported;
    };
    let session = session_of(peer.pid);
    let this = rustix::process::getpid().as_raw_nonzero().get();
    judge(&table, peer.pid, session, this, ask)
}

/// The leader of a process's session. `None` if the process has ended, or its session is that of
/// the system itself or of another container, which the system calls zero.
fn session_of(pid: i32) -> Option<i32> {
    // Not rustix's: it takes zero for impossible.
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).ok()?;
    Some(session.as_raw()).filter(|session| *session > 0)
}

fn judge(table: &Table, pid: i32, session: Option<i32>, this: i32, ask: &Ask<'_>) -> Descent {
    let parent = |pid: i32| table.get(&pid).map(|(parent, _)| *parent);
    let starter = |pid: i32| {
        let (_, line) = table.get(&pid)?;
        ask(&Process::listed(pid, line))
    };
    let up = |pid| descends(pid, this, parent, starter);
    // The session's leader may have ended, and has then no ancestors to follow.
    let of_the_session = session.and_then(up).flatten();
    match up(pid) {
        None => Descent::Unclear,
        Some(found) => Descent::below(found.or(of_the_session)),
    }
}

/// All processes; `None` if `ps` cannot be used.
fn table() -> Option<Table> {
    let output = Command::new("/bin/ps")
        .args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "args="])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().filter_map(row).collect())
}

fn row(line: &str) -> Option<(i32, (i32, String))> {
    let (pid, rest) = line.trim_start().split_once(' ')?;
    let (parent, command) = rest.trim_start().split_once(' ')?;
    Some((
        pid.parse().ok()?,
        (parent.parse().ok()?, command.trim_start().to_owned()),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::Starter, *};

    /// The hidden command of a launcher.
    const ARGUMENT: &str = "launch-turn";
    const TURN: Descent = Descent::Started("an agent");

    fn launchers(process: &Process<'_>) -> Option<Starter> {
        process.runs(ARGUMENT).then_some(Ok("an agent"))
    }

    fn listed(text: &str) -> Table {
        text.lines().filter_map(row).collect()
    }

    #[test]
    fn tr_7_a_turn_is_recognised_by_ancestors_and_by_the_session() {
        let table = listed(
            "    1     0 /sbin/launchd\n   20     1 /opt/a b/bowline-daemon run\n\
                21    20 /opt/a b/bowline-daemon launch-turn\n   22    21 sh -c x\n   23     1 orphan\n\
               300     1 login\n  301   300 bowline-daemon pair\n  302   300 echo launch-turner\n 303 300 launch-turn\n",
        );
        assert_eq!(table[&21].0, 20);
        let judge = |pid, session| judge(&table, pid, session, 20, &launchers);
        assert_eq!(judge(22, Some(21)), TURN);
        assert_eq!(judge(22, None), TURN);
        assert_eq!(judge(23, Some(21)), TURN, "an orphan in its session");
        assert_eq!(judge(23, Some(23)), Descent::Owner, "not recognised");
        for pid in [301, 302, 303] {
            assert_eq!(judge(pid, Some(300)), Descent::Owner);
        }
        assert_eq!(
            judge(301, Some(299)),
            Descent::Owner,
            "its leader has ended"
        );
        assert_eq!(judge(24, None), Descent::Unclear, "it has ended");
    }

    #[test]
    fn tr_7_every_process_can_be_asked_for_its_session() {
        let all = table().unwrap_or_default();
        // The first processes of a machine are in session zero, and so is what they start.
        for pid in all.into_keys() {
            assert!(session_of(pid).is_none_or(|session| session > 0));
        }
        let own = session_of(0);
        let this = rustix::process::getpid().as_raw_nonzero().get();
        assert_eq!(own, session_of(this));
    }

    #[test]
    fn tr_7_ps_names_the_launcher_above_a_process() {
        if table().is_none() {
            eprintln!("skipped: there is no /bin/ps");
            return;
        }
        let launcher = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", script, ARGUMENT])
                // It reads until it is killed.
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut child = launcher("sleep 600 & echo $!; read never");
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        let below: i32 = line.trim().parse().unwrap();
        let peer = |pid| Peer { pid, started: None };
        let this = rustix::process::getpid().as_raw_nonzero().get();
        let verdicts = [below, this].map(|pid| descent(peer(pid), &launchers));
        let pid = rustix::process::Pid::from_raw(below).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(verdicts, [TURN, Descent::Owner]);
    }
}
