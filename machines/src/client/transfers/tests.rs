//! A transfer against a model of the other side that loses connections, restarts and is slow.

use super::*;
use crate::prng::SplitMix64;

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

/// What a run of a transfer did.
struct Run {
    moved: u64,
    most_on_their_way: u64,
    millis: u64,
}

/// Runs a transfer whose requests take `delay` and a millisecond for each `per_milli` bytes before
/// them; one in `lose` is lost with all others, and then the other side may have dropped bytes.
fn run(
    direction: Direction,
    size: u64,
    seed: u64,
    lose: Option<u64>,
    delay: u64,
    speed: u64,
) -> Run {
    let mut random = SplitMix64::new(seed);
    let mut now = 0;
    let mut transfer = match direction {
        Direction::Put => Transfer::put(at(0), size),
        Direction::Get => Transfer::get(at(0), 0),
    };
    let (mut have, mut moved, mut most) = (0_u64, 0, 0);
    let mut queue: VecDeque<(u64, Effect)> = VecDeque::new();
    let mut free_at = 0;
    for _ in 0..200_000 {
        while let Some(effect) = transfer.poll_effect() {
            match effect {
                Effect::Abandon => queue.clear(),
                Effect::GiveUp(_) | Effect::Size(_) | Effect::Clear => {
                    panic!("the other side does what it should")
                }
                Effect::Finish => {
                    assert!(have == size || direction == Direction::Put);
                    assert_eq!(transfer.progress(), (size, Some(size)));
                    return Run {
                        moved,
                        most_on_their_way: most,
                        millis: now,
                    };
                }
                Effect::Ask(_) => queue.push_back((now + delay, effect)),
                Effect::Put(_, part) | Effect::Get(_, part) => {
                    assert!(part.length > 0 && part.length <= BLOB_PIECE_BYTES as u64);
                    assert!(direction == Direction::Get || part.offset + part.length <= size);
                    free_at = free_at.max(now) + part.length.min(size) / speed;
                    queue.push_back((free_at + delay, effect));
                }
            }
        }
        let flying = queue.iter().map(|(_, effect)| match effect {
            Effect::Put(_, part) | Effect::Get(_, part) => part.length,
            _ => 0,
        });
        most = most.max(flying.sum());
        let Some((due, effect)) = queue.pop_front() else {
            let due = transfer.poll_timeout().expect("it waits for something");
            now = now.max(due.as_millis());
            transfer.handle_timeout(at(now));
            continue;
        };
        now = now.max(due);
        let (Effect::Ask(attempt) | Effect::Put(attempt, _) | Effect::Get(attempt, _)) = effect
        else {
            continue;
        };
        if lose.is_some_and(|one_in| random.next_u64().is_multiple_of(one_in)) {
            if direction == Direction::Put {
                have -= random.next_u64() % 4_096.min(have + 1);
            }
            transfer.failed(at(now), attempt, None);
            // A late answer of that attempt changes nothing.
            transfer.taken(at(now), attempt, 0, true);
            transfer.came(at(now), attempt, size, size);
            continue;
        }
        match effect {
            Effect::Ask(_) => transfer.taken(at(now), attempt, have, have == size),
            Effect::Put(_, part) => {
                if part.offset == have {
                    have += part.length;
                    moved += part.length;
                }
                transfer.taken(at(now), attempt, have, have == size);
            }
            Effect::Get(_, part) => {
                assert_eq!(part.offset, have, "in order, without a gap");
                let length = part.length.min(size - part.offset);
                have += length;
                moved += length;
                transfer.came(at(now), attempt, length, size);
            }
            _ => {}
        }
    }
    panic!("it does not end");
}

#[test]
fn ld_8_every_blob_arrives_whole_however_often_it_is_interrupted() {
    for direction in [Direction::Put, Direction::Get] {
        for size in [0, 1, 16 * 1024, 256 * 1024, 3_000_001] {
            for seed in 0..200 {
                let lose = (seed > 0).then_some(2 + seed % 20);
                let run = run(direction, size, seed, lose, seed % 300, 1_000);
                assert!(run.moved >= size);
                if lose.is_none() || direction == Direction::Get {
                    assert_eq!(run.moved, size, "nothing twice");
                }
            }
        }
    }
}

#[test]
fn ld_8_a_fast_link_is_filled_and_a_slow_one_has_no_long_queue() {
    let fast = run(Direction::Put, 100 << 20, 1, None, 20, 100_000);
    assert_eq!(fast.most_on_their_way, MOST_WINDOW);
    assert!(fast.millis < 2_200, "{} ms", fast.millis);
    // 16 KiB a second: a ping waits for what is on its way, about two seconds at most.
    let slow = run(Direction::Get, 1 << 20, 1, None, 50, 16);
    assert!(slow.most_on_their_way <= 2 * FIRST_WINDOW);
    let long = run(Direction::Put, 4 << 20, 1, None, 300, 1_000);
    assert!(
        long.millis < 4_200 * 2,
        "a long round trip is no queue: {}",
        long.millis
    );
}

