//! How a program of the world is asked to end.

use std::time::Duration;

use tokio::{process::Child, time::timeout};

use super::WorldError;

/// How long a program may take to end after it was asked to.
const DEADLINE: Duration = Duration::from_secs(15);

/// Asks it to end (SIGTERM) and waits for it; elsewhere than on Unix it is killed.
///
/// # Errors
/// When it does not end by itself. `who` names it there.
pub(super) async fn end(child: &mut Child, who: &str) -> Result<(), WorldError> {
    #[cfg(unix)]
    if let Some(pid) = child.id() {
        let asked = tokio::process::Command::new("kill")
            .arg(pid.to_string())
            .status()
            .await;
        asked.map_err(WorldError::io(format!("asking the {who} to end")))?;
    }
    #[cfg(not(unix))]
    child
        .start_kill()
        .map_err(WorldError::io(format!("ending the {who}")))?;
    match timeout(DEADLINE, child.wait()).await {
        Ok(ended) => ended
            .map(drop)
            .map_err(WorldError::io(format!("the {who}'s end"))),
        Err(_) => Err(WorldError::Unexpected(format!(
            "the {who} did not end when asked to"
        ))),
    }
}
