//! From an accepted socket to an attached connection (`docs/protocol.md` §2, §3; BX-3, INV-8,
//! INV-9).
//!
//! No state of the daemon changes before the client's first sealed message decrypts: a replayed
//! message 1 gets a response that only the device's key can read, and then runs into the deadline.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};

use bowline_machines::{
    Path,
    daemon::connection::{Connection, Effect, Input},
};
use bowline_protocol::{
    Closing, DeviceId, Hello, Purpose, Reason, Refusal, Welcome,
    handshake::{Accepted, WelcomeLimits},
    limits::HEARTBEAT,
    seal::{Channel, Responder, SealError},
};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Acceptor, Listed, MessageSocket, Received, Who,
    driver::{Driver, Opened},
    life::Life,
    link::{Sealed, TextChannel},
    registry::Kind,
};
use crate::{
    caller::Caller,
    ledger::{Admission, Attached, SealedRefusal},
    observe,
    service::Origin,
};

/// Longest client name and version in listings, in characters.
const MAX_CLIENT: usize = 64;

/// Time to send the close line of a local connection that cannot be served.
const LOCAL_GOODBYE: Duration = Duration::from_secs(1);

/// Failure of a handshake.
enum Failed {
    /// Send the reason and close. Refusals of attempts are part of the welcome.
    Close(Reason),
    /// The same after the welcome, sealed.
    Refused(Box<Channel>, Closing),
    /// The socket has ended.
    Gone,
}

/// Result of a handshake.
struct Agreed {
    channel: Channel,
    attached: Attached,
    origin: Origin,
    session: String,
    /// The client's first text.
    first: Vec<u8>,
}

/// Serves one socket from its first message to its close, for both WebSockets and relay lanes
/// (SV-1).
pub fn serve<S: MessageSocket>(
    acceptor: Arc<Acceptor>,
    socket: S,
    listed: Listed,
    accepted_at: bowline_machines::MonotonicTime,
) -> impl Future<Output = ()> + Send + 'static {
    Life::begin(open(acceptor, socket, listed, accepted_at))
}

async fn open<S: MessageSocket>(
    acceptor: Arc<Acceptor>,
    mut socket: S,
    mut listed: Listed,
    accepted_at: bowline_machines::MonotonicTime,
) -> Option<Box<Driver<Sealed<S>>>> {
    let path = listed.entry().handle().path;
    let config = Arc::clone(&acceptor.session_config);
    let mut machine = Connection::new(config, path, accepted_at);
    let now = acceptor.clock.now();
    let left = machine.poll_timeout().map(|due| due.since(now));
    let deadline = Instant::now() + left.unwrap_or_default();
    let outcome = tokio::select! {
        biased;
        outcome = timeout_at(deadline, agree(&acceptor, &mut socket, &listed)) => outcome,
        reason = poll_fn(|cx| listed.entry().outbound().poll_closed(cx)) => Ok(Err(Failed::Close(reason))),
        () = listed.dropped() => {
            // Without a goodbye, which would keep the place that others need.
            listed.entry().ended(Reason::RateLimited);
            Ok(Err(Failed::Gone))
        }
    };
    listed.is_proven();
    let now = acceptor.clock.now();
    let mut goodbye = None;
    match outcome {
        Ok(Ok(agreed)) => {
            machine.handle(now, Input::HandshakeDone);
            let opened = Opened {
                link: Sealed::new(socket, agreed.channel),
                listed,
                machine,
                caller: None,
                origin: agreed.origin,
                attachment: agreed.attached.attachment,
                replay: agreed.attached.replay,
                session: Some(agreed.session.into()),
                place: None,
            };
            let mut driver = Box::new(Driver::new(acceptor, opened));
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
                    machine.handle(acceptor.clock.now(), Input::PeerClosed { reason });
                    break;
                }
                None => {
                    let _ = timeout(allowance, socket.close(reason)).await;
                    machine.handle(acceptor.clock.now(), Input::PeerClosed { reason });
                }
            }
        }
    }
    listed.entry().note(machine.state(), 0, 0, 0);
    while let Some(transition) = machine.poll_transition() {
        observe::transition(acceptor.identity.server_id(), "", &transition);
    }
    None
}