#[test]
fn ld_8_pieces_become_as_small_as_the_daemon_takes() {
    let mut put = Transfer::put(at(0), 1 << 20);
    let Some(Effect::Ask(attempt)) = put.poll_effect() else {
        panic!("it asks first");
    };
    put.taken(at(1), attempt, 0, false);
    let Some(Effect::Put(attempt, _)) = put.poll_effect() else {
        panic!("then it sends");
    };
    let mut tries = 0;
    put.too_large(at(2), attempt);
    while put.state != State::Over {
        tries += 1;
        put.too_large(at(2), put.attempt);
    }
    assert_eq!(tries, 8, "256 KiB to 1 KiB");
    let last = std::iter::from_fn(|| put.poll_effect()).last();
    assert_eq!(last, Some(Effect::GiveUp(GiveUp::TooLarge)));
    let mut get = Transfer::get(at(0), 0);
    let Some(Effect::Get(attempt, part)) = get.poll_effect() else {
        panic!("it gets at once");
    };
    assert_eq!(part.length, LEAST_WINDOW);
    get.came(at(1), attempt, 1_200, 5_000);
    assert_eq!(get.poll_effect(), Some(Effect::Abandon));
    let Some(Effect::Get(_, part)) = get.poll_effect() else {
        panic!("it goes on");
    };
    assert_eq!((part.offset, part.length), (1_200, 1_200));
}

