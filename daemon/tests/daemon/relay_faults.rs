//! Relays that go, fall silent or refuse, and what becomes of registration, data sockets and lanes
//! (RL-2 to RL-5, LS-3, LS-6, LS-17).

use std::time::Duration;

use bowline_daemon::relay::RelayState;
use bowline_protocol::{Reason, RouteKey, relay::RelayMessage};
use bowline_testkit::eventually;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Install, TestDaemon,
    client::Attempt,
    fake_relay::{FakeControl, FakeData, FakeRelay},
    relay::{
        daemon_at, paired_through, registered, relay, relay_behind_proxy, relay_with, shown, url,
    },
};

/// A daemon at a relay that a test plays, registered.
struct Stage {
    daemon: TestDaemon,
    fake: FakeRelay,
    control: FakeControl,
    attempt: Attempt,
    route: RouteKey,
}

impl Stage {
    async fn set() -> Self {
        let (mut fake, address) = FakeRelay::start().await;
        let daemon = TestDaemon::with(|settings| settings.relay = vec![url(address)]).await;
        let mut control = fake.registered().await;
        control.sync(&[]).await;
        registered(&daemon, 0).await;
        let install = Install::new();
        let pairing = Attempt::of_offer(&daemon.offer().await, &install);
        pairing.pair().await;
        let attempt = pairing.paired();
        let route = install.route(daemon.daemon.server_id());
        Self {
            daemon,
            fake,
            control,
            attempt,
            route,
        }
    }

    async fn opened(&mut self) {
        let session = self.route.clone();
        self.control
            .say(&RelayMessage::SessionOpened { session })
            .await;
    }

    async fn data(&mut self) -> FakeData {
        self.opened().await;
        let data = self.fake.data().await;
        assert_eq!(data.session, self.route);
        data
    }

    async fn comes_back(&mut self) {
        self.control = self.fake.registered().await;
        registered(&self.daemon, 0).await;
    }
}

#[tokio::test]
async fn a_relay_that_goes_and_comes_back_is_registered_with_again() {
    let (first, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, mut client) = paired_through(&daemon, address).await;
    first.shutdown().await;
    assert_eq!(client.ended().await, Some(4450));
    eventually("the daemon has noticed", async || {
        shown(&daemon, 0).state != RelayState::Registered
    })
    .await;
    let (_second, _) = relay_with(|settings| settings.listen = vec![address]).await;
    registered(&daemon, 0).await;
    let again = Attempt::new(&daemon, &install).through(address);
    let mut client = again.connect().await;
    assert!(client.is_served().await);
    let shown = shown(&daemon, 0);
    assert_eq!(shown.registrations, 2);
    assert!(shown.last_error.is_some());
}

#[tokio::test]
async fn ls_3_a_half_open_control_socket_is_found_by_its_silence() {
    let (_relay, address, proxy) = relay_behind_proxy().await;
    let daemon = daemon_at(&[proxy.addr()]).await;
    let before = Instant::now();
    proxy.blackhole();
    eventually("the silence shows", async || {
        shown(&daemon, 0).last_error.is_some()
    })
    .await;
    println!(
        "found after {:?} at a heartbeat of 300 ms",
        before.elapsed()
    );
    assert_eq!(
        shown(&daemon, 0).last_error.unwrap().reason,
        Reason::HeartbeatTimeout
    );
    registered(&daemon, 0).await;
    let (_, mut client) = paired_through(&daemon, address).await;
    assert!(client.is_served().await);
}

#[tokio::test]
async fn a_frozen_relay_is_given_up_and_come_back_to() {
    let (_relay, _, proxy) = relay_behind_proxy().await;
    let daemon = daemon_at(&[proxy.addr()]).await;
    for _ in 0..2 {
        let before = shown(&daemon, 0).registrations;
        proxy.freeze();
        eventually("the silence shows", async || {
            shown(&daemon, 0).state != RelayState::Registered
        })
        .await;
        proxy.thaw();
        eventually("a new registration", async || {
            let shown = shown(&daemon, 0);
            shown.registrations > before && shown.state == RelayState::Registered
        })
        .await;
    }
}

