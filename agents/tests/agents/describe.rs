//! What a daemon with agents says that it offers (LD-7).

use bowline_daemon::service::Access;
use bowline_protocol::extension::{OWN_LIVE, OWN_METHODS};
use serde_json::json;

use crate::{prompted::daemon, support::local::Local};

#[tokio::test]
async fn ld_6_agents_answer_every_method_of_the_protocol_that_the_daemon_does_not() {
    let daemon = daemon().await;
    let mut local = Local::connect(&daemon).await;
    let document = local.call("rpc.discover", json!({})).await["result"].clone();
    let methods = document["methods"].as_array().unwrap().iter();
    let names: Vec<_> = methods
        .map(|method| method["name"].as_str().unwrap())
        .collect();
    for name in OWN_METHODS {
        assert!(names.contains(name), "{name}");
    }
    let router = daemon.daemon.acceptor().router();
    let methods = router
        .methods()
        .filter(|method| OWN_METHODS.contains(&method.name()));
    let open: Vec<_> = methods
        .map(|method| method.access() == Access::Sessions)
        .collect();
    assert_eq!(open, [true; 10], "all of them are for sessions");

    let live = document["x-bowline"]["live"].as_array().unwrap().iter();
    let live: Vec<_> = live.map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(live, OWN_LIVE);
}
