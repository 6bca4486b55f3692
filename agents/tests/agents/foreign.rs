//! Clients nobody here wrote, of other languages, which work with agents on the local socket
//! (`daemon/tests/foreign`).
//!
//! They prove that the socket speaks JSON-RPC 2.0, not only what our own client takes for it. Where
//! an interpreter is missing the test says how to install it; with `CI` set that is a failure.

use crate::{
    prompted::daemon,
    support::foreign::{NODE, folder, modules, printed, run, skip},
};

#[tokio::test]
async fn sv_4_python_without_any_library() {
    let daemon = daemon().await;
    let script = folder().join("python/client.py");
    let args = [script.as_os_str(), daemon.daemon.socket().as_os_str()];
    let Some(output) = run("python3", &args, &folder()).await else {
        return skip("python3", "install it with `apt-get install python3`");
    };
    let said = printed(&output);
    assert_eq!(
        said.lines().filter(|line| line.starts_with("ok ")).count(),
        6,
        "{said}"
    );
}

#[tokio::test]
async fn sv_4_stock_clients_of_npm() {
    let Some(modules) = modules().await else {
        return skip("node, or the registry of npm,", NODE);
    };
    let daemon = daemon().await;
    let script = folder().join("node/client.mjs");
    let args = [
        script.as_os_str(),
        daemon.daemon.socket().as_os_str(),
        modules.as_os_str(),
    ];
    let output = run("node", &args, &modules).await.unwrap();
    let said = printed(&output);
    assert!(
        said.contains("ok vscode-jsonrpc") && said.contains("ok json-rpc-2.0"),
        "{said}"
    );
}
