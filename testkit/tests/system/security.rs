//! Authentication on the direct path: pinned daemons, paired devices, nothing in clear (BX-3).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bowline_protocol::{Offer, Reason};
use bowline_runtime::{HostState, PairError, Runtime};
use bowline_testkit::{
    eventually,
    world::{Client, quick_settings},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    Outcome,
    world::{LONG, World, seed},
};

#[tokio::test]
async fn bx_3_another_daemon_at_a_known_address_is_never_talked_to() -> Outcome {
    let world = World::new().await?;
    let agent = world.appender().await?;
    let impostor = world.other_daemon().await?;
    world.proxies[0].set_target(impostor.address());
    world.proxies[0].cut();
    world
        .client
        .until("the path is lost", LONG, |host| {
            host.state != HostState::Online
        })
        .await?;
    let waiting = world.effect(&agent, "for the right one")?;
    let passed = world.proxies[0].counters().accepted;
    eventually("several attempts", async || {
        world.proxies[0].counters().accepted > passed + 3
    })
    .await;
    let host = world.client.host().unwrap();
    assert_ne!(host.state, HostState::Online);
    let theirs: Value = impostor.ask("sessions").await?;
    assert_eq!(theirs["sessions"].as_array().map(Vec::len), Some(0));
    world.proxies[0].set_target(world.daemon.address());
    bowline_testkit::world::done(waiting, LONG).await?;
    world.until_effects(1).await?;
    world.done().await
}

#[tokio::test]
async fn bx_3_ls_10_an_offer_with_another_key_is_refused_and_nothing_is_kept() -> Outcome {
    let world = World::new().await?;
    let impostor = world.other_daemon().await?;
    let mut offer: Offer = world.daemon.offer().await?.parse()?;
    offer.direct = vec![impostor.address().to_string()];
    let folder = tempfile::tempdir()?;
    let runtime = Runtime::open(folder.path(), quick_settings(seed()))?;
    let refused = runtime.pair(&offer).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(runtime.subscribe().borrow().hosts.is_empty());
    assert!(!folder.path().join("hosts.json").exists());
    runtime.close().await;
    world.done().await
}

#[tokio::test]
async fn bx_3_ls_18_an_offer_pairs_one_device_once() -> Outcome {
    let world = World::new().await?;
    let offer: Offer = world.daemon.offer().await?.parse()?;
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let first = Runtime::open(folders[0].path(), quick_settings(seed()))?;
    first.pair(&offer).await?;
    let second = Runtime::open(folders[1].path(), quick_settings(seed()))?;
    match second.pair(&offer).await {
        Err(PairError::Refused(failure)) => {
            assert_eq!(failure.reason, Reason::PairingTokenInvalid);
        }
        other => panic!("a used offer came to {other:?}"),
    }
    assert!(second.subscribe().borrow().hosts.is_empty());
    first.close().await;
    second.close().await;
    world.done().await
}

#[tokio::test]
async fn bx_3_a_revoked_device_is_cut_at_once_and_told_what_to_do() -> Outcome {
    let mut world = World::new().await?;
    let devices: Value = world.daemon.ask("devices").await?;
    let device = devices["devices"][0]["deviceId"].as_str().unwrap();
    let revoked = world.daemon.command(&["devices", "revoke", device]).await?;
    assert!(revoked.status.success(), "{revoked:?}");
    let host = world
        .client
        .until("refused for good", LONG, |host| {
            host.state == HostState::Error
        })
        .await?;
    let error = host.last_error.clone().unwrap();
    assert_eq!(error.reason, Reason::DeviceRevoked);
    // Nothing is retried automatically …
    let attempts = world.proxies[0].counters().accepted;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(world.proxies[0].counters().accepted, attempts);
    // … and the user's remedy works.
    let address = world.proxies[0].addr();
    world.pair_again(&[address]).await?;
    world.client.online().await?;
    world.done().await
}

/// Forwards bytes and keeps a copy.
async fn tap(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let notes = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let daemon = TcpStream::connect(target).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_daemon, to_daemon) = daemon.into_split();
            for (mut from, mut to) in [(from_client, to_daemon), (from_daemon, to_client)] {
                let notes = Arc::clone(&notes);
                tokio::spawn(async move {
                    let mut buffer = [0; 4_096];
                    while let Ok(count @ 1..) = from.read(&mut buffer).await {
                        notes.lock().unwrap().extend_from_slice(&buffer[..count]);
                        if to.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    (address, seen)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn bx_3_nothing_of_a_session_can_be_read_on_the_way() -> Outcome {
    let world = World::new().await?;
    let (address, seen) = tap(world.daemon.address()).await;
    let folder = tempfile::tempdir()?;
    let mut client = Client::open(folder.path(), quick_settings(seed()))?;
    client.pair(&world.daemon, &[address]).await?;
    client.online().await?;
    let agent = client.agent("stream", &world.work(), Some("3")).await?;
    let follower = bowline_testkit::world::Follower::new(&client, &agent).await?;
    follower.until_ended(1).await?;
    let session_key = client
        .runtime()
        .profile()
        .client_session_key(&client.server_id()?);
    client.runtime().close().await;
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() > 1_000);
    assert!(
        contains(&seen, "/v1/session"),
        "the tap sees what is in clear"
    );
    for secret in [
        session_key.as_str(),
        "agents.create",
        "clientSessionKey",
        "\"pairing\"",
        "line 1",
        "jsonrpc",
    ] {
        assert!(
            !contains(&seen, secret),
            "`{secret}` can be read on the way"
        );
    }
    world.done().await
}