#[tokio::test]
async fn ls_6_a_half_open_data_socket_is_replaced() {
    let (_relay, address, proxy) = relay_behind_proxy().await;
    let daemon = daemon_at(&[proxy.addr()]).await;
    let (install, mut client) = paired_through(&daemon, address).await;
    proxy.blackhole();
    // The relay is told by the new data socket that the old one is void, and tells the client.
    assert_eq!(client.ended().await, Some(4404));
    let again = Attempt::new(&daemon, &install).through(address);
    eventually("the old connection is gone", async || {
        daemon.connections().is_empty()
    })
    .await;
    registered(&daemon, 0).await;
    let mut client = again.connect().await;
    assert!(client.is_served().await);
}

#[tokio::test]
async fn rl_3_data_sockets_outlive_a_registration_and_are_not_doubled() {
    let mut stage = Stage::set().await;
    let mut data = stage.data().await;
    let mut client = data.client(&stage.attempt, 1).await;
    assert!(client.is_served(&mut data).await);
    stage.control.close(1001, "").await;
    stage.comes_back().await;
    assert!(client.is_served(&mut data).await);
    stage.control.sync(&[stage.route.clone()]).await;
    stage.opened().await;
    assert!(stage.fake.no_data().await, "it has one");
    assert!(client.is_served(&mut data).await);
    assert_eq!(shown(&stage.daemon, 0).registrations, 2);
}

#[tokio::test]
async fn a_session_that_is_gone_is_let_go_and_its_successor_served() {
    let mut stage = Stage::set().await;
    let mut data = stage.data().await;
    let client = data.client(&stage.attempt, 1).await;
    // Its successor is announced before its end is heard.
    stage.opened().await;
    data.close(1000).await;
    let mut next = stage.fake.data().await;
    drop(client);
    let mut client = next.client(&stage.attempt, 1).await;
    assert!(client.is_served(&mut next).await);
    next.close(1000).await;
    assert!(stage.fake.no_data().await, "there is nobody");
    stage.daemon.quiet().await;
    assert_eq!(shown(&stage.daemon, 0).sessions, 0);
}

#[tokio::test]
async fn a_data_socket_that_is_lost_is_opened_again() {
    let mut stage = Stage::set().await;
    let data = stage.data().await;
    drop(data);
    let mut data = stage.fake.data().await;
    let mut client = data.client(&stage.attempt, 1).await;
    assert!(client.is_served(&mut data).await);
}

#[tokio::test]
async fn sync_is_the_whole_truth() {
    let mut stage = Stage::set().await;
    let mut data = stage.data().await;
    let _client = data.client(&stage.attempt, 1).await;
    stage.control.sync(&[]).await;
    eventually("the session is forgotten", async || {
        shown(&stage.daemon, 0).sessions == 0
    })
    .await;
    // It may finish, within its deadline.
    assert_eq!(data.ended().await, None);
    stage.daemon.quiet().await;
}

#[tokio::test]
async fn what_a_relay_asks_for_is_honoured_and_what_it_refuses_is_shown() {
    let mut stage = Stage::set().await;
    let began = Instant::now();
    stage
        .control
        .close(4450, "server_restarting;retryAfterMs=700")
        .await;
    stage.comes_back().await;
    assert!(began.elapsed() >= Duration::from_millis(700));
    for (code, reason) in [
        (4405, Reason::RelayTokenInvalid),
        (4415, Reason::RelayOriginUnknown),
        (4430, Reason::Replaced),
        (4407, Reason::IdentityMissing),
    ] {
        stage.control.close(code, "").await;
        eventually("the reason is shown", async || {
            let error = shown(&stage.daemon, 0).last_error;
            error.is_some_and(|error| error.reason == reason)
        })
        .await;
        // None is final (LS-12).
        stage.comes_back().await;
    }
}

