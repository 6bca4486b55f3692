//! What a daemon says that it offers (LD-7): `rpc.discover` and `describe`.

use bowline_daemon::{service::Router, setup::Services};
use bowline_protocol::{extension::OWN_METHODS, methods::name};
use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    grants::{paired_with, reason},
    live::Board,
    local::Local,
};

/// Notifications, which are no methods to be called.
const NOTIFICATIONS: [&str; 6] = [
    name::SESSION_READY,
    name::SESSION_EVENT,
    name::SESSION_ACK,
    name::PAIRING_ASKED,
    name::PAIRING_APPROVED,
    name::CONNECTION_CLOSING,
];

fn names(document: &Value) -> Vec<&str> {
    let methods = document["methods"].as_array().unwrap().iter();
    methods
        .map(|method| method["name"].as_str().unwrap())
        .collect()
}

fn method<'a>(document: &'a Value, name: &str) -> &'a Value {
    let mut methods = document["methods"].as_array().unwrap().iter();
    methods.find(|method| method["name"] == name).unwrap()
}

/// Every reference in a document.
fn references<'a>(of: &'a Value, found: &mut Vec<&'a str>) {
    match of {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members
                .values()
                .for_each(|member| references(member, found));
        }
        Value::Array(list) => list.iter().for_each(|one| references(one, found)),
        _ => {}
    }
}

#[tokio::test]
async fn ld_7_every_device_gets_one_document_of_the_daemon_and_its_services() {
    let daemon = TestDaemon::of(Services::none().with(Board), |_| {}).await;
    let mut local = Local::connect(&daemon).await;
    let (_, _, mut viewer) = paired_with(&mut local, json!({"grant": {"role": "viewer"}})).await;
    let said = viewer.call("rpc.discover", json!({})).await;
    assert_eq!(reason(&said), "none");
    let document = &said["result"];
    assert_eq!(
        document,
        &local.call("rpc.discover", json!({})).await["result"]
    );

    let mut expected = name::ALL.to_vec();
    expected.retain(|name| !NOTIFICATIONS.contains(name) && !OWN_METHODS.contains(name));
    expected.extend(["board.later", "board.put", "board.say"]);
    expected.sort_unstable();
    assert_eq!(names(document), expected);

    let put = method(document, "board.put");
    let members: Vec<_> = put["params"].as_array().unwrap().iter().collect();
    assert_eq!(members[0]["name"], "intentId");
    assert_eq!(members[1]["name"], "rows");
    assert_eq!(members[1]["required"], true);
    assert_eq!(put["x-bowline"]["kind"], "intent");
    assert_eq!(put["x-bowline"]["role"], "owner");
    // It reads its `intentId` itself.
    let later = &method(document, "board.later")["x-bowline"];
    assert_eq!(later["kind"], "intent");
    assert_eq!(
        method(document, "devices.list")["x-bowline"]["access"],
        "owner"
    );

    let live = document["x-bowline"]["live"].as_array().unwrap();
    let shown = live
        .iter()
        .map(|one| (one["kind"].as_str(), one["name"].as_str()));
    let shown: Vec<_> = shown
        .map(|(kind, name)| (kind.unwrap(), name.unwrap()))
        .collect();
    let expected = [
        ("table", "board.grown"),
        ("table", "board.own"),
        ("table", "board.rows"),
        ("topic", "board.said"),
        ("topic", "board.secrets"),
    ];
    assert_eq!(shown, expected);
    assert_eq!(live[1]["role"], "operator");
    assert_eq!(live[0]["value"]["$ref"], "#/components/schemas/Grown");
    assert_eq!(live[2]["params"]["$ref"], "#/components/schemas/Of");

    let mut all = Vec::new();
    references(document, &mut all);
    assert!(all.len() > 100, "{}", all.len());
    for path in all {
        let pointer = path.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{path} leads nowhere");
    }
    let bytes = document.to_string().len();
    assert!(
        bytes < 128 * 1024,
        "{bytes} bytes: a quarter of it is for services"
    );
}

#[tokio::test]
async fn ld_7_a_document_over_the_size_of_a_message_is_refused_and_nothing_ends() {
    let daemon = TestDaemon::of(Services::none(), |settings| {
        settings.limits.max_message_bytes = 16_384;
    });
    let daemon = daemon.await;
    let mut local = Local::connect(&daemon).await;
    let said = local.call("rpc.discover", json!({})).await;
    assert_eq!(reason(&said), "response_too_large");
    assert!(local.is_served().await);
}

#[test]
fn ld_7_generators_get_one_schema() {
    let mut router = Router::new();
    router.add(Board).unwrap();
    let schema = router.schema();
    let types = schema["definitions"].as_object().unwrap();
    let names: Vec<_> = types.keys().map(String::as_str).collect();
    assert_eq!(names, ["Grown", "Later", "Marks", "Of", "Put", "Say"]);
    let mut all = Vec::new();
    references(&schema, &mut all);
    assert!(!all.is_empty());
    for path in all {
        let pointer = path.strip_prefix('#').unwrap();
        assert!(schema.pointer(pointer).is_some(), "{path} leads nowhere");
    }
}
