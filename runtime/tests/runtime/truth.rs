//! A single source of truth for a host's connectivity (INV-6).

use bowline_protocol::Reason;
use bowline_runtime::{DirectoryState, HostSnapshot, HostState};

use crate::rig::{Rig, is_ready};

/// Everything a snapshot shows about the connection must follow from the host machine's state.
fn consistent(host: &HostSnapshot) {
    let is_online = host.state == HostState::Online;
    assert_eq!(host.path.is_some(), is_online, "{host:#?}");
    assert_eq!(host.address.is_some(), is_online, "{host:#?}");
    if is_online {
        assert!(host.last_error.is_none(), "{host:#?}");
    }
    if host.state == HostState::Degraded {
        assert!(host.last_error.is_some(), "{host:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn inv_6_every_snapshot_says_one_thing_about_the_connection() {
    let rig = Rig::online(&["a:1"]).await;
    let mut snapshots = rig.runtime.subscribe();
    let watching = tokio::spawn(async move {
        let (mut states, mut generation) = (Vec::new(), 0);
        while snapshots.changed().await.is_ok() {
            let Some(host) = snapshots.borrow_and_update().hosts.first().cloned() else {
                break;
            };
            consistent(&host);
            assert!(host.generation >= generation, "a generation went back");
            generation = host.generation;
            if states.last() != Some(&host.state) {
                states.push(host.state);
            }
        }
        states
    });
    for _ in 0..3 {
        rig.daemon.cut("a:1", Reason::ConnectionLost);
        rig.until("degraded", |host| host.state == HostState::Degraded)
            .await;
        rig.until("online", is_ready).await;
    }
    rig.runtime.close().await;
    drop(rig);
    let states = watching.await.unwrap();
    assert!(
        states
            .windows(2)
            .filter(|two| two == &[HostState::Degraded, HostState::Online])
            .count()
            == 3,
        "{states:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn ds_3_a_host_that_cannot_be_reached_shows_an_error_and_no_skeleton() {
    let mut rig = Rig::online(&["a:1"]).await;
    rig.net.refuse("a:1");
    rig.restart().await;
    let mut directory = rig.runtime.directory();
    assert!(directory.current().loading, "it is being reached for");
    let host = rig
        .until("an error", |host| !host.directory.state.is_loading())
        .await;
    assert_eq!(
        host.directory.state,
        DirectoryState::ErrorBeforeFirstSuccess
    );
    assert!(host.directory.error.is_some());
    while directory.current().loading {
        directory.next().await.unwrap();
    }
    rig.daemon.listen(&rig.net, "a:1");
    rig.until("the list", is_ready).await;
}
