//! Probes of a host that is online, and lists of paths that change.

use bowline_protocol::Reason;

use super::bench::{Bench, DIRECT, LOCAL, RELAY, list, ms};
use crate::{
    Path,
    client::paths::{Input, PathId},
};

#[test]
fn hr_2_probes_come_every_10_s_and_every_30_s_after_ten_quiet_minutes() {
    let gap = |bench: &Bench| bench.host.poll_timeout().unwrap().since(bench.now);
    let both = [(RELAY, Some(10)), (DIRECT, None)];
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    assert_eq!(gap(&bench), ms(10_000));
    for _ in 0..60 {
        bench.cycle(&both);
    }
    assert_eq!(gap(&bench), ms(30_000));
    bench.feed(Input::IntentQueued);
    bench.cycle(&both);
    assert_eq!(gap(&bench), ms(10_000), "activity brings them back");

    let single = Bench::online(&[RELAY]);
    assert_eq!(
        gap(&single),
        ms(30_000),
        "a single path is measured for show only"
    );
}

#[test]
fn connection_lists_are_bounded_and_free_of_duplicates() {
    let mut bench = Bench::new();
    let many = (0..40).map(|label| (PathId(label % 20), Path::Direct));
    bench.feed(Input::Start {
        connections: many.collect(),
    });
    assert_eq!(bench.host.connections().len(), 16);
    for label in 0..16 {
        bench.disprove(PathId(label), Reason::Unreachable);
    }
    assert!(bench.pause().is_some());
}

#[test]
fn hr_2_the_active_client_stays_while_its_path_stays() {
    let mut bench = Bench::online(&[RELAY, DIRECT]);
    bench.feed(Input::ConnectionsChanged(list(&[RELAY])));
    assert_eq!(
        (bench.state(), bench.active_path()),
        ("online", Some(RELAY))
    );
    let effects = bench.feed(Input::ConnectionsChanged(list(&[LOCAL, DIRECT])));
    assert_eq!(effects[0], "dispose1(5s)", "{effects:?}");
    assert_eq!(bench.state(), "selecting_active_connection");
}
