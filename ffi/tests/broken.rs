//! State after a defect, in a process of its own: subscriptions end with the reason, calls fail
//! with it, cleanup works.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bowline_ffi::{BowlineError, EndReason, PlatformEvent, PreviewData};
use bowline_testkit::blocking::eventually;

use common::{Received, awaited, ended, listener, server_id, with_host};

#[test]
fn a_defect_ends_what_is_open_and_leaves_the_ways_to_clean_up() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let heard = Arc::new(Received::default());
    let open = runtime.subscribe_hosts(listener(&heard)).unwrap();
    eventually("the first snapshot", || heard.calls() > 0);

    // A panic on the dispatcher's thread, as one of the conversions would make it.
    let panics = Arc::new(Received {
        panics_after: Some(1),
        ..Received::default()
    });
    let preview = PreviewData::new(1, 0);
    let lost = preview.subscribe_hosts(listener(&panics)).unwrap();
    eventually("its first call", || panics.calls() == 1);
    preview.rename_host("again".to_owned());
    assert_eq!(ended(&lost), EndReason::Broken);
    assert_eq!(Arc::strong_count(&panics), 1, "the listener was let go");
    assert_eq!(
        ended(&open),
        EndReason::Broken,
        "it does not stay as it was last"
    );

    let host = server_id();
    let answers = [
        ("refresh", runtime.refresh()),
        (
            "platform_event",
            runtime.platform_event(PlatformEvent::Background),
        ),
        (
            "load_older",
            runtime.load_older(host.clone(), "agt_1".to_owned()),
        ),
        ("select_path", runtime.select_path(host, None)),
        (
            "subscribe_hosts",
            runtime.subscribe_hosts(listener(&heard)).map(drop),
        ),
        ("resume", awaited("resume", runtime.resume()).0),
    ];
    for (call, answer) in answers {
        let error = answer.expect_err(call);
        assert!(
            matches!(error, BowlineError::Broken { .. }),
            "{call}: {error}"
        );
    }
    awaited("pause", runtime.pause()).0.unwrap();
    awaited("shutdown", runtime.shutdown()).0.unwrap();
}
