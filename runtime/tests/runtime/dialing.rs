//! The runtime's connector against servers that are not daemons.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use bowline_protocol::{PublicKey, Reason, RouteKey};
use bowline_runtime::{
    machines::Path,
    transport::{Address, Connector, Target, WebSocketConnector},
};

use crate::rig::server_id;

/// Answers every request with `answer`.
fn web(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

async fn dial(path: Path, address: String) -> bowline_runtime::Failure {
    let server_id = server_id();
    let target = Target {
        address: Address { path, address },
        route_key: RouteKey::of_device(&PublicKey::from_bytes([1; 32]), &server_id),
        server_id,
    };
    let connector = WebSocketConnector::new(&[]).unwrap();
    match connector.connect(&target).await {
        Ok(_) => panic!("a web server is no daemon"),
        Err(failure) => failure,
    }
}

/// C41: only the daemon's dialer honoured `Retry-After`.
#[tokio::test]
async fn case_c41_retry_after_reaches_the_client() {
    let busy =
        web("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    for (path, address) in [
        (Path::Relay, format!("ws://{busy}")),
        (Path::Direct, busy.to_string()),
    ] {
        let failure = dial(path, address).await;
        assert_eq!(failure.reason, Reason::ServerRestarting, "{failure}");
        assert_eq!(
            failure.retry_after,
            Some(Duration::from_secs(7)),
            "{failure}"
        );
    }
}

/// C32 for a client: a 404 from a server that is no relay, and a URL in capitals.
#[tokio::test]
async fn case_c32_a_web_server_is_told_as_one() {
    let web = web("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let failure = dial(Path::Relay, format!("WS://{web}/base/")).await;
    assert_eq!(failure.reason, Reason::NotBowline);
    assert!(failure.message.contains("404, no relay there"), "{failure}");
    let failure = dial(Path::Direct, web.to_string()).await;
    assert!(
        failure.message.contains("404, no Bowline daemon there"),
        "{failure}"
    );
    let failure = dial(Path::Relay, "https://S3CRET@relay.invalid".to_owned()).await;
    assert!(
        failure.message.contains("wss://") && !failure.message.contains("S3CRET"),
        "{failure}"
    );
}
