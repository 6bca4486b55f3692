//! From an accepted socket to an attached connection (`docs/protocol.md` §2, §3; BX-3, INV-8, INV-9).
//!
//! Nothing on the daemon changes before the client's first sealed message has decrypted: a replayed message 1 gets
//! an answer that only the device's key can read, and then its deadline.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};

use bowline_machines::{
    Path,
    connection::{Connection, Effect, Input},
};
use bowline_protocol::{
    Closing, DeviceId, Hello, Reason, Refusal, Welcome,
    handshake::{Accepted, WelcomeLimits},
    seal::{Channel, Responder, SealError},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Environment, Listed, MessageSocket, Received, Who,
    driver::{Driver, Opened},
    life::Life,
    link::{Link, Sealed},
    registry::Kind,
};
use crate::{
    ledger::{Admission, Attached},
    observe,
    service::{Context, Origin},
};

/// Longest client name and version kept for listings, in characters.
const MAX_CLIENT: usize = 64;

/// How long a local connection that cannot be served may take to hear so.
const LOCAL_GOODBYE: Duration = Duration::from_secs(1);

/// How a handshake failed.
enum Failed {
    /// Tell the peer why and close. What ends attempts was said in the welcome.
    Close(Reason),
    /// The same after the welcome, sealed.
    Refused(Box<Channel>, Closing),
    /// Nobody is left to tell.
    Gone,
}

/// What a handshake comes to.
struct Agreed {
    channel: Channel,
    attached: Attached,
    origin: Origin,
    session: String,
    /// The client's first text.
    first: Vec<u8>,
}

/// Serves one socket from its first message to its end: the same for a WebSocket and a relay's lane (SV-1).
pub fn serve<S: MessageSocket>(
    environment: Arc<Environment>,
    socket: S,
    listed: Listed,
    accepted_at: bowline_machines::Moment,
) -> impl Future<Output = ()> + Send + 'static {
    Life::begin(open(environment, socket, listed, accepted_at))
}

async fn open<S: MessageSocket>(
    environment: Arc<Environment>,
    mut socket: S,
    listed: Listed,
    accepted_at: bowline_machines::Moment,
) -> Option<Box<Driver<Sealed<S>>>> {
    let path = listed.entry().handle().path;
    let config = Arc::clone(&environment.session_config);
    let mut machine = Connection::new(config, path, accepted_at);
    let now = environment.clock.now();
    let left = machine.poll_timeout().map(|due| due.since(now));
    let deadline = Instant::now() + left.unwrap_or_default();
    let outcome = tokio::select! {
        biased;
        outcome = timeout_at(deadline, agree(&environment, &mut socket, &listed)) => outcome,
        reason = poll_fn(|cx| listed.entry().outbound().poll_closed(cx)) => Ok(Err(Failed::Close(reason))),
    };
    let now = environment.clock.now();
    let mut goodbye = None;
    match outcome {
        Ok(Ok(agreed)) => {
            machine.handle(now, Input::HandshakeDone);
            let context = Context {
                ledger: environment.ledger.clone(),
                session: agreed
                    .attached
                    .attachment
                    .as_ref()
                    .map(|attachment| attachment.session().clone()),
                origin: agreed.origin,
                connection: listed.entry().handle().id,
                max_message_bytes: environment.limits.max_message_bytes,
            };
            let opened = Opened {
                link: Sealed::new(socket, agreed.channel),
                listed,
                machine,
                context,
                attachment: agreed.attached.attachment,
                replay: agreed.attached.replay,
                session: Some(agreed.session.into()),
                place: None,
            };
            let mut driver = Box::new(Driver::new(environment, opened));
            driver.take_first(&agreed.first);
            return Some(driver);
        }
        Ok(Err(Failed::Close(reason))) => machine.handle(now, Input::Close { reason }),
        Ok(Err(Failed::Refused(channel, closing))) => {
            let reason = closing.reason;
            goodbye = Some((channel, closing));
            machine.handle(now, Input::Close { reason });
        }
        Ok(Err(Failed::Gone)) => {
            let reason = Reason::ConnectionLost;
            machine.handle(now, Input::PeerClosed { reason });
        }
        Err(_) => machine.handle_timeout(now.max(machine.poll_timeout().unwrap_or(now))),
    }
    while let Some(effect) = machine.poll_effect() {
        if let Effect::BeginClose { reason } = effect {
            let allowance = machine.poll_timeout().map(|due| due.since(now));
            let allowance = allowance.unwrap_or_default();
            match goodbye.take() {
                Some((channel, closing)) => {
                    let mut link = Sealed::new(socket, *channel);
                    let _ = timeout(allowance, link.close_with(closing)).await;
                    machine.handle(environment.clock.now(), Input::PeerClosed { reason });
                    break;
                }
                None => {
                    let _ = timeout(allowance, socket.close(reason)).await;
                    machine.handle(environment.clock.now(), Input::PeerClosed { reason });
                }
            }
        }
    }
    listed.entry().note(machine.state(), 0, 0, 0);
    while let Some(transition) = machine.poll_transition() {
        observe::transition(environment.identity.server_id(), "", &transition);
    }
    None
}

