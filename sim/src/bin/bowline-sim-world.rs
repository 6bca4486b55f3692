//! A world for tests in other languages: a real daemon behind two paths that can be cut, told what to do line by line.
//!
//! It is started with nothing and prints `{"event":"ready",…}`. Each line of its standard input is an order as JSON, and
//! each order has one line of answer, `{"ok":true,…}` or `{"ok":false,"error":…}`. It ends, with all it started, when its
//! standard input does. The orders are in [`bowline_sim::world::orders`].

use std::process::ExitCode;

use bowline_sim::world::orders::World;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match World::start().await {
        Ok(world) => match world.obey().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &bowline_sim::world::WorldError) -> ExitCode {
    bowline_program::complain!("bowline-sim-world: {error}");
    ExitCode::FAILURE
}
