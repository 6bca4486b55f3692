//! End to end over separate links: client, daemon and relay in their own network namespaces, the
//! direct path on one link and the relay's on two others, which go down and up again during a
//! stream.
//!
//! The client's link to the relay is slow and lossy: by `tc netem` where the kernel supports it,
//! else by a proxy on the client's machine.

use std::time::Duration;

use bowline_runtime::{HostState, Intent, machines::Path};
use bowline_testkit::{
    Proxy,
    world::{
        Client, DaemonOptions, DaemonProcess, Follower, RelayOptions, RelayProcess, done,
        quick_settings,
    },
};
use tokio::time::Instant;

use crate::{
    Outcome, log,
    netns_machines::{Link, Machine, Machines, Unsupported, enter},
    world::{LONG, Plan, options, seed},
};

/// Delay that the link between client and relay adds to a round trip …
const DELAY: Duration = Duration::from_millis(300);
/// … and its loss in percent of packets.
const LOSS: u8 = 5;
/// Retransmission delay of TCP: about two round trips.
const AGAIN: Duration = Duration::from_millis(600);

#[test]
fn bx_2_direct_and_relay_are_different_links_and_the_session_moves_between_them() {
    let test = "the session moves between links";
    let machines = match Machines::new() {
        Ok(machines) => machines,
        Err(unsupported) => return unsupported.tell(test),
    };
    let told = machines.inside(Machine::Client, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(story(&machines)).unwrap();
        Ok(())
    });
    if let Err(unsupported) = told {
        unsupported.tell(test);
    }
}

/// The participants in their namespaces.
struct Stage {
    client: Client,
    daemon: DaemonProcess,
    _relay: RelayProcess,
    /// Replaces `tc netem`.
    _proxy: Option<Proxy>,
    root: tempfile::TempDir,
}

impl Stage {
    async fn set(machines: &Machines) -> Result<Self, Box<dyn std::error::Error>> {
        let told = |unsupported: Unsupported| format!("{unsupported:?}");
        let root = tempfile::tempdir()?;
        std::fs::create_dir(root.path().join("work"))?;
        enter(Machine::Relay).map_err(told)?;
        let relay = RelayProcess::start(RelayOptions {
            listen: "0.0.0.0:0".parse()?,
            heartbeat: Duration::from_secs(1),
            ..RelayOptions::default()
        })
        .await?;
        let port = relay.address().port();
        let at = |link: Link| format!("{}:{port}", link.address(Machine::Relay));
        enter(Machine::Daemon).map_err(told)?;
        let daemon = DaemonProcess::start(DaemonOptions {
            listen: vec![format!("{}:0", Link::Direct.address(Machine::Daemon)).parse()?],
            args: vec!["--relay".to_owned(), format!("ws://{}", at(Link::Far))],
            ..options(root.path(), "", &Plan::default())?
        })
        .await?;
        daemon.registered().await?;
        enter(Machine::Client).map_err(told)?;
        let (delay, loss) = (format!("{}ms", DELAY.as_millis()), format!("{LOSS}%"));
        let by_kernel = machines.worsen(Link::Near, Machine::Client, &delay, &loss);
        let (proxy, near) = if by_kernel {
            (None, at(Link::Near).parse()?)
        } else {
            let proxy = Proxy::start(at(Link::Near).parse()?).await?;
            proxy.delay(DELAY / 2);
            proxy.lose(LOSS, AGAIN);
            let near = proxy.addr();
            (Some(proxy), near)
        };
        println!(
            "delay and loss by {}",
            if by_kernel { "tc netem" } else { "a proxy" }
        );
        let mut client = Client::open(root.path().join("client"), quick_settings(seed()))?;
        client
            .pair_over(&daemon, &[daemon.address()], &[near])
            .await?;
        Ok(Self {
            client,
            daemon,
            _relay: relay,
            _proxy: proxy,
            root,
        })
    }

    /// Waits until the client is online on a path and has received a line there; returns the time.
    async fn on(
        &self,
        path: Path,
        follower: &Follower,
    ) -> Result<Duration, Box<dyn std::error::Error>> {
        let began = Instant::now();
        self.client
            .until(&format!("online, {path}"), LONG, |host| {
                host.state == HostState::Online && host.path == Some(path)
            })
            .await?;
        follower.until_lines(follower.lines() + 1).await?;
        Ok(began.elapsed())
    }
}

async fn story(machines: &Machines) -> Outcome {
    log::keep();
    let mut stage = Stage::set(machines).await?;
    let client = &stage.client;
    let work = stage.root.path().join("work");
    let agent = client.agent("stream", &work, Some("1000000")).await?;
    let appender = client.agent("append", &work, None).await?;
    let follower = Follower::new(client, &agent).await?;
    stage.on(Path::Direct, &follower).await?;

    // The client's interface goes down: nothing is reset, so only silence reveals it.
    machines.set_end(Link::Direct, Machine::Client, false);
    let silent = stage.on(Path::Relay, &follower).await?;
    println!("link down to first line over the relay: {silent:?}");
    assert!(silent < Duration::from_secs(15), "{silent:?}");
    machines.set_end(Link::Direct, Machine::Client, true);
    let back = stage.on(Path::Direct, &follower).await?;
    println!("link up to first line over it: {back:?}");

    // The other end goes down, and the system reports a network change to the app.
    machines.set_end(Link::Direct, Machine::Daemon, false);
    client.runtime().network_changed();
    let told = stage.on(Path::Relay, &follower).await?;
    println!("link down with a network change to first line over the relay: {told:?}");
    assert!(told < Duration::from_secs(8), "{told:?}");

    // Now only the relay's links are left, and fail too, silently.
    machines.set(Link::Far, false);
    let sent = client.send(Intent::SendPrompt {
        agent_id: appender.clone(),
        text: "while no link is whole".to_owned(),
    })?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    machines.set(Link::Far, true);
    let healed = stage.on(Path::Relay, &follower).await?;
    println!("the relay's link up to first line over it: {healed:?}");
    done(sent, LONG).await?;

    machines.set_end(Link::Direct, Machine::Daemon, true);
    stage.on(Path::Direct, &follower).await?;
    // With the direct link up, losing the relay's changes nothing.
    let before = client.online().await?.generation;
    machines.set(Link::Near, false);
    follower.until_lines(follower.lines() + 200).await?;
    assert_eq!(client.online().await?.generation, before);

    let cancel = Intent::Cancel {
        agent_id: agent.clone(),
    };
    client.run(cancel).await?;
    follower.until_ended(1).await?;
    follower.check(client).await?;
    let counters = client.counters();
    println!("{} lines, {counters:?}", follower.lines());
    assert_eq!((counters.event_gaps, counters.reset), (0, 1));
    client.runtime().close().await;
    let log = std::fs::read_to_string(stage.root.path().join("daemon.log"))?;
    assert_eq!(log::errors(&log), Vec::<String>::new());
    stage.daemon.stop().await?;
    Ok(())
}
