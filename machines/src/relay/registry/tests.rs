//! Registrations that replace each other, sessions that come and go, and the two pools.

use bowline_protocol::{
    PublicKey,
    relay::{
        DigestSalt,
        limits::{DAEMON_RESTART_SPREAD, STRANGERS_PER_DAEMON},
    },
};

use super::*;

/// Bound of friends.
const MOST: u32 = 2;
const EMPTY: PoolCounts = PoolCounts {
    friends: 0,
    strangers: 0,
};

fn server(n: u8) -> ServerId {
    ServerId::of_public_key(&[n; 32])
}

fn route(n: u8) -> RouteKey {
    RouteKey::of_device(&PublicKey::from_bytes([n; 32]), &server(0))
}

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

/// One daemon, whose sessions have the numbers of their routes as handles.
struct World {
    registry: RelayRegistry<u8>,
    server: ServerId,
}

impl World {
    /// A daemon that is registered for the first time.
    fn registered() -> (Self, Generation) {
        let mut world = Self {
            registry: RelayRegistry::default(),
            server: server(1),
        };
        let generation = world.registry.register(&world.server);
        assert_eq!(world.effects(), []);
        (world, generation)
    }

    fn effects(&mut self) -> Vec<Effect<u8>> {
        std::iter::from_fn(|| self.registry.poll_effect()).collect()
    }

    fn open(&mut self, n: u8, counts: PoolCounts) -> Result<Place<u8>, Reason> {
        let (server, route) = (&self.server, route(n));
        self.registry.open(server, &route, counts, MOST, 0, || n)
    }

    /// Opens a session and takes the news of it.
    fn opened(&mut self, n: u8) {
        assert!(self.open(n, EMPTY).is_ok_and(|place| place.is_new));
        assert_eq!(self.effects(), [self.tell(n, SessionNews::Opened)]);
    }

    fn retire(&mut self, n: u8, is_joining: bool, afresh: bool) -> (bool, Vec<Effect<u8>>) {
        let (server, route) = (&self.server, route(n));
        let retired = self.registry.retire(server, &route, is_joining, afresh);
        (retired, self.effects())
    }

    fn unregister(&mut self, generation: Generation) -> Vec<Effect<u8>> {
        self.registry.unregister(at(5), &self.server, generation);
        self.effects()
    }

    fn know(&mut self, generation: Generation, friends: &[u8]) {
        let routes: Vec<_> = friends.iter().map(|n| route(*n)).collect();
        let salt = DigestSalt::from_bytes([7; 16]);
        let devices = KnownDevices::salted(salt, &routes);
        self.registry.know(&self.server, generation, devices);
    }

    fn tell(&self, n: u8, news: SessionNews) -> Effect<u8> {
        Effect::Tell {
            server: self.server.clone(),
            session: route(n),
            news,
        }
    }

    fn end_control(&self, reason: Reason) -> Effect<u8> {
        Effect::EndControl {
            server: self.server.clone(),
            text: reason.into(),
        }
    }

    fn revoke(&self) -> Effect<u8> {
        Effect::Revoke {
            server: self.server.clone(),
        }
    }

    fn forget(&self) -> Effect<u8> {
        Effect::Forget {
            server: self.server.clone(),
        }
    }
}

fn end(session: u8, reason: Reason) -> Effect<u8> {
    Effect::EndSession {
        session,
        text: reason.into(),
    }
}

const fn place(session: u8, is_new: bool, pool: Pool) -> Result<Place<u8>, Reason> {
    Ok(Place {
        session,
        is_new,
        pool,
    })
}

#[test]
fn rl_2_a_later_registration_replaces_the_earlier_one_and_keeps_its_sessions() {
    let (mut world, first) = World::registered();
    world.opened(1);
    let second = world.registry.register(&world.server);
    assert!(second > first);
    let replaced = [world.end_control(Reason::Replaced), world.revoke()];
    assert_eq!(world.effects(), replaced);
    assert_eq!(world.unregister(first), [], "it ends later than that");
    let known: Vec<_> = world.registry.sessions(&world.server).cloned().collect();
    assert_eq!(known, [route(1)]);
    assert_eq!(world.open(1, EMPTY), place(1, false, Pool::Friends));
    assert_eq!(world.effects(), []);
    assert_eq!(world.unregister(second), [world.revoke()]);
}

#[test]
fn rl_2_the_end_of_an_earlier_registration_never_ends_one_after_a_daemon_was_forgotten() {
    let (mut world, first) = World::registered();
    let second = world.registry.register(&world.server);
    world.effects();
    let gone = [world.revoke(), world.forget()];
    assert_eq!(world.unregister(second), gone);
    let third = world.registry.register(&world.server);
    assert_eq!(world.unregister(first), []);
    assert_eq!(world.unregister(second), []);
    assert!(world.open(1, EMPTY).is_ok());
    world.effects();
    assert_eq!(world.unregister(third), [world.revoke()]);
}

#[test]
fn rl_2_clients_of_a_daemon_without_a_control_socket_are_refused() {
    let (mut world, generation) = World::registered();
    world.opened(1);
    world.unregister(generation);
    for n in [1, 2] {
        assert_eq!(world.open(n, EMPTY), Err(Reason::DaemonOffline));
    }
    world.server = server(2);
    assert_eq!(world.open(1, EMPTY), Err(Reason::DaemonOffline));
    assert_eq!(world.effects(), []);
}

