//! Every history of a daemon's registrations at a relay, with sockets that end late, slow readers
//! and sessions of a friend and of strangers.

use std::collections::{BTreeMap, BTreeSet};

use bowline_machines::{
    Generation, MonotonicTime,
    relay::registry::{Effect, Pool, PoolCounts, RelayRegistry, SessionNews},
};
use bowline_protocol::{
    PublicKey, Reason, RouteKey, ServerId,
    relay::{DigestSalt, KnownDevices, limits::STRANGERS_PER_DAEMON},
};

use crate::explorer::{Model, explore};

/// The friend's session; the others are of strangers.
const FRIEND: u8 = 0;
const SESSIONS: u8 = 2;
const MOST: u32 = 4;

/// A control socket that has not ended yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Control {
    generation: Generation,
    /// The relay told it to end.
    told: bool,
    /// The sessions that the daemon knows of.
    known: BTreeSet<u8>,
}

/// The registry and its relay's resources.
#[derive(Clone)]
struct Node {
    registry: RelayRegistry<u8>,
    /// In the order of registration.
    controls: Vec<Control>,
    /// Generation of the registration whose data token is valid.
    token: Option<Generation>,
    /// Sessions that exist, and whether each was told to end.
    sessions: BTreeMap<u8, bool>,
    listed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Register,
    /// The control socket of this registration ends.
    End(Generation),
    /// The control socket of this registration lists the friend.
    List(Generation),
    /// A client opens, with so many in each pool.
    Open {
        session: u8,
        counts: PoolCounts,
        slow: bool,
    },
    Retire {
        session: u8,
        is_joining: bool,
        afresh: bool,
        slow: bool,
    },
    Orphans {
        is_over: bool,
    },
}

struct Registries;

fn server() -> ServerId {
    ServerId::of_public_key(&[1; 32])
}

fn route(n: u8) -> RouteKey {
    RouteKey::of_device(&PublicKey::from_bytes([n; 32]), &server())
}

impl Model for Registries {
    type Node = Node;
    type Step = Step;
    /// Of each control socket: whether its token is valid, whether it ends, what it knows.
    type Key = (Vec<(bool, bool, BTreeSet<u8>)>, BTreeMap<u8, bool>, bool);

