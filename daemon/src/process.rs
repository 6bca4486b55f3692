//! What the system tells of the processes of this machine: their ancestry, and what they run.

#[cfg(target_os = "linux")]
use std::fs;

#[cfg(target_os = "linux")]
use crate::files::identity;

/// A process of this machine, such as one of which a service is asked whether it has started it
/// ([`crate::service::Service::has_started`]). It may end at any time: what is asked then is not
/// known.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    id: i32,
    /// Its command line as `ps` prints it; `None`: the system is asked.
    line: Option<&'a str>,
}

#[cfg_attr(not(unix), allow(dead_code, reason = "nobody is asked there"))]
impl<'a> Process<'a> {
    /// The process with that id, of which only Linux tells one by one: on other systems it seems to
    /// run nothing.
    pub const fn of(id: i32) -> Self {
        Self { id, line: None }
    }

    /// One as listed by `ps`.
    #[cfg_attr(
        target_os = "linux",
        allow(dead_code, reason = "only tests list processes with `ps` there")
    )]
    pub(crate) const fn listed(id: i32, line: &'a str) -> Self {
        Self {
            id,
            line: Some(line),
        }
    }

    /// Its id.
    pub const fn id(&self) -> i32 {
        self.id
    }

    /// Whether it runs a program's hidden command of that name
    /// ([`crate::Program::hidden`]): whether that is its first argument. Where `ps` has to tell, on
    /// systems other than Linux, whether it is one of the arguments.
    pub fn runs(&self, command: &str) -> bool {
        match self.line {
            // The program's path may contain spaces, so which argument is the first is not known.
            Some(line) => line.split(' ').skip(1).any(|word| word == command),
            None => first_argument_is(self.id, command),
        }
    }

    /// Whether it runs the file of this program, whatever its arguments. Always `false` where the
    /// system does not tell: on all but Linux.
    pub fn runs_this_program(&self) -> bool {
        runs_this_program(self.id)
    }

    /// A variable of its environment, as it was when its program started. Always `None` where the
    /// system does not tell: on all but Linux.
    pub fn variable(&self, name: &str) -> Option<Vec<u8>> {
        variable(self.id, name)
    }
}

#[cfg(target_os = "linux")]
fn first_argument_is(id: i32, argument: &str) -> bool {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(argument.as_bytes())
}

#[cfg(not(target_os = "linux"))]
const fn first_argument_is(_id: i32, _argument: &str) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn runs_this_program(id: i32) -> bool {
    let file = |of: &str| identity(format!("/proc/{of}/exe").as_ref()).ok();
    let ours = file("self");
    ours.is_some() && file(&id.to_string()) == ours
}

#[cfg(not(target_os = "linux"))]
const fn runs_this_program(_id: i32) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn variable(id: i32, name: &str) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        let value = variable.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=").map(<[u8]>::to_vec)
    })
}

#[cfg(not(target_os = "linux"))]
const fn variable(_id: i32, _name: &str) -> Option<Vec<u8>> {
    None
}

/// One process as `/proc` tells it. Its id may be reused; id and start time together are unique
/// until the machine restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its id.
    pub pid: i32,
    /// The id of its parent; that of another process once the parent has ended.
    pub parent: i32,
    /// When it started, in clock ticks since the system's start.
    pub started: u64,
    /// Whether it has ended, at least its main thread.
    pub ended: bool,
}

/// One process, also while only its main thread has ended: the others may have children. `None` if
/// there is none with that id, and always where the system does not tell: on all but Linux.
#[cfg(target_os = "linux")]
pub fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// As on Linux, where the system tells.
#[cfg(not(target_os = "linux"))]
pub const fn stat(_pid: i32) -> Option<Stat> {
    None
}

/// Parses `/proc/PID/stat`. The program's name, in brackets, may contain anything.
#[cfg(target_os = "linux")]
fn parse(pid: i32, stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Stat {
        pid,
        ended: matches!(state, "Z" | "X"),
        parent: fields.next()?.parse().ok()?,
        // The 22nd field of the line.
        started: fields.nth(17)?.parse().ok()?,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_program_is_called() {
        let tail = "1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 100 200";
        let seen = parse(7, &format!("7 (a) R 9 (x) S 3 {tail}")).unwrap();
        assert_eq!((seen.parent, seen.started), (3, 4711));
        assert!(!seen.ended && parse(7, &format!("7 (a) Z 3 {tail}")).unwrap().ended);
        assert_eq!(parse(7, "7 (a"), None);
        let this = i32::try_from(std::process::id()).unwrap();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        assert_eq!(stat(this).unwrap().parent, parent);
    }

    #[test]
    fn a_process_tells_its_command_and_its_variables() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "echo ready; read never", "x"])
            .env("BOWLINE_TEST_MARK", "here")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Its arguments are there once its program runs.
        let mut ready = [0; 6];
        let mut stdout = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut stdout, &mut ready).unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap());
        assert!(!process.runs_this_program());
        let this = i32::try_from(std::process::id()).unwrap();
        assert!(Process::of(this).runs_this_program());
        let told = (process.runs("-c"), process.variable("BOWLINE_TEST_MARK"));
        let others = (process.runs("x"), process.variable("BOWLINE_TEST"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(told, (true, Some(b"here".to_vec())));
        assert_eq!(others, (false, None));
        for line in ["/opt/a b/voxel voxel-helper ", "voxel voxel-helper --all"] {
            let listed = Process::listed(1, line);
            assert!(
                listed.runs("voxel-helper") && !listed.runs("helper"),
                "{line}"
            );
        }
        assert!(!Process::listed(1, "voxel-helper run").runs("voxel-helper"));
    }
}