#[test]
fn ld_8_answers_of_one_byte_neither_shrink_pieces_to_nothing_nor_pile_up_requests() {
    let mut get = Transfer::get(at(0), 0);
    let mut asked = 0;
    for n in 0..50 {
        let mut first = None;
        let mut flying = 0;
        while let Some(effect) = get.poll_effect() {
            match effect {
                Effect::Abandon => (first, flying) = (None, 0),
                Effect::Get(attempt, part) => {
                    assert!(part.length >= LEAST_PIECE);
                    flying += 1;
                    first = first.or(Some((attempt, part)));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(flying <= MOST_REQUESTS, "{flying}");
        asked += flying;
        let (attempt, part) = first.expect("it asks");
        let length = if n % 2 == 0 { 1 } else { part.length };
        get.came(at(n + 1), attempt, length, 1 << 40);
    }
    assert!(asked <= 50 * MOST_REQUESTS);
}

#[test]
fn ld_8_a_daemon_without_the_bytes_is_asked_less_and_less_and_then_given_up() {
    let mut get = Transfer::get(at(0), 100);
    let mut put = Transfer::put(at(0), 10);
    for transfer in [&mut get, &mut put] {
        let mut now = 0;
        let mut tries = 0;
        loop {
            match transfer.poll_effect() {
                Some(Effect::Get(attempt, part)) => {
                    assert_eq!(part.offset, 100);
                    tries += 1;
                    transfer.came(at(now), attempt, 0, 1_000);
                }
                Some(Effect::Ask(attempt)) => {
                    tries += 1;
                    transfer.taken(at(now), attempt, 10, false);
                }
                Some(Effect::Abandon) => {}
                Some(Effect::GiveUp(GiveUp::Stalled)) => break,
                None => {
                    let due = transfer.poll_timeout().expect("it waits");
                    assert!(due > at(now), "not at once");
                    now = due.as_millis();
                    transfer.handle_timeout(due);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((tries, now), (6, 3_100));
        assert_eq!(transfer.poll_timeout(), None);
    }
}

#[test]
fn ld_8_a_put_whose_bytes_there_were_wrong_sends_all_of_them() {
    let mut put = Transfer::put(at(0), 100);
    put.taken(at(0), put.attempt, 60, false);
    assert!(put.poll_effect().is_some());
    put.refused(at(1), put.attempt, Refusal::Params);
    assert_eq!(put.progress(), (0, Some(100)));
    let effects: Vec<_> = std::iter::from_fn(|| put.poll_effect()).collect();
    assert_eq!(effects, [Effect::Abandon, Effect::Ask(put.attempt)]);
    put.taken(at(2), put.attempt, 0, false);
    let all = Part {
        offset: 0,
        length: 100,
    };
    assert_eq!(put.poll_effect(), Some(Effect::Put(put.attempt, all)));
}

#[test]
fn ld_8_pauses_grow_until_something_moves_and_an_end_is_an_end() {
    let mut put = Transfer::put(at(0), 10);
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        put.failed(at(now), put.attempt, None);
        let due = put.poll_timeout().unwrap().as_millis();
        pauses.push(due - now);
        now = due;
        put.handle_timeout(at(now - 1));
        put.handle_timeout(at(now));
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    let asked = Some(Duration::from_secs(60));
    put.failed(at(now), put.attempt, asked);
    assert_eq!(put.poll_timeout(), Some(at(now + 60_000)), "the daemon's");
    put.end();
    put.handle_timeout(at(now + 60_000));
    put.failed(at(now), put.attempt, None);
    put.too_large(at(now), put.attempt);
    put.refused(at(now), put.attempt, Refusal::Final);
    while let Some(effect) = put.poll_effect() {
        assert_eq!(effect, Effect::Abandon);
    }
    assert_eq!(put.poll_timeout(), None);
}

/// The effects of a transfer until it waits.
fn effects(transfer: &mut Transfer) -> Vec<Effect> {
    std::iter::from_fn(|| transfer.poll_effect()).collect()
}

#[test]
fn ld_8_wrong_bytes_are_moved_again_once_and_then_refused() {
    let mut put = Transfer::put(at(0), 100);
    put.taken(at(0), put.attempt, 60, false);
    put.refused(at(1), put.attempt, Refusal::Params);
    put.taken(at(2), put.attempt, 60, false);
    put.refused(at(3), put.attempt, Refusal::Params);
    assert_eq!(
        effects(&mut put).last(),
        Some(&Effect::GiveUp(GiveUp::Refused))
    );
    // Nothing was there: it is the blob itself that is refused.
    let mut fresh = Transfer::put(at(0), 100);
    fresh.taken(at(0), fresh.attempt, 0, false);
    fresh.refused(at(1), fresh.attempt, Refusal::Params);
    assert_eq!(
        effects(&mut fresh).last(),
        Some(&Effect::GiveUp(GiveUp::Refused))
    );
    let mut get = Transfer::get(at(0), 0);
    get.corrupt(at(1));
    assert!(matches!(effects(&mut get).last(), Some(Effect::Get(..))));
    get.corrupt(at(2));
    assert_eq!(
        effects(&mut get).last(),
        Some(&Effect::GiveUp(GiveUp::Corrupt))
    );
}

#[test]
fn ld_8_what_is_here_beyond_the_blob_is_dropped_only_if_the_daemon_says_so() {
    for (size, is_dropped) in [(50, true), (100, false), (200, false)] {
        let mut get = Transfer::get(at(0), 100);
        effects(&mut get);
        get.refused(at(1), get.attempt, Refusal::Params);
        let late = get.attempt;
        assert_eq!(
            effects(&mut get),
            [Effect::Abandon, Effect::Size(late)],
            "asked before anything is dropped"
        );
        // A lost answer is asked for again, through the same refusal.
        get.failed(at(2), late, None);
        get.sized(at(2), late, size);
        get.handle_timeout(get.poll_timeout().unwrap());
        get.refused(at(300), get.attempt, Refusal::Params);
        effects(&mut get);
        get.came(at(301), get.attempt, 1, size);
        get.sized(at(301), get.attempt, size);
        let after = effects(&mut get);
        if is_dropped {
            assert_eq!(after[1], Effect::Clear);
            assert!(matches!(after[2], Effect::Get(_, Part { offset: 0, .. })));
        } else {
            assert_eq!(after.last(), Some(&Effect::GiveUp(GiveUp::Refused)));
        }
    }
}

#[test]
fn ld_8_a_daemon_that_fails_by_itself_is_tried_six_times_and_one_that_is_busy_for_ever() {
    let mut put = Transfer::put(at(0), 10);
    for n in 0..50 {
        put.refused(at(n), put.attempt, Refusal::Later(None));
        assert!(put.is_parked(), "others may move");
        put.handle_timeout(put.poll_timeout().unwrap());
        assert!(!put.is_parked());
    }
    for _ in 0..MOST_STALLS - 1 {
        put.refused(at(50), put.attempt, Refusal::Broken);
        assert!(!put.is_parked());
        put.handle_timeout(put.poll_timeout().unwrap());
    }
    put.refused(at(50), put.attempt, Refusal::Broken);
    assert_eq!(
        effects(&mut put).last(),
        Some(&Effect::GiveUp(GiveUp::Refused))
    );
}

#[test]
fn ld_8_a_daemon_that_refuses_and_loses_what_it_has_taken_is_given_up() {
    let mut put = Transfer::put(at(0), 100);
    for (n, is_over) in [(1, false), (2, true)] {
        put.taken(at(n), put.attempt, 0, false);
        effects(&mut put);
        put.taken(at(n), put.attempt, 0, false);
        put.done = 60;
        put.refused(at(n), put.attempt, Refusal::Later(None));
        put.handle_timeout(put.poll_timeout().unwrap());
        put.taken(at(n + 1), put.attempt, 0, false);
        assert_eq!(put.state == State::Over, is_over, "{n}");
    }
}
