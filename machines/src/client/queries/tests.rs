//! Tests of the queries of a host. The explorer covers the orders of inputs.

use super::*;

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);

fn effects(queries: &mut Queries) -> Vec<Effect> {
    std::iter::from_fn(|| queries.poll_effect()).collect()
}

fn asked(queries: &mut Queries) -> Vec<QueryId> {
    effects(queries)
        .into_iter()
        .map(|effect| match effect {
            Effect::Ask(ticket) => ticket.id,
            Effect::Refuse(id) => panic!("{id:?} is refused"),
        })
        .collect()
}

#[test]
fn queries_wait_for_the_host_and_are_asked_in_their_order() {
    let mut queries = Queries::default();
    let (one, two) = (queries.add(NOW), queries.add(NOW));
    assert_eq!(effects(&mut queries), []);
    queries.set_host(NOW, HostStatus::Online(Attach::NONE.next()));
    assert_eq!(asked(&mut queries), [one, two]);
    let three = queries.add(NOW);
    queries.set_host(NOW, HostStatus::Online(Attach::NONE.next()));
    assert_eq!(asked(&mut queries), [three], "at once while online");
    assert_eq!(queries.poll_timeout(), None);
}

#[test]
fn inv_13_a_query_that_was_never_sent_waits_for_the_next_attach_and_no_longer_than_others() {
    let first = Attach::NONE.next();
    let mut queries = Queries::default();
    let id = queries.add(NOW);
    queries.set_host(NOW, HostStatus::Online(first));
    let Some(Effect::Ask(ticket)) = queries.poll_effect() else {
        panic!("it is asked");
    };
    queries.never_sent(ticket);
    queries.set_host(NOW, HostStatus::Online(first));
    assert_eq!(effects(&mut queries), [], "that connection is over");
    assert_eq!(queries.poll_timeout(), Some(NOW + CONNECT_DEADLINE));
    queries.set_host(NOW, HostStatus::Online(first.next()));
    assert_eq!(asked(&mut queries), [id]);
    queries.set_host(NOW, HostStatus::Connecting);
    queries.never_sent(ticket);
    queries.handle_timeout(NOW + CONNECT_DEADLINE);
    assert_eq!(effects(&mut queries), [Effect::Refuse(id)]);
}

#[test]
fn nothing_waits_where_nothing_is_tried_and_one_more_than_the_bound_is_refused() {
    let mut queries = Queries::new(QueriesConfig {
        most_waiting: 1,
        ..QueriesConfig::default()
    });
    let one = queries.add(NOW);
    let two = queries.add(NOW);
    assert_eq!(effects(&mut queries), [Effect::Refuse(two)]);
    queries.withdraw(one);
    let three = queries.add(NOW);
    assert_eq!(effects(&mut queries), []);
    queries.set_host(NOW, HostStatus::Offline);
    assert_eq!(effects(&mut queries), [Effect::Refuse(three)]);
    let four = queries.add(NOW);
    queries.set_host(NOW, HostStatus::Offline);
    assert_eq!(effects(&mut queries), [Effect::Refuse(four)]);
}
