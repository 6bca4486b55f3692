//! Blobs on the wire: put and got in pieces, continued, verified, and for whom (LD-8).

use serde_json::{Value, json};

use crate::support::{
    TestDaemon,
    client::{Attempt, paired},
    gallery::{blob, get, have, piece, put, services},
    grants::{intent, paired_with, reason},
    local::Local,
};

const PIECE: usize = 256 * 1024;

async fn gallery() -> TestDaemon {
    TestDaemon::of(services(), |_| {}).await
}

#[tokio::test]
async fn ld_8_a_blob_is_put_in_pieces_and_got_again() {
    let daemon = gallery().await;
    let (_, mut client) = paired(&daemon).await;
    for size in [0, 1, PIECE, 3 * PIECE + 17] {
        let (bytes, hash) = blob(size, 1);
        let done = put(&mut client, &bytes, &hash).await;
        assert_eq!(done["result"], json!({"have": size, "done": true}));
        let again = have(&mut client, &hash, size).await;
        assert_eq!(again["result"]["done"], true, "it is there already");
        assert_eq!(get(&mut client, &hash, Value::Null).await.unwrap(), bytes);
    }
    // Pieces on their way together are taken in order.
    let (bytes, hash) = blob(4 * PIECE, 2);
    let mut ids = Vec::new();
    for (n, part) in bytes.chunks(PIECE).enumerate() {
        let params = json!({"hash": hash, "size": bytes.len(), "offset": n * PIECE});
        ids.push(client.ask_with("blobs.put", params, part).await);
    }
    let mut answers = Vec::new();
    for id in ids {
        answers.push(client.answer(id).await["result"].clone());
    }
    let last = json!({"have": bytes.len(), "done": true});
    assert_eq!(answers.pop(), Some(last));
    assert_eq!(answers[0], json!({"have": PIECE, "done": false}));
    // A range of it.
    let params = json!({"hash": hash, "offset": 5, "limit": 3});
    let part = client.call("blobs.get", params).await;
    assert_eq!(part["result"]["size"], bytes.len());
    assert_eq!(client.carried, bytes[5..8]);
    let beyond = json!({"hash": hash, "offset": bytes.len() + 1});
    assert_eq!(
        client.call("blobs.get", beyond).await["error"]["code"],
        -32602
    );
}

#[tokio::test]
async fn ld_8_a_put_goes_on_after_a_lost_connection_and_a_restart_of_the_daemon() {
    let daemon = gallery().await;
    let (install, mut client) = paired(&daemon).await;
    let (bytes, hash) = blob(2 * PIECE + 5, 3);
    let of = (hash.as_str(), bytes.len());
    let first = piece(&mut client, of, 0, &bytes[..PIECE]).await;
    assert_eq!(first["result"], json!({"have": PIECE, "done": false}));
    // What does not continue changes nothing and says where to go on.
    for offset in [0, 7, PIECE + 1] {
        let wrong = piece(&mut client, of, offset, &bytes[offset..offset + 9]).await;
        assert_eq!(wrong["result"], json!({"have": PIECE, "done": false}));
    }
    drop(client);
    let daemon = daemon.again(services()).await;
    let mut client = Attempt::new(&daemon, &install).connect().await;
    let asked = have(&mut client, &hash, bytes.len()).await;
    assert_eq!(asked["result"], json!({"have": PIECE, "done": false}));
    let done = put(&mut client, &bytes, &hash).await;
    assert_eq!(done["result"]["done"], true);
    let daemon = daemon.again(services()).await;
    let mut client = Attempt::new(&daemon, &install).connect().await;
    assert_eq!(get(&mut client, &hash, Value::Null).await.unwrap(), bytes);
    // Another size is another beginning.
    let (_, other) = blob(9, 4);
    piece(&mut client, (&other, 10), 0, b"abc").await;
    let anew = have(&mut client, &other, 9).await;
    assert_eq!(anew["result"]["have"], 0);
}

#[tokio::test]
async fn ld_8_bytes_of_another_hash_are_dropped() {
    let daemon = gallery().await;
    let (_, mut client) = paired(&daemon).await;
    let (mut bytes, hash) = blob(100, 5);
    bytes[50] ^= 1;
    let refused = put(&mut client, &bytes, &hash).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let anew = have(&mut client, &hash, 100).await;
    assert_eq!(anew["result"], json!({"have": 0, "done": false}));
    let long = piece(&mut client, (&hash, 100), 0, &[0; 101]).await;
    assert_eq!(long["error"]["code"], -32602);
    let large = piece(&mut client, (&hash, PIECE + 1), 0, &vec![0; PIECE + 1]).await;
    assert_eq!(large["error"]["code"], -32602);
    let none = get(&mut client, &hash, Value::Null).await.unwrap_err();
    assert_eq!(reason(&none), "not_found");
}

