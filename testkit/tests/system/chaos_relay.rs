//! Chaos on two paths: the direct path, both connections of the relay, and the relay itself are
//! cut, frozen, blackholed and restarted at random, concurrently and repeatedly. After each storm
//! everything recovers within seconds.
//!
//! The seed is printed; `BOWLINE_SEED` repeats a run.

use std::time::Duration;

use bowline_protocol::AgentId;
use bowline_runtime::{HostState, Intent, Receipt};
use bowline_testkit::{
    Chaos, Plan as ChaosPlan, eventually,
    random::Random,
    world::{Follower, done},
};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    relay_world::{RelayPlan, RelayWorld},
    world::{LONG, seed},
};

/// Storms, each followed by a healthy period.
const STORMS: u64 = 8;
/// Duration of a storm.
const STORM: Duration = Duration::from_secs(4);
/// Time for recovery after a storm (the requirement).
const CONVERGED: Duration = Duration::from_secs(5);
/// Log lines from before the end of a storm that are printed for a slow recovery.
const BEFORE: usize = 40;
/// Pause between intents.
const PACE: Duration = Duration::from_millis(20);

/// The client's side: intents on several agents in rotation.
struct Sender {
    agents: Vec<AgentId>,
    sent: Vec<Receipt>,
}

impl Sender {
    fn send(&mut self, world: &RelayWorld) -> Outcome {
        let number = self.sent.len();
        let agent = &self.agents[number % self.agents.len()];
        self.sent.push(world.client.send(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: number.to_string(),
        })?);
        Ok(())
    }
}

/// Faults of the relay process during a storm.
#[derive(Debug, Default)]
struct Relayed {
    kills: u32,
    stops: u32,
    freezes: u32,
}

impl Relayed {
    async fn strike(&mut self, world: &mut RelayWorld, random: &mut Random) -> Outcome {
        let length = random.between(Duration::from_millis(50), Duration::from_millis(500));
        match random.below(3) {
            0 => {
                self.kills += 1;
                world.relay.kill().await?;
                sleep(length).await;
                world.relay.start_again().await?;
            }
            1 => {
                self.stops += 1;
                world.relay.stop().await?;
                world.relay.start_again().await?;
            }
            // A suspended process: sockets stay open without answers.
            _ if cfg!(unix) => {
                self.freezes += 1;
                world.relay.freeze(true)?;
                sleep(length).await;
                world.relay.freeze(false)?;
            }
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test]
async fn bx_1_bx_2_chaos_on_both_paths_and_the_relay_is_over_within_five_seconds_of_health()
-> Outcome {
    println!("BOWLINE_SEED={}", seed());
    let mut world = RelayWorld::with(RelayPlan {
        log: "debug",
        ..RelayPlan::default()
    })
    .await?;
    let mut random = Random::new(seed());
    let stream = world.streamer(1_000_000).await?;
    let follower = Follower::new(&world.client, &stream).await?;
    let mut agents = Vec::new();
    for _ in 0..16 {
        agents.push(world.client.agent("append", &world.work(), None).await?);
    }
    let sent = Vec::new();
    let mut sender = Sender { agents, sent };
    let mut relayed = Relayed::default();
    let mut health = Vec::new();
    for storm in 0..STORMS {
        let ways = [&world.direct, &world.near, &world.far].map(Clone::clone);
        let mut chaos = Vec::new();
        for (n, way) in (0..).zip(&ways) {
            let mut plan = ChaosPlan::new(seed() + 10 * storm + n);
            plan.blackholes = true;
            chaos.push(Chaos::start(way.clone(), &plan));
        }
        let until = Instant::now() + STORM;
        let mut strike = Instant::now() + random.between(STORM / 8, STORM / 2);
        while Instant::now() < until {
            sender.send(&world)?;
            sleep(PACE).await;
            if Instant::now() > strike {
                relayed.strike(&mut world, &mut random).await?;
                strike = Instant::now() + random.between(STORM / 8, STORM / 2);
            }
        }
        // In rotation one of the two paths is down when the storm ends.
        let missing = &ways[usize::try_from(storm % 2)?];
        missing.refuse(true);
        for chaos in chaos {
            chaos.stop().await;
        }
        missing.cut();
        let before = world.logs().len();
        let took = converged(&world, &mut sender, &follower).await?;
        if took > CONVERGED / 2 {
            println!("the recovery after storm {storm} took {took:?}; who waited for what:");
            let lines = world.logs();
            let lines = lines.iter().skip(before.saturating_sub(BEFORE));
            lines.for_each(|line| println!("{line}"));
        }
        health.push(took);
        missing.refuse(false);
    }
    println!("{relayed:?}, whole again after {health:?}");
    let counters = world.client.counters();
    println!(
        "{counters:?}, {} lines, {} intents",
        follower.lines(),
        sender.sent.len()
    );
    assert!(relayed.kills + relayed.stops + relayed.freezes > 0);
    assert!(health.iter().all(|took| *took < CONVERGED), "{health:?}");
    assert!(counters.switches > 0, "{counters:?}");

    let asked = sender.sent.len();
    for intent in sender.sent {
        done(intent, LONG).await?;
    }
    eventually("every effect", async || world.effects().len() >= asked).await;
    let mut effects = world.effects();
    assert_eq!(effects.len(), asked);
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), asked, "none twice");
    let cancel = Intent::Cancel { agent_id: stream };
    world.client.run(cancel).await?;
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    assert_eq!(world.sessions().await?.len(), 1);
    world.unbroken().await?;
    world.done().await
}

/// Time until the client is online, a new intent has its outcome, and the stream flows.
async fn converged(
    world: &RelayWorld,
    sender: &mut Sender,
    follower: &Follower,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let lines = follower.lines();
    sender.send(world)?;
    world
        .client
        .until("online with nothing pending", LONG, |host| {
            host.state == HostState::Online && host.intents.pending == 0
        })
        .await?;
    follower.until_lines(lines + 1).await?;
    Ok(began.elapsed())
}