#[tokio::test]
async fn rl_5_a_private_relay_is_told_its_token_and_no_other_is() {
    let (mut private, first) = FakeRelay::start().await;
    let (mut public, second) = FakeRelay::start().await;
    let _daemon = TestDaemon::with(|settings| {
        settings.relay = vec![format!("ws://s3cret@{first}").parse().unwrap(), url(second)];
    })
    .await;
    let (_, told) = private.control().await.challenge().await;
    assert_eq!(told.token.as_deref(), Some("s3cret"));
    let (_, told) = public.control().await.challenge().await;
    assert_eq!(told.token, None);
    let (_relay, address) = relay_with(|settings| {
        settings.daemon_token = Some("s3cret".into());
    })
    .await;
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec![
            format!("ws://s3cret@{address}").parse().unwrap(),
            format!("ws://wrong@{address}/").parse().unwrap(),
        ];
    })
    .await;
    eventually("the wrong token is refused", async || {
        let error = shown(&daemon, 1).last_error;
        error.is_some_and(|error| error.reason == Reason::RelayTokenInvalid)
    })
    .await;
    let advice = shown(&daemon, 1).last_error.unwrap().message;
    for place in [
        "`relay_token_file`",
        "BOWLINE_RELAY_TOKEN_FILE",
        "`relay`",
        "BOWLINE_RELAY",
    ] {
        assert!(advice.contains(place), "{place} in {advice}");
    }
    registered(&daemon, 0).await;
}

#[tokio::test]
async fn rl_4_one_lane_that_does_not_read_stalls_no_other() {
    let (_relay, address) = relay().await;
    let daemon = daemon_at(&[address]).await;
    let (install, mut lively) = paired_through(&daemon, address).await;
    let mut slow = Attempt::new(&daemon, &install)
        .through(address)
        .connect()
        .await;
    assert!(slow.is_served().await);
    // Far more than the kernel holds; nobody reads it.
    for _ in 0..40 {
        slow.ask("test.big", json!({"bytes": 900_000})).await;
    }
    let mut longest = Duration::ZERO;
    until_slow_is_closed(&daemon, &mut lively, &mut longest).await;
    println!("the longest a neighbour waited: {longest:?}");
    assert!(lively.is_served().await);
    assert_eq!(slow.ended().await, Some(4420));
}

async fn until_slow_is_closed(
    daemon: &TestDaemon,
    lively: &mut crate::support::client::Client,
    longest: &mut Duration,
) {
    let began = Instant::now();
    while daemon.connections().len() > 1 {
        let asked = Instant::now();
        assert!(lively.is_served().await);
        *longest = (*longest).max(asked.elapsed());
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is never closed"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn rl_4_lanes_are_bounded_by_the_places_of_the_daemon() {
    let (_relay, address) = relay().await;
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec![url(address)];
        settings.limits.max_connections = 2;
    })
    .await;
    registered(&daemon, 0).await;
    let (install, mut first) = paired_through(&daemon, address).await;
    let attempt = Attempt::new(&daemon, &install).through(address);
    let mut second = attempt.connect().await;
    let third = attempt.welcome().await;
    assert_eq!(third.err(), Some(Some(4429)), "turned away");
    assert!(first.is_served().await && second.is_served().await);
    drop(second);
    daemon.quiet_but(1).await;
    assert!(attempt.connect().await.is_served().await);
}

#[tokio::test]
async fn a_daemon_that_stops_tells_every_client_and_every_relay() {
    let mut stage = Stage::set().await;
    let mut data = stage.data().await;
    let client = data.client(&stage.attempt, 1).await;
    let Stage {
        daemon,
        mut control,
        ..
    } = stage;
    let began = Instant::now();
    let stopping = tokio::spawn(daemon.stop(Reason::ServerRestarting));
    assert_eq!(data.closed(client.lane).await, 4450);
    assert_eq!(data.ended().await, Some(4450));
    assert_eq!(control.ended().await, Some(4450));
    stopping.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "at once, not at a deadline"
    );
}
