//! A service whose rows and items refer to blobs, and a client that puts and gets them by the page
//! of the protocol alone.

use bowline_daemon::{
    ledger::{Log, Table, Tx},
    service::{Methods, Scope, Service},
    setup::Services,
};
use bowline_protocol::{BlobHash, Role, error::RpcError, methods::Empty};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;

const IMAGES: Table<Value> = Table::new("gallery.images");
const DIARY: Log<Value> = Log::new("gallery.diary").keeping(2, 1 << 20);

/// `gallery.put {key, blobs, share?}` has the row `key` refer to blobs, `gallery.remove {key}`
/// removes it, `gallery.note {blobs}` adds an item that refers to blobs to the log `d`.
pub(crate) struct Gallery;

#[derive(Deserialize, JsonSchema)]
struct Put {
    key: String,
    #[serde(default)]
    blobs: Vec<BlobHash>,
    #[serde(default)]
    share: bool,
}

#[derive(Deserialize, JsonSchema)]
struct Room {
    room: String,
}

impl Service for Gallery {
    fn methods(methods: &mut Methods<Self>) {
        methods
            .intent("gallery.put", Self::put)
            .role(Role::Operator);
        methods
            .intent("gallery.remove", |_, tx, put: Put| {
                IMAGES.remove(tx, &put.key)
            })
            .role(Role::Operator);
        methods
            .intent("gallery.note", Self::note)
            .role(Role::Operator);
        methods.table(&IMAGES, |of: Room| match of.room.as_str() {
            "attic" => Err(RpcError::invalid_params("nobody sees the attic")),
            room => Scope::under(room),
        });
        methods.log(&DIARY, |_: Empty| Scope::row("d"));
    }
}

impl Gallery {
    fn put(&self, tx: &mut Tx<'_>, put: Put) -> Result<Empty, RpcError> {
        IMAGES.put(tx, &put.key, &json!(put.blobs))?;
        if put.share {
            IMAGES.share_blobs(tx, &put.key, &put.blobs)?;
        } else {
            IMAGES.keep_blobs(tx, &put.key, &put.blobs)?;
        }
        Ok(Empty {})
    }

    fn note(&self, tx: &mut Tx<'_>, put: Put) -> Result<Empty, RpcError> {
        let index = DIARY.append(tx, "d", &json!({"text": put.key}))?;
        DIARY.keep_blobs(tx, "d", index, &put.blobs)?;
        Ok(Empty {})
    }
}

pub(crate) fn services() -> Services {
    Services::none().with(Gallery)
}

/// Bytes without a pattern that would repeat within a piece, and their name.
pub(crate) fn blob(size: usize, seed: u32) -> (Vec<u8>, String) {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(size)
    .collect();
    let hash = BlobHash::of(&bytes).to_string();
    (bytes, hash)
}

/// Sends one piece.
pub(crate) async fn piece(
    client: &mut Client,
    (hash, size): (&str, usize),
    offset: usize,
    bytes: &[u8],
) -> Value {
    let params = json!({"hash": hash, "size": size, "offset": offset});
    let id = client.ask_with("blobs.put", params, bytes).await;
    client.answer(id).await
}

/// Asks how much of a blob is there.
pub(crate) async fn have(client: &mut Client, hash: &str, size: usize) -> Value {
    let params = json!({"hash": hash, "size": size});
    client.call("blobs.put", params).await
}

/// Puts a whole blob.
pub(crate) async fn put(client: &mut Client, bytes: &[u8], hash: &str) -> Value {
    let mut answer = have(client, hash, bytes.len()).await;
    while answer["result"]["done"] == false {
        let at = usize::try_from(answer["result"]["have"].as_u64().unwrap()).unwrap();
        let end = bytes.len().min(at + 256 * 1024);
        answer = piece(client, (hash, bytes.len()), at, &bytes[at..end]).await;
    }
    answer
}

/// Gets a whole blob, or the refusal.
pub(crate) async fn get(client: &mut Client, hash: &str, of: Value) -> Result<Vec<u8>, Value> {
    let mut bytes = Vec::new();
    loop {
        let mut params = json!({"hash": hash, "offset": bytes.len()});
        if !of.is_null() {
            params["of"] = of.clone();
        }
        client.carried.clear();
        let answer = client.call("blobs.get", params).await;
        let Some(size) = answer["result"]["size"].as_u64() else {
            return Err(answer);
        };
        bytes.extend_from_slice(&client.carried);
        if bytes.len() as u64 == size {
            return Ok(bytes);
        }
        assert!(!client.carried.is_empty(), "{answer}");
    }
}
