//! The programs built for Windows, run by Wine. `cargo xtask windows` builds and prepares them and
//! runs these tests, which are ignored everywhere else.

mod client;
mod console;
mod server;

use std::process::ExitStatus;

use bowline_testkit::world::Wine;

use crate::world::Plan;

fn wine() -> Wine {
    Wine::from_environment().unwrap()
}

/// Whether a program ended with this exit code. A Unix signal is none of Windows: it ends what is
/// left of a program on the Unix side while Wine takes it down, and the exit code is not told then.
/// What the program wrote has to suffice; a crash of the program itself is an exit code. The
/// consoles' tests ask Windows for the code.
fn ended_with(code: i32, status: ExitStatus) -> bool {
    status.code().is_none_or(|told| told == code)
}

/// A world whose daemon is the Windows build.
fn plan() -> Plan {
    Plan {
        wine: Some(wine()),
        ..Plan::default()
    }
}