#[tokio::test]
async fn ld_8_texts_with_bytes_that_are_wrong_are_answered_and_survived() {
    let daemon = gallery().await;
    let (_, mut client) = paired(&daemon).await;
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"system.ping"}"#;
    let with_head =
        |length: u32, message: &[u8]| [&[0], &length.to_be_bytes()[..], message].concat();
    for wrong in [
        vec![0],
        with_head(99, b"{}"),
        with_head(4, b"[{}]x"),
        with_head(2, b"{]"),
    ] {
        client.say_bytes(&wrong).await;
        let answer = client.next_answer().await;
        assert!(answer["id"].is_null(), "{answer}");
        assert_eq!(answer["error"]["code"], -32700, "{wrong:?}: {answer}");
    }
    let length = u32::try_from(ping.len()).unwrap();
    client
        .say_bytes(&with_head(length, &[&ping[..], b"x"].concat()))
        .await;
    let refused = client.next_answer().await;
    assert_eq!(refused["error"]["code"], -32602, "a ping carries nothing");
    let (bytes, hash) = blob(10, 6);
    put(&mut client, &bytes, &hash).await;
    let batch =
        json!([{"jsonrpc": "2.0", "id": 5, "method": "blobs.get", "params": {"hash": hash}}]);
    client.say(&batch.to_string()).await;
    let answers = client.next_text().await.unwrap();
    assert_eq!(answers[0]["error"]["code"], -32600, "{answers}");
    assert!(client.is_served().await);
}

#[tokio::test]
async fn ld_8_only_who_has_put_a_blob_or_sees_what_refers_to_it_gets_it() {
    let daemon = gallery().await;
    let (_, mut ann) = paired(&daemon).await;
    let (_, mut bob) = paired(&daemon).await;
    let (bytes, hash) = blob(1_000, 7);
    put(&mut ann, &bytes, &hash).await;
    let hall = json!({"kind": "table", "name": "gallery.images", "params": {"room": "hall"}});
    let of =
        |room: &str| json!({"kind": "table", "name": "gallery.images", "params": {"room": room}});
    let refused = async |client: &mut _, of| {
        let refused = get(client, &hash, of).await.unwrap_err();
        reason(&refused).to_owned()
    };
    assert_eq!(refused(&mut bob, Value::Null).await, "not_found");
    assert_eq!(refused(&mut bob, hall.clone()).await, "not_found");
    // Knowing the name gives nothing: neither a put without bytes, nor a row that names it.
    let asked = have(&mut bob, &hash, bytes.len()).await;
    assert_eq!(asked["result"], json!({"have": 0, "done": false}));
    let named = json!({"key": "hall/bobs", "blobs": [hash]});
    let named = intent(&mut bob, "gallery.put", named).await;
    assert_eq!(reason(&named), "not_found");
    let row = json!({"key": "hall/anns", "blobs": [hash]});
    assert_eq!(reason(&intent(&mut ann, "gallery.put", row).await), "none");
    assert_eq!(get(&mut bob, &hash, hall.clone()).await.unwrap(), bytes);
    assert_eq!(refused(&mut bob, Value::Null).await, "not_found");
    assert_eq!(refused(&mut bob, of("cellar")).await, "not_found");
    let attic = get(&mut bob, &hash, of("attic")).await.unwrap_err();
    assert_eq!(attic["error"]["message"], "nobody sees the attic");
    let log = json!({"kind": "log", "name": "gallery.images", "params": {"room": "hall"}});
    assert_eq!(refused(&mut bob, log).await, "not_found");
    // A service that has checked may let a row of another device refer to it.
    let shared = json!({"key": "cellar/bobs", "blobs": [hash], "share": true});
    assert_eq!(
        reason(&intent(&mut bob, "gallery.put", shared).await),
        "none"
    );
    assert_eq!(get(&mut bob, &hash, of("cellar")).await.unwrap(), bytes);
    // What no longer refers to it gives it to nobody.
    let without = json!({"key": "hall/anns", "blobs": []});
    intent(&mut ann, "gallery.put", without).await;
    assert_eq!(refused(&mut bob, hall).await, "not_found");
    intent(&mut bob, "gallery.remove", json!({"key": "cellar/bobs"})).await;
    assert_eq!(refused(&mut bob, of("cellar")).await, "not_found");
    assert_eq!(get(&mut ann, &hash, Value::Null).await.unwrap(), bytes);
    // Whoever puts the bytes has them.
    put(&mut bob, &bytes, &hash).await;
    assert_eq!(get(&mut bob, &hash, Value::Null).await.unwrap(), bytes);
}

#[tokio::test]
async fn ld_8_tr_4_a_viewer_gets_and_does_not_put_and_the_owner_gets_all() {
    let daemon = gallery().await;
    let mut local = Local::connect(&daemon).await;
    let (_, mut ann) = paired(&daemon).await;
    let viewer = json!({"grant": {"role": "viewer"}});
    let (_, _, mut viewer) = paired_with(&mut local, viewer).await;
    let (bytes, hash) = blob(30, 8);
    let refused = have(&mut viewer, &hash, 30).await;
    assert_eq!(reason(&refused), "not_granted");
    put(&mut ann, &bytes, &hash).await;
    intent(
        &mut ann,
        "gallery.note",
        json!({"key": "a", "blobs": [hash]}),
    )
    .await;
    let of = json!({"kind": "log", "name": "gallery.diary"});
    assert_eq!(get(&mut viewer, &hash, of).await.unwrap(), bytes);
    // The local socket is JSON: bytes are base64url there.
    let got = local.call("blobs.get", json!({"hash": hash})).await;
    let data = got["result"]["data"].as_str().unwrap();
    assert_eq!(bowline_protocol::blob::of_text(data).unwrap(), bytes);
    let (bytes, hash) = blob(40, 9);
    let data = bowline_protocol::blob::to_text(&bytes);
    let put = json!({"hash": hash, "size": 40, "data": data});
    let put = local.call("blobs.put", put).await;
    assert_eq!(put["result"]["done"], true, "{put}");
    let probe = json!({"hash": hash});
    assert_eq!(reason(&ann.call("blobs.get", probe).await), "not_found");
}