/// The three steps: hello, welcome, first sealed text.
async fn agree<S: MessageSocket>(
    environment: &Environment,
    socket: &mut S,
    listed: &Listed,
) -> Result<Agreed, Failed> {
    let identity = &environment.identity;
    let mut responder = Responder::new(&identity.transport, identity.server_id())
        .map_err(|error| Failed::Close(error.reason()))?;
    let message = receive(environment, socket, listed).await?;
    let (device, hello) = responder
        .read_hello(&message)
        .map_err(|error| match error {
            // The bound of the hello is its own, not that of messages.
            SealError::TooLarge { .. } => Failed::Close(Reason::BadRequest),
            error => Failed::Close(error.reason()),
        })?;
    drop(message);
    let max = environment.limits.max_message_bytes as usize;
    let looked_at = match Hello::parse(&hello) {
        Ok(hello) => match environment.ledger.admit(device, &hello).await {
            Ok(admission) => Ok((hello, admission)),
            Err(refusal) => Err(refusal),
        },
        Err(error) => Err(Refusal::new(error.reason(), error.to_string())),
    };
    let (hello, admission) = match looked_at {
        Ok(both) => both,
        Err(refusal) => {
            let reason = refusal.reason;
            tracing::info!(device = %DeviceId::of_public_key(&device), reason = reason.as_str(), "refused: {}", refusal.message);
            if let Ok((message, _)) = responder.write_welcome(&Welcome::Refused(refusal), max) {
                send(socket, listed, message).await?;
            }
            return Err(Failed::Close(reason));
        }
    };
    let welcome = accepted(environment, &admission);
    let (message, mut channel) = responder
        .write_welcome(&welcome, max)
        .map_err(|error| Failed::Close(error.reason()))?;
    send(socket, listed, message).await?;
    let first = first_text(environment, socket, listed, &mut channel).await?;
    let probe = admission.is_probe();
    let session = if probe {
        String::new()
    } else {
        hello.client_session_key.external().log_hash()
    };
    listed.entry().identify(Who {
        kind: if probe { Kind::Probe } else { Kind::Session },
        session: (!probe).then(|| session.clone()),
        device: Some(admission.device_id()),
        client: Some(client_label(&hello)),
    });
    let handle = listed.entry().handle().clone();
    let attached = match environment.ledger.attach(admission, handle).await {
        Ok(attached) => attached,
        Err(refusal) => {
            let closing = Closing {
                reason: refusal.reason,
                retry_after: refusal.retry_after_ms.map(Duration::from_millis),
            };
            return Err(Failed::Refused(Box::new(channel), closing));
        }
    };
    Ok(Agreed {
        channel,
        attached,
        origin: if probe {
            Origin::Probe
        } else {
            Origin::Session
        },
        session,
        first,
    })
}

