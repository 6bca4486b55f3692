//! The local socket of Windows: access and failures. `cargo xtask windows` runs these tests under
//! Wine.

#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs::File, time::Duration};

use bowline_local::{ConnectError, Endpoint, EndpointError, ListenError, Stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::windows::named_pipe::ServerOptions,
};
use windows_permissions::{
    LocalBox, Sid,
    constants::{AccessRights, AceType, SeObjectType, SecurityInformation},
    utilities::current_process_sid,
    wrappers::{GetSecurityInfo, SetSecurityInfo},
};

/// Timeout of every wait, generous for slow machines; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(format!(
        r"\\.\pipe\bowline-test-{name}-{}",
        std::process::id()
    ))
    .unwrap()
}

async fn echo(mut stream: Stream) {
    let mut bytes = [0; 64];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        stream.write_all(&bytes[..count]).await.unwrap();
    }
}

async fn is_answered(mut stream: Stream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer));
    read.await.unwrap().unwrap();
    assert_eq!(answer, text.as_bytes());
}

#[test]
fn only_a_pipe_name_is_an_endpoint() {
    assert!(Endpoint::new(r"\\.\pipe\bowline").is_ok());
    for wrong in [r"C:\bowline", r"\\.\pipe\", r"\\.\pipe\a\b"] {
        let error = Endpoint::new(wrong).unwrap_err();
        assert!(matches!(error, EndpointError::Malformed { .. }), "{error}");
    }
    let long = format!(r"\\.\pipe\{}", "x".repeat(300));
    let error = Endpoint::new(long).unwrap_err();
    assert!(matches!(error, EndpointError::TooLong { .. }), "{error}");
}

/// The first instance and later ones have the same access list: the user, administrators and the
/// system.
#[tokio::test]
async fn tr_17_nobody_but_the_user_and_administrators_may_open_the_pipe() {
    let endpoint = endpoint("access");
    let mut listener = endpoint.listen().unwrap();
    let sid = |name: &str| name.parse::<LocalBox<Sid>>().unwrap();
    let allowed = [sid("SY"), sid("BA"), current_process_sid().unwrap()];
    for _ in 0..2 {
        let client = File::options()
            .read(true)
            .write(true)
            .open(endpoint.path())
            .unwrap();
        let _served = listener.accept().await.unwrap();
        let access = GetSecurityInfo(
            &client,
            SeObjectType::SE_KERNEL_OBJECT,
            SecurityInformation::Dacl,
        );
        let access = access.unwrap();
        let list = access
            .dacl()
            .expect("without a list everyone may do everything");
        assert_eq!(list.len() as usize, allowed.len());
        for (index, allowed) in (0..).zip(&allowed) {
            let entry = list.get_ace(index).unwrap();
            assert_eq!(entry.ace_type(), AceType::ACCESS_ALLOWED_ACE_TYPE);
            assert_eq!(entry.sid(), Some(&**allowed));
            assert_eq!(entry.mask(), AccessRights::FileAllAccess);
        }
    }
}

#[tokio::test]
async fn a_daemon_that_has_ended_is_not_reachable() {
    let endpoint = endpoint("nobody");
    let listener = endpoint.listen().unwrap();
    endpoint.connect(PATIENCE).await.unwrap();
    drop(listener);
    let error = endpoint.connect(PATIENCE).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::NotReachable { .. }),
        "{error}"
    );
    endpoint.listen().unwrap();
}

/// No process can sit between a daemon and its clients by taking the same name. Not under Wine 8,
/// which does not enforce it.
#[tokio::test]
async fn a_name_has_one_first_instance() {
    let endpoint = endpoint("name");
    let first = endpoint.listen().unwrap();
    let error = endpoint.listen().unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    drop(first);
    endpoint.listen().unwrap();
}

/// Another user took the name while no daemon ran. Only administrators can create such a pipe for
/// this test.
#[tokio::test]
async fn tr_17_a_pipe_of_another_user_is_no_daemon() {
    let endpoint = endpoint("stranger");
    let mut pipe = ServerOptions::new()
        .write_owner(true)
        .create(endpoint.path())
        .unwrap();
    let guest: LocalBox<Sid> = "LG".parse().unwrap();
    let given = SetSecurityInfo(
        &mut pipe,
        SeObjectType::SE_KERNEL_OBJECT,
        SecurityInformation::Owner,
        Some(&guest),
        None,
        None,
        None,
    );
    if given.is_err() {
        eprintln!("skipped: this user may not give a pipe away");
        return;
    }
    let (_came, refused) = tokio::join!(pipe.connect(), endpoint.connect(PATIENCE));
    let error = refused.unwrap_err();
    let ConnectError::Stranger { user, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*user, guest.to_string());
    let said = error.to_string();
    assert!(
        said.contains("nothing was sent") && said.contains("--socket"),
        "{said}"
    );
    // It was told nothing: the client is gone without a byte.
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, pipe.read_to_end(&mut heard));
    let _ = end.await.unwrap();
    assert_eq!(heard, b"");
}

#[tokio::test]
async fn clients_that_come_and_go_keep_nobody_else_out() {
    let endpoint = endpoint("clients");
    let mut listener = endpoint.listen().unwrap();
    for _ in 0..3 {
        // The client is gone before the accept: it may fail, and the next one works.
        drop(
            File::options()
                .read(true)
                .write(true)
                .open(endpoint.path())
                .unwrap(),
        );
        let _ = listener.accept().await;
    }
    let serving = tokio::spawn(async move {
        loop {
            if let Ok(stream) = listener.accept().await {
                tokio::spawn(echo(stream));
            }
        }
    });
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(endpoint.connect(PATIENCE).await.unwrap());
    }
    for (number, client) in clients.into_iter().enumerate() {
        is_answered(client, &format!("client {number}")).await;
    }
    serving.abort();
}
