//! Older pages on request, and one subscription for all screens of an agent.

use super::*;

#[tokio::test(start_paused = true)]
async fn older_pages_come_on_request_and_are_put_before_what_is_shown() {
    let rig = Rig::online(&["a:1"]).await;
    {
        let mut state = rig.daemon.state();
        let items = (0..250).map(|index| item(index, ItemKind::Output, &index.to_string()));
        state.items.extend(items);
    }
    let mut screen = open(&rig);
    let mut shown = until(&mut screen, "loaded", is_calm).await;
    assert_eq!(shown.timeline.items.first_index(), 150);
    for first in [50, 0] {
        assert_eq!(shown.timeline.older, Beyond::More);
        rig.runtime.load_older(&server_id(), &agent_id(1)).unwrap();
        let before = shown;
        shown = until(&mut screen, "older", |shown| {
            shown.timeline.items.first_index() == first
        })
        .await;
        assert!(shown.screen.toast.is_none(), "older pages are no refresh");
        let diff = shown.timeline.diff(Some(&before.timeline));
        assert_eq!(diff.items.changes.len(), 1, "{diff:?}");
    }
    assert_eq!(shown.timeline.older, Beyond::None);
    assert_eq!(shown.timeline.items.len(), 250);
}

#[tokio::test(start_paused = true)]
async fn screens_of_one_agent_share_a_subscription_that_ends_with_the_last() {
    let rig = Rig::online(&["a:1"]).await;
    let (mut one, mut two) = (open(&rig), open(&rig));
    until(&mut one, "loaded", is_calm).await;
    until(&mut two, "loaded", is_calm).await;
    assert_eq!(rig.daemon.requests(name::AGENTS_SUBSCRIBE), 1);
    drop(one);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1);
    drop(two);
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
}