fn accepted(environment: &Environment, admission: &Admission) -> Welcome {
    Welcome::Accepted(Accepted {
        server_id: environment.identity.server_id().clone(),
        server_name: environment.name.clone(),
        version: crate::VERSION.to_owned(),
        session: admission.session().cloned(),
        heartbeat_ms: Environment::heartbeat_ms(),
        limits: WelcomeLimits {
            max_message_bytes: environment.limits.max_message_bytes,
            max_in_flight: environment.limits.max_in_flight,
        },
        capabilities: Vec::new(),
    })
}

fn client_label(hello: &Hello) -> String {
    let label = format!(
        "{} {} ({})",
        hello.client.name, hello.client.version, hello.client.platform
    );
    let printable = label
        .chars()
        .filter(|c| !bowline_protocol::text::is_harmful(*c));
    printable.take(MAX_CLIENT).collect()
}

/// The first sealed text of the client, normally `session.ready`.
async fn first_text<S: MessageSocket>(
    environment: &Environment,
    socket: &mut S,
    listed: &Listed,
    channel: &mut Channel,
) -> Result<Vec<u8>, Failed> {
    let mut buffer = Vec::new();
    loop {
        let message = receive(environment, socket, listed).await?;
        match channel.open(&message, &mut buffer) {
            Ok(Some(text)) => return Ok(text.to_vec()),
            Ok(None) => {}
            Err(error) => return Err(Failed::Close(error.reason())),
        }
    }
}

async fn receive<S: MessageSocket>(
    environment: &Environment,
    socket: &mut S,
    listed: &Listed,
) -> Result<bytes::Bytes, Failed> {
    loop {
        match poll_fn(|cx| socket.poll_recv(cx)).await {
            Received::Message(message) => {
                let now = environment.clock.now();
                listed.entry().heard(now, message.len());
                return Ok(message);
            }
            Received::Alive => {}
            Received::Gone => return Err(Failed::Gone),
            Received::Broken(reason) => return Err(Failed::Close(reason)),
        }
    }
}

async fn send<S: MessageSocket>(
    socket: &mut S,
    listed: &Listed,
    message: Vec<u8>,
) -> Result<(), Failed> {
    poll_fn(|cx| socket.poll_ready(cx))
        .await
        .map_err(|_| Failed::Gone)?;
    listed.entry().sent(message.len());
    socket.feed(message).map_err(|_| Failed::Gone)?;
    poll_fn(|cx| socket.poll_flush(cx))
        .await
        .map_err(|_| Failed::Gone)
}

/// Serves one connection of the local socket, and keeps its place until it has ended. It has no handshake: the system has
/// said whose process it is.
pub(crate) fn serve_local<L: Link>(
    environment: Arc<Environment>,
    link: L,
    listed: Listed,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send + 'static {
    Life::begin(open_local(environment, link, listed, place))
}

async fn open_local<L: Link>(
    environment: Arc<Environment>,
    mut link: L,
    listed: Listed,
    place: OwnedSemaphorePermit,
) -> Option<Box<Driver<L>>> {
    let handle = listed.entry().handle().clone();
    let attachment = match environment.ledger.attach_local(handle).await {
        Ok(attachment) => attachment,
        Err(error) => {
            tracing::warn!(%error, "a local connection could not be served");
            listed.entry().ended(Reason::RateLimited);
            let _ = timeout(LOCAL_GOODBYE, link.close(Reason::RateLimited)).await;
            return None;
        }
    };
    let config = Arc::clone(&environment.local_config);
    let opened = Opened {
        link,
        machine: Connection::new(config, Path::Local, environment.clock.now()),
        context: Context {
            ledger: environment.ledger.clone(),
            session: Some(attachment.session().clone()),
            origin: Origin::Local,
            connection: listed.entry().handle().id,
            max_message_bytes: environment.limits.max_message_bytes,
        },
        listed,
        attachment: Some(attachment),
        replay: Vec::new(),
        session: None,
        place: Some(place),
    };
    Some(Box::new(Driver::new(environment, opened)))
}

/// Lists a connection that has just been accepted.
pub fn list(environment: &Environment, path: Path, peer: Option<std::net::SocketAddr>) -> Listed {
    environment
        .registry
        .open(path, peer, environment.clock.now())
}
