//! The programs built for Windows, run by Wine. `cargo xtask windows` builds and prepares them and
//! runs these tests, which are ignored everywhere else.

mod client;
mod console;
mod exit_code;
mod server;

use bowline_testkit::world::Wine;

use crate::world::Plan;

fn wine() -> Wine {
    Wine::from_environment().unwrap()
}

/// A world whose daemon is the Windows build.
fn plan() -> Plan {
    Plan {
        wine: Some(wine()),
        ..Plan::default()
    }
}
