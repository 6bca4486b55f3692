//! A world for tests in other languages: a real daemon behind two breakable paths, controlled by
//! lines of JSON.
//!
//! It starts without arguments, or with `voxel` for the daemon of `daemon/examples/voxel.rs`, which
//! has a live table, or with `voxel-daemon` for that of `examples/voxel`, and prints
//! `{"event":"ready",…}`. Each line of standard input is a command in JSON with one line of answer,
//! `{"ok":true,…}` or `{"ok":false,"error":…}`. At the end of standard input it ends with
//! everything it started. The commands are in
//! [`bowline_testkit::world::orders`].

use std::process::ExitCode;

use bowline_testkit::world::orders::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let program = match std::env::args().nth(1).as_deref() {
        None => "bowline-daemon",
        Some("voxel") => "examples/voxel",
        Some("voxel-daemon") => "voxel-daemon",
        Some(other) => {
            bowline_program::complain!("bowline-testkit-world: there is no {other}");
            return ExitCode::FAILURE;
        }
    };
    match World::start(program).await {
        Ok(world) => match world.obey().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &bowline_testkit::world::WorldError) -> ExitCode {
    bowline_program::complain!("bowline-testkit-world: {error}");
    ExitCode::FAILURE
}
