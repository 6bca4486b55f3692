//! What a device's grant includes of agents: providers and folders (TR-4).

use std::path::Path;

use bowline_protocol::{AgentSummary, Grant, Role, RpcReason, error::RpcError};

use super::roots::Roots;

/// Checks that the grant includes agents of a provider.
///
/// # Errors
/// `not_granted`, with the providers that it includes.
pub(super) fn check_provider(grant: &Grant, provider: &str) -> Result<(), RpcError> {
    if grant.includes_provider(provider) {
        return Ok(());
    }
    let those = grant.providers.as_deref().unwrap_or_default().join("`, `");
    Err(RpcError::new(
        RpcReason::NotGranted,
        format!("this device may use the providers `{those}` only, and not `{provider}`"),
    ))
}

/// Whether a device with this grant may have an agent of a provider run a turn.
pub(super) fn may_prompt(grant: &Grant, provider: &str) -> bool {
    grant.role >= Role::Operator && grant.includes_provider(provider)
}

/// Checks that the grant includes an agent, by its provider and its folder as written. The folder
/// itself was looked at when the agent was created, and is when a turn begins.
///
/// # Errors
/// `not_granted`.
pub(super) fn check(grant: &Grant, agent: &AgentSummary) -> Result<(), RpcError> {
    check_provider(grant, &agent.provider)?;
    let Some(roots) = &grant.roots else {
        return Ok(());
    };
    let cwd = Path::new(&agent.cwd);
    let is_plain = cwd
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    if is_plain && roots.iter().any(|root| cwd.starts_with(root)) {
        Ok(())
    } else {
        Err(outside(&agent.cwd, roots))
    }
}

/// The folder without links, if it lies within the roots. Accesses the file system: not for the
/// ledger's thread.
///
/// # Errors
/// `not_granted`, with the roots.
pub(super) fn within(cwd: &str, roots: &[String]) -> Result<String, RpcError> {
    let limits = Roots::parse(roots).map_err(|wrong| RpcError::internal(wrong.to_string()))?;
    limits
        .check(Path::new(cwd))
        .map_err(|_| outside(cwd, roots))?;
    let real = std::fs::canonicalize(cwd).ok();
    real.and_then(|real| real.into_os_string().into_string().ok())
        .ok_or_else(|| outside(cwd, roots))
}

fn outside(cwd: &str, roots: &[String]) -> RpcError {
    RpcError::new(
        RpcReason::NotGranted,
        format!(
            "this device may use the folders `{}` only, and `{cwd}` is not in them",
            roots.join("`, `")
        ),
    )
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn tr_4_no_link_leads_out_of_the_folders_of_a_grant() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for name in ["src/app", "secret", "src-old"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        std::os::unix::fs::symlink(path("secret"), path("src/link")).unwrap();
        let roots = [path("src"), path("missing")];
        let real = |name: &str| within(&path(name), &roots);
        let app = std::fs::canonicalize(path("src/app")).unwrap();
        assert_eq!(real("src/app/../app").unwrap(), app.to_str().unwrap());
        assert!(real("src").is_ok());
        for outside in [
            "secret",
            "src-old",
            "src/link",
            "src/../secret",
            "missing/x",
            "nowhere",
        ] {
            let refused = real(outside).unwrap_err();
            assert_eq!(refused.reason(), Some(RpcReason::NotGranted), "{outside}");
        }
    }
}