    fn start(&self) -> Vec<Node> {
        vec![Node {
            registry: RelayRegistry::default(),
            controls: Vec::new(),
            token: None,
            sessions: BTreeMap::new(),
            listed: false,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let mut steps: Vec<_> = [false, true]
            .map(|is_over| Step::Orphans { is_over })
            .into();
        if node.controls.len() < 3 {
            steps.push(Step::Register);
        }
        for Control { generation, .. } in &node.controls {
            steps.extend([Step::End(*generation), Step::List(*generation)]);
        }
        let full = STRANGERS_PER_DAEMON;
        for slow in [false, true] {
            for (friends, strangers) in [(0, 0), (MOST, full), (MOST, 2 * full)] {
                let counts = PoolCounts { friends, strangers };
                steps.extend((0..SESSIONS).map(|session| Step::Open {
                    session,
                    counts,
                    slow,
                }));
            }
            for session in node.sessions.keys().copied() {
                for (is_joining, afresh) in [(false, false), (true, false), (true, true)] {
                    steps.push(Step::Retire {
                        session,
                        is_joining,
                        afresh,
                        slow,
                    });
                }
            }
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        let mut slow_reader = false;
        match *step {
            Step::Register => {
                let generation = node.registry.register(&server());
                node.execute(false)?;
                let server = server();
                let names: Vec<_> = node.registry.sessions(&server).collect();
                let known = (0..SESSIONS).filter(|n| names.contains(&&route(*n)));
                node.controls.push(Control {
                    generation,
                    told: false,
                    known: known.collect(),
                });
                if node.token.replace(generation).is_some() {
                    return Err("rl_2_one_data_token_is_valid".into());
                }
            }
            Step::End(generation) => {
                node.controls.retain(|one| one.generation != generation);
                let now = MonotonicTime::default();
                node.registry.unregister(now, &server(), generation);
            }
            Step::List(generation) => {
                let salt = DigestSalt::from_bytes([7; 16]);
                let devices = KnownDevices::salted(salt, &[route(FRIEND)]);
                node.registry.know(&server(), generation, devices);
                node.listed |= node.token == Some(generation);
            }
            Step::Open {
                session,
                counts,
                slow,
            } => {
                slow_reader = slow;
                let opened =
                    node.registry
                        .open(&server(), &route(session), counts, MOST, 0, || session);
                check_open(&before, session, counts, &opened.map(|place| place.pool))?;
                if let Ok(place) = opened {
                    let existed = node.sessions.contains_key(&session);
                    if place.session != session || place.is_new == existed {
                        return Err("rl_3_one_task_for_each_session".into());
                    }
                    node.sessions.entry(session).or_default();
                }
            }
            Step::Retire {
                session,
                is_joining,
                afresh,
                slow,
            } => {
                slow_reader = slow;
                let route = route(session);
                let retired = node.registry.retire(&server(), &route, is_joining, afresh);
                if retired == is_joining {
                    return Err("rl_3_a_session_that_a_socket_joins_stays".into());
                }
                if retired {
                    node.sessions.remove(&session);
                }
            }
            Step::Orphans { is_over } => node.registry.end_orphans(|_| is_over),
        }
        let forgotten = node.execute(slow_reader)?;
        check(&before, node, step, forgotten).map_err(ToOwned::to_owned)
    }

    fn key(&self, node: &Node) -> Self::Key {
        let controls = node.controls.iter();
        let controls = controls.map(|control| {
            let is_valid = node.token == Some(control.generation);
            (is_valid, control.told, control.known.clone())
        });
        (controls.collect(), node.sessions.clone(), node.listed)
    }
}

impl Node {
    /// The control socket whose registration is in force.
    fn current(&self) -> Option<&Control> {
        let token = self.token?;
        let mut controls = self.controls.iter();
        controls.find(|control| control.generation == token)
    }

    /// Executes the effects, with a control socket that has no room if `slow`. Returns whether the
    /// daemon was forgotten.
    fn execute(&mut self, slow: bool) -> Result<bool, String> {
        let mut forgotten = false;
        while let Some(effect) = self.registry.poll_effect() {
            let token = self.token;
            let mut controls = self.controls.iter_mut();
            let current = controls.find(|control| Some(control.generation) == token);
            match (effect, current) {
                (Effect::Tell { .. }, Some(control)) if control.told => {
                    return Err("a_control_socket_that_ends_is_told_no_more".into());
                }
                (Effect::Tell { .. }, Some(_)) if slow => self.registry.queue_full(&server()),
                (Effect::Tell { session, news, .. }, Some(control)) => {
                    let session = (0..SESSIONS).find(|n| route(*n) == session);
                    let session = session.ok_or("an unknown session")?;
                    let is_change = match news {
                        SessionNews::Opened => control.known.insert(session),
                        SessionNews::Closed => control.known.remove(&session),
                    };
                    if !is_change {
                        return Err("rl_2_news_are_changes".into());
                    }
                }
                (Effect::EndControl { .. }, Some(control)) => {
                    if std::mem::replace(&mut control.told, true) {
                        return Err("a_control_socket_is_told_to_end_once".into());
                    }
                }
                (Effect::Revoke { .. }, _) => {
                    if self.token.take().is_none() {
                        return Err("rl_2_a_token_is_revoked_once".into());
                    }
                }
                (Effect::EndSession { session, .. }, _) => {
                    let Some(told) = self.sessions.get_mut(&session) else {
                        return Err("a_session_that_ends_exists".into());
                    };
                    *told = true;
                }
                (Effect::Forget { .. }, _) => {
                    forgotten = true;
                    self.listed = false;
                }
                (Effect::Tell { .. } | Effect::EndControl { .. }, None) => {
                    return Err("rl_2_only_a_registered_daemon_is_addressed".into());
                }
            }
        }
        Ok(forgotten)
    }
}

fn check_open(
    before: &Node,
    session: u8,
    counts: PoolCounts,
    opened: &Result<Pool, Reason>,
) -> Result<(), String> {
    let is_stranger = before.listed && session != FRIEND;
    let expected = match (before.token.is_some(), is_stranger) {
        (false, _) => Err(Reason::DaemonOffline),
        (true, true) if counts.strangers < 2 * STRANGERS_PER_DAEMON => Ok(Pool::Strangers),
        (true, false) if counts.friends < MOST => Ok(Pool::Friends),
        (true, _) => Err(Reason::SessionCapacity),
    };
    if *opened != expected {
        return Err(format!("tr_10_each_has_its_places: {opened:?}"));
    }
    Ok(())
}

fn check(before: &Node, after: &Node, step: &Step, forgotten: bool) -> Result<(), &'static str> {
    let ends_current = match *step {
        Step::End(generation) => before.token == Some(generation),
        _ => false,
    };
    let is_register = matches!(step, Step::Register);
    if !is_register && (after.token != before.token) != ends_current {
        return Err("rl_2_a_registration_ends_with_its_own_control_socket");
    }
    let mut earlier = after.controls.iter();
    if earlier.any(|control| !control.told && Some(control.generation) != after.token) {
        return Err("rl_2_an_earlier_control_socket_is_told_to_end");
    }
    let sessions: BTreeSet<_> = after.sessions.keys().copied().collect();
    if after
        .current()
        .is_some_and(|control| !control.told && control.known != sessions)
    {
        return Err("rl_2_a_daemon_knows_its_sessions");
    }
    let is_gone = after.token.is_none() && after.sessions.is_empty();
    let was_gone = before.token.is_none() && before.sessions.is_empty();
    if forgotten != (is_gone && !was_gone) {
        return Err("nothing_is_kept_of_a_daemon_that_is_gone");
    }
    let ended: Vec<_> = after
        .sessions
        .iter()
        .filter(|(session, told)| **told && before.sessions.get(session) == Some(&false))
        .map(|(session, _)| *session)
        .collect();
    let may_end = match step {
        Step::Orphans { is_over: true } => before.token.is_none(),
        Step::Open { counts, .. } => {
            let is_full = counts.strangers >= STRANGERS_PER_DAEMON;
            before.listed && is_full && !ended.contains(&FRIEND)
        }
        _ => false,
    };
    if !ended.is_empty() && !may_end {
        return Err("tr_10_no_friend_and_no_session_of_a_present_daemon_makes_room");
    }
    if matches!(step, Step::Orphans { is_over: true })
        && after.token.is_none()
        && after.sessions.values().any(|told| !told)
    {
        return Err("rl_2_sessions_of_an_absent_daemon_end");
    }
    if after.registry.counts() != (usize::from(after.token.is_some()), sessions.len()) {
        return Err("machine_and_relay_agree");
    }
    Ok(())
}

#[test]
fn rl_2_tr_10_every_history_of_a_daemons_registrations() {
    let report = explore(&Registries, 40);
    assert!(report.complete && report.nodes > 100, "{report:?}");
}