/// The three steps: hello, welcome, first sealed text.
async fn agree<S: MessageSocket>(
    acceptor: &Acceptor,
    socket: &mut S,
    listed: &Listed,
) -> Result<Agreed, Failed> {
    let identity = &acceptor.identity;
    let mut responder = Responder::new(&identity.transport, identity.server_id())
        .map_err(|error| Failed::Close(error.reason()))?;
    let message = receive(acceptor, socket, listed).await?;
    let (device, hello) = responder
        .read_hello(&message)
        .map_err(|error| match error {
            // The hello has its own size limit.
            SealError::TooLarge { .. } => Failed::Close(Reason::BadRequest),
            error => Failed::Close(error.reason()),
        })?;
    drop(message);
    let max = acceptor.limits.max_message_bytes as usize;
    let looked_at = match Hello::parse(&hello) {
        Ok(hello) => match acceptor.ledger.admit(device, &hello).await {
            Ok(admission) => Ok((hello, admission)),
            Err(refused) => Err(refused),
        },
        Err(error) => Err(Refusal::new(error.reason(), error.to_string()).into()),
    };
    let (hello, admission) = match looked_at {
        Ok(both) => both,
        Err(SealedRefusal { refusal, psk }) => {
            let reason = refusal.reason;
            tracing::info!(device = %DeviceId::of_public_key(&device), reason = reason.as_str(), "refused: {}", refusal.message);
            let welcome = Welcome::Refused(refusal);
            let sealed = responder.write_welcome(&identity.identity, &psk, &welcome, max);
            if let Ok((message, _)) = sealed {
                send(socket, listed, message).await?;
            }
            return Err(Failed::Close(reason));
        }
    };
    let welcome = accepted(acceptor, &admission);
    let (message, mut channel) = responder
        .write_welcome(&identity.identity, admission.psk(), &welcome, max)
        .map_err(|error| Failed::Close(error.reason()))?;
    send(socket, listed, message).await?;
    let first = first_text(acceptor, socket, listed, &mut channel).await?;
    let kind = match hello.purpose {
        Purpose::Session => Kind::Session,
        Purpose::Probe => Kind::Probe,
        Purpose::Pairing => Kind::Pairing,
    };
    let session = match kind {
        Kind::Session => hello.client_session_key.external().log_hash(),
        _ => String::new(),
    };
    listed.entry().identify(Who {
        kind,
        session: (kind == Kind::Session).then(|| session.clone()),
        device: Some(admission.device_id()),
        client: Some(client_label(&hello)),
    });
    let handle = listed.entry().handle().clone();
    let attached = match acceptor.ledger.attach(admission, handle).await {
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
        origin: match kind {
            Kind::Session => Origin::Session,
            _ => Origin::Probe,
        },
        session,
        first,
    })
}

fn accepted(acceptor: &Acceptor, admission: &Admission) -> Welcome {
    Welcome::Accepted(Accepted {
        server_id: acceptor.identity.server_id().clone(),
        server_name: acceptor.name.clone(),
        version: crate::VERSION.to_owned(),
        session: admission.session().cloned(),
        grant: admission.grant().cloned(),
        heartbeat_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
        limits: WelcomeLimits {
            max_message_bytes: acceptor.limits.max_message_bytes,
            max_in_flight: acceptor.limits.max_in_flight,
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

/// The client's first sealed text, normally `session.ready`.
async fn first_text<S: MessageSocket>(
    acceptor: &Acceptor,
    socket: &mut S,
    listed: &Listed,
    channel: &mut Channel,
) -> Result<Vec<u8>, Failed> {
    let mut buffer = Vec::new();
    loop {
        let message = receive(acceptor, socket, listed).await?;
        match channel.open(&message, &mut buffer) {
            Ok(Some(text)) => return Ok(text.to_vec()),
            Ok(None) => {}
            Err(error) => return Err(Failed::Close(error.reason())),
        }
    }
}

async fn receive<S: MessageSocket>(
    acceptor: &Acceptor,
    socket: &mut S,
    listed: &Listed,
) -> Result<bytes::Bytes, Failed> {
    loop {
        match poll_fn(|cx| socket.poll_recv(cx)).await {
            Received::Message(message) => {
                let now = acceptor.clock.now();
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

/// Serves one connection of the local socket and holds its permit until it closes. It has no
/// handshake: the system authenticates the owner of the process.
pub(crate) fn serve_local<L: TextChannel>(
    acceptor: Arc<Acceptor>,
    link: L,
    listed: Listed,
    place: OwnedSemaphorePermit,
    caller: Caller,
) -> impl Future<Output = ()> + Send + 'static {
    Life::begin(open_local(acceptor, link, listed, place, caller))
}

async fn open_local<L: TextChannel>(
    acceptor: Arc<Acceptor>,
    mut link: L,
    listed: Listed,
    place: OwnedSemaphorePermit,
    caller: Caller,
) -> Option<Box<Driver<L>>> {
    let handle = listed.entry().handle().clone();
    let attachment = match acceptor.ledger.attach_local(handle).await {
        Ok(attachment) => attachment,
        Err(error) => {
            tracing::warn!(%error, "a local connection could not be served");
            listed.entry().ended(Reason::RateLimited);
            let _ = timeout(LOCAL_GOODBYE, link.close(Reason::RateLimited)).await;
            return None;
        }
    };
    let config = Arc::clone(&acceptor.local_config);
    let opened = Opened {
        link,
        machine: Connection::new(config, Path::Local, acceptor.clock.now()),
        origin: Origin::Local,
        caller: Some(caller),
        listed,
        attachment: Some(attachment),
        replay: Vec::new(),
        session: None,
        place: Some(place),
    };
    Some(Box::new(Driver::new(acceptor, opened)))
}
