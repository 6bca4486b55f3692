//! A session under random cuts, switches, acknowledgements and kills, against a model: what the
//! client has applied is what was announced, each once, in order. The seed is in every failure.

use bowline_machines::prng::SplitMix64;
use bowline_protocol::SessionState;

use crate::rig::{Link, Rig};

const SEEDS: u64 = 25;
const STEPS: u32 = 80;

/// A client with up to three connections and one cursor.
struct Client {
    links: Vec<Link>,
    heard: Vec<usize>,
}

impl Client {
    /// Reads one connection; what another has delivered already is dropped by its number.
    fn read(&mut self, at: usize) {
        let applied = self.links[at].heard();
        self.heard.extend(applied);
        let cursor = self.links[at].cursor.clone();
        for link in &mut self.links {
            if link.cursor.last_seq < cursor.last_seq {
                link.cursor = cursor.clone();
            }
        }
    }
}

#[tokio::test]
async fn bx_2_bx_4_nothing_is_lost_or_repeated_whatever_happens() {
    for seed in 0..SEEDS {
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut random = SplitMix64::new(seed);
    let mut rig = Rig::new();
    let app = rig.paired().await;
    let first = rig.attach(&app).await.unwrap();
    let mut cursor = first.cursor.clone();
    let mut client = Client {
        links: vec![first],
        heard: Vec::new(),
    };
    let mut announced = 0;
    for step in 0..STEPS {
        let pick = |random: &mut SplitMix64, count: usize| {
            usize::try_from(random.next_u64() % count as u64).unwrap()
        };
        match random.next_u64() % 12 {
            0..=4 => {
                rig.announce(announced).await;
                announced += 1;
            }
            5 | 6 if !client.links.is_empty() => {
                let at = pick(&mut random, client.links.len());
                client.read(at);
            }
            7 if !client.links.is_empty() => {
                let at = pick(&mut random, client.links.len());
                client.read(at);
                client.links[at]
                    .attachment
                    .ack(client.links[at].cursor.last_seq);
            }
            8 if !client.links.is_empty() => {
                // Cut with whatever was on the way.
                let at = pick(&mut random, client.links.len());
                let link = client.links.swap_remove(at);
                cursor = link.cursor.clone();
            }
            9 => {
                rig.clock().advance(std::time::Duration::from_secs(6));
                rig.settle().await;
            }
            10 => {
                if let Some(link) = client.links.first() {
                    cursor = link.cursor.clone();
                }
                rig = rig.kill();
                client.links.clear();
            }
            _ => {
                if let Some(link) = client.links.first() {
                    cursor = link.cursor.clone();
                }
                if client.links.len() < 3 {
                    let link = rig.attach(&app.resuming(&cursor)).await.unwrap();
                    assert_eq!(
                        link.state,
                        SessionState::Resumed,
                        "seed {seed}, step {step}"
                    );
                    client.links.push(link);
                }
            }
        }
        let expected: Vec<usize> = (0..client.heard.len()).collect();
        assert_eq!(client.heard, expected, "seed {seed}, step {step}");
    }
    if let Some(link) = client.links.first() {
        cursor = link.cursor.clone();
    }
    client.links.clear();
    client
        .links
        .push(rig.attach(&app.resuming(&cursor)).await.unwrap());
    client.read(0);
    let expected: Vec<usize> = (0..announced).collect();
    assert_eq!(client.heard, expected, "seed {seed}, at the end");
}
