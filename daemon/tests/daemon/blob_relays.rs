//! Blobs through a relay, and over a switch from the direct path to it (LD-8).

use bowline_protocol::BlobHash;
use bowline_runtime::{BlobSink, BlobSource, Transfer, TransferState, machines::Path};
use bowline_testkit::Proxy;

use crate::support::{
    TestDaemon,
    app::App,
    gallery::{blob, services},
    relay::{registered, relay_behind_proxy, url},
    within,
};

const SIZE: usize = 12 << 20;

async fn until_path(app: &App, path: Path) {
    let mut snapshots = app.runtime.subscribe();
    let found = snapshots.wait_for(|now| now.hosts.iter().any(|host| host.path == Some(path)));
    within("the path", found).await.unwrap();
}

/// Has a transfer stop on the direct path in the middle of its bytes, where that path ends.
async fn stops_on_the_direct_path(app: &App, transfer: &Transfer) {
    let mut progress = transfer.progress();
    let half_way =
        progress.wait_for(|now| now.state == TransferState::Moving && now.done > 1 << 20);
    within("some of it", half_way).await.unwrap();
    app.proxies[0].refuse(true);
    app.proxies[0].cut();
    assert_eq!(progress.borrow().state, TransferState::Moving);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_8_a_blob_goes_through_a_relay_and_over_a_switch_from_the_direct_path_to_it() {
    let (_relay, _, by_relay) = relay_behind_proxy().await;
    let daemon = TestDaemon::of(services(), |settings| {
        settings.relay = vec![url(by_relay.addr())];
    })
    .await;
    registered(&daemon, 0).await;
    let direct = Proxy::start(daemon.address()).await.unwrap();
    direct.refuse(true);
    let app = App::paired_over(&daemon, vec![direct.clone()], Some(by_relay)).await;
    until_path(&app, Path::Relay).await;
    let put = |bytes: &[u8]| {
        let source = BlobSource::Bytes(bytes.to_vec().into());
        app.runtime.put_blob(&app.host, source).unwrap()
    };
    let get = |hash: BlobHash| {
        let got = app.runtime.get_blob(&app.host, hash, None, BlobSink::Bytes);
        got.unwrap()
    };

    // All of it through the relay.
    let (bytes, _) = blob(3 << 20, 1);
    let hash = within("put", put(&bytes).outcome()).await.unwrap().hash;
    let got = within("got", get(hash).outcome()).await.unwrap();
    assert!(got.bytes.unwrap() == bytes);

    // Begun on the direct path, of which more than half of the bytes cannot pass.
    let (bytes, _) = blob(SIZE, 2);
    let on_direct = async || {
        direct.refuse(false);
        until_path(&app, Path::Direct).await;
        direct.pass_only(4 << 20);
    };
    on_direct().await;
    let up = put(&bytes);
    stops_on_the_direct_path(&app, &up).await;
    let hash = within("put", up.outcome()).await.unwrap().hash;
    until_path(&app, Path::Relay).await;
    assert_eq!(hash, BlobHash::of(&bytes));
    direct.thaw();
    on_direct().await;
    let down = get(hash);
    stops_on_the_direct_path(&app, &down).await;
    let got = within("got", down.outcome()).await.unwrap();
    until_path(&app, Path::Relay).await;
    assert!(got.bytes.unwrap() == bytes);
    let counters = app.runtime.counters(&app.host).unwrap();
    assert_eq!(counters.reset, 1, "one session for all of it: {counters:?}");
}
