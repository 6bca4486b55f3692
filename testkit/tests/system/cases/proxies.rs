//! Proxies between a program and its relay, and the small servers that tests put in the way.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use super::{
    network::{Relay, failed, registered},
    rig::{Rig, finish},
};

/// Listens on a free port and serves each connection on a separate thread until the test ends.
pub(super) fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of an HTTP request.
pub(super) fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Passes bytes both ways until both ends are done.
pub(super) fn splice(near: TcpStream, far: TcpStream) {
    let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut near_in, &mut far_out);
        let _ = far_out.shutdown(std::net::Shutdown::Write);
    });
    let (mut far_in, mut near_out) = (far, near);
    let _ = std::io::copy(&mut far_in, &mut near_out);
    let _ = near_out.shutdown(std::net::Shutdown::Write);
}

/// Requests received by a test's proxies.
type Asked = Arc<Mutex<Vec<String>>>;

/// An HTTP proxy that connects every name to `relay`, given the right user and password.
fn http_proxy(relay: SocketAddr) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let address = serve(move |mut stream| {
        let head = head(&mut stream);
        seen.lock()
            .unwrap()
            .push(head.lines().next().unwrap_or_default().to_owned());
        // user:s3cret/
        if !head.contains("Basic dXNlcjpzM2NyZXQv\r\n") {
            let _ = stream.write_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            );
            return;
        }
        let far = TcpStream::connect(relay).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        splice(stream, far);
    });
    (address, asked)
}

/// A SOCKS5 proxy without authentication that connects every name to `relay`.
fn socks_proxy(relay: SocketAddr) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let address = serve(move |mut stream| {
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            stream.read_exact(&mut bytes).map(|()| bytes)
        };
        let Ok(greeting) = read(2) else { return };
        let _ = read(greeting[1].into());
        let _ = stream.write_all(&[5, 0]);
        let mut request = [0; 5];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request[..4], [5, 1, 0, 3], "a connect to a name");
        let mut name = vec![0; usize::from(request[4]) + 2];
        stream.read_exact(&mut name).unwrap();
        name.truncate(name.len() - 2);
        seen.lock().unwrap().push(String::from_utf8(name).unwrap());
        let far = TcpStream::connect(relay).unwrap();
        let _ = stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]);
        splice(stream, far);
    });
    (address, asked)
}

/// C34: users behind a company proxy were stuck: daemon and client ignored all proxy variables.
#[test]
fn case_c34_daemon_and_client_reach_the_relay_through_proxies() {
    let mut rig = Rig::new();
    let relay = Relay::named(&rig, "relay.invalid");
    // Only the proxies resolve the name.
    let url = format!("ws://relay.invalid:{}", relay.port());
    let (proxy, asked) = http_proxy(relay.address);
    let (socks, named) = socks_proxy(relay.address);
    let mut command = rig.daemon_command(&["--relay", &url, "--log", "trace"]);
    command.env("http_proxy", format!("http://user:s3cret%2F@{proxy}"));
    rig.start(command);
    registered(&rig, 0);
    let target = format!("CONNECT relay.invalid:{} HTTP/1.1", relay.port());
    assert!(asked.lock().unwrap().contains(&target), "{asked:?}");
    // The direct path is local and bypasses ALL_PROXY.
    let offer: Value = serde_json::from_str(&rig.bd(&["pair", "--json"]).stdout).unwrap();
    let mut pair = rig.bl_command(&["pair", "--yes", offer["offer"].as_str().unwrap()]);
    pair.env("ALL_PROXY", format!("socks5h://{socks}"));
    let paired = finish(pair);
    assert_eq!(paired.code, 0, "{paired:?}");
    let mut run = rig.bl_command(&[
        "--only",
        "relay",
        "run",
        "--provider",
        "shell",
        "echo through",
    ]);
    run.env("ALL_PROXY", format!("socks5h://{socks}"));
    let run = finish(run);
    assert_eq!((run.code, run.stdout.trim()), (0, "through"), "{run:?}");
    assert!(
        named.lock().unwrap().contains(&"relay.invalid".to_owned()),
        "{named:?}"
    );
    assert!(!rig.log().contains("s3cret"), "{}", rig.log());
}

/// C34: a proxy that refuses is named, with the remedy and without the password.
#[test]
fn case_c34_a_proxy_that_refuses_is_told_as_such() {
    let mut rig = Rig::new();
    let (proxy, _) = http_proxy(([127, 0, 0, 1], 1).into());
    let mut command = rig.daemon_command(&["--relay", "wss://relay.invalid", "--log", "trace"]);
    command.env("HTTPS_PROXY", format!("http://user:wr0ng@{proxy}"));
    rig.start(command);
    let (reason, message) = failed(&rig);
    assert_eq!(reason, "unreachable", "{message}");
    assert!(
        message.contains(&proxy.to_string()) && message.contains("407"),
        "{message}"
    );
    assert!(
        !message.contains("wr0ng") && !rig.log().contains("wr0ng"),
        "{message}"
    );
    // NO_PROXY exceptions bypass the proxy.
    rig.stop();
    let mut command = rig.daemon_command(&["--relay", "wss://127.0.0.1:1"]);
    command
        .env("HTTPS_PROXY", format!("http://user:wr0ng@{proxy}"))
        .env("NO_PROXY", "127.0.0.0/8");
    rig.start(command);
    let (_, message) = failed(&rig);
    assert!(
        message.contains("refused") && !message.contains("proxy"),
        "{message}"
    );
}