#[test]
fn rl_2_sessions_of_orphans_end_when_their_absence_is_over() {
    let (mut world, generation) = World::registered();
    world.opened(1);
    world.registry.end_orphans(|_| true);
    assert_eq!(world.effects(), [], "a registered daemon is no orphan");
    world.unregister(generation);
    world.registry.end_orphans(|since| since < at(5));
    assert_eq!(world.effects(), []);
    world.registry.end_orphans(|since| since == at(5));
    assert_eq!(world.effects(), [end(1, Reason::DaemonOffline)]);
    assert_eq!(world.retire(1, false, true), (true, vec![world.forget()]));
    assert_eq!(world.retire(1, false, true), (true, vec![]));
    assert_eq!(world.registry.counts(), (0, 0));
}

#[test]
fn rl_3_a_session_that_a_socket_joins_stays_and_a_data_socket_is_dialled_again_if_needed() {
    let (mut world, _) = World::registered();
    world.opened(1);
    assert_eq!(world.retire(1, true, false), (false, vec![]));
    let closed = world.tell(1, SessionNews::Closed);
    let again = vec![closed.clone(), world.tell(1, SessionNews::Opened)];
    assert_eq!(world.retire(1, true, true), (false, again));
    assert!(world.registry.session(&world.server, &route(1)).is_some());
    for afresh in [false, true] {
        assert_eq!(world.retire(1, false, afresh), (true, vec![closed.clone()]));
        assert!(world.registry.session(&world.server, &route(1)).is_none());
        world.opened(1);
    }
}

#[test]
fn rl_4_a_daemon_that_does_not_take_its_news_ends_once_and_is_told_no_more() {
    let (mut world, _) = World::registered();
    world.opened(1);
    world.registry.queue_full(&world.server);
    world.registry.queue_full(&world.server);
    assert_eq!(world.effects(), [world.end_control(Reason::SlowConsumer)]);
    assert!(world.open(2, EMPTY).is_ok(), "clients wait for its return");
    assert_eq!(world.retire(1, false, true), (true, vec![]));
    world.registry.register(&world.server);
    assert_eq!(
        world.effects(),
        [world.revoke()],
        "the text was sent before"
    );
    let known: Vec<_> = world.registry.sessions(&world.server).cloned().collect();
    assert_eq!(known, [route(2)], "what it missed");
    world.opened(3);
}

#[test]
fn tr_10_until_a_daemon_lists_its_devices_all_clients_are_friends_up_to_the_bound() {
    let (mut world, generation) = World::registered();
    let full = PoolCounts {
        friends: MOST,
        strangers: 0,
    };
    assert_eq!(world.open(1, full), Err(Reason::SessionCapacity));
    let unbounded = world
        .registry
        .open(&world.server, &route(1), full, 0, 0, || 1);
    assert_eq!(unbounded, place(1, true, Pool::Friends));
    let stale = Generation::ZERO;
    world.know(stale, &[]);
    assert_eq!(world.open(2, full), Err(Reason::SessionCapacity));
    world.know(generation, &[1]);
    assert_eq!(world.open(2, full), place(2, true, Pool::Strangers));
    assert_eq!(world.open(1, full), Err(Reason::SessionCapacity));
}

#[test]
fn tr_10_a_full_pool_of_strangers_makes_room_by_any_of_them_and_never_by_a_friend() {
    let (mut world, generation) = World::registered();
    world.know(generation, &[1, 2]);
    (1..=5).for_each(|n| world.opened(n));
    let full = PoolCounts {
        friends: 0,
        strangers: STRANGERS_PER_DAEMON,
    };
    let mut ended = [false; 6];
    for random in 0..3 {
        let (server, route) = (&world.server, route(5));
        let opened = world
            .registry
            .open(server, &route, full, MOST, random, || 9);
        assert_eq!(opened, place(5, false, Pool::Strangers));
        for effect in world.effects() {
            if let Effect::EndSession { session, text } = effect {
                assert_eq!(text.reason, Reason::SessionCapacity);
                ended[usize::from(session)] = true;
            }
        }
    }
    assert_eq!(ended, [false, false, false, true, true, true]);
    let over = PoolCounts {
        strangers: 2 * STRANGERS_PER_DAEMON,
        ..EMPTY
    };
    assert_eq!(world.open(6, over), Err(Reason::SessionCapacity));
    assert_eq!(world.effects().len(), 1, "it makes room all the same");
    assert!(world.open(1, over).is_ok(), "friends have their own places");
    assert_eq!(world.effects(), []);
}

#[test]
fn rl_2_a_restart_ends_all_sockets_and_daemons_return_before_clients() {
    let (mut world, generation) = World::registered();
    world.opened(1);
    let orphan = server(2);
    let orphaned = world.registry.register(&orphan);
    let opened = world
        .registry
        .open(&orphan, &route(2), EMPTY, MOST, 0, || 2);
    assert!(opened.is_ok());
    world.registry.unregister(at(1), &orphan, orphaned);
    world.effects();
    world.registry.end_all(1_000, 7);
    let mut ended = Vec::new();
    for effect in world.effects() {
        let (who, text, is_daemon) = match effect {
            Effect::EndControl { server, text } => {
                assert_eq!(server, world.server);
                (0, text, true)
            }
            Effect::EndSession { session, text } => (session, text, false),
            other => panic!("{other:?}"),
        };
        assert_eq!(text.reason, Reason::ServerRestarting);
        let is_early = text.retry_after.unwrap() <= DAEMON_RESTART_SPREAD;
        assert_eq!(is_early, is_daemon, "{who}: {text:?}");
        ended.push(who);
    }
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2]);
    assert_eq!(world.unregister(generation), [world.revoke()]);
}
