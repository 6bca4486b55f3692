//! What fills a subscription's slot, and the delivery of its values as changes.

use std::sync::Arc;

use bowline_runtime::{Snapshot, TimelineView, TopicBacklog};
use tokio::sync::watch;

use crate::{
    error::BowlineError,
    listeners::{CallbackError, HostsListener, TimelineListener, TopicListener},
    slot::{Sink, Slot, follow},
    subscription::{EndReason, Subscription},
};

/// Delivers a value as changes since the listener's last one, on the dispatcher's thread.
pub(crate) struct Changes<T, F> {
    call: F,
    /// The listener's last value. After a failure its state is unknown, so the next update starts
    /// from nothing.
    base: Option<Arc<T>>,
}

impl<T, F> Changes<T, F>
where
    F: FnMut(Option<&T>, &T) -> Result<(), CallbackError>,
{
    /// `call` gets the listener's last value and the newest one.
    pub(crate) const fn new(call: F) -> Self {
        Self { call, base: None }
    }
}

impl<T, F> Sink<Arc<T>> for Changes<T, F>
where
    T: Send + Sync,
    F: FnMut(Option<&T>, &T) -> Result<(), CallbackError> + Send,
{
    fn deliver(&mut self, newest: &Arc<T>) -> Result<(), CallbackError> {
        let base = self.base.take();
        (self.call)(base.as_deref(), newest)?;
        self.base = Some(Arc::clone(newest));
        Ok(())
    }
}

/// Delivers a timeline's newest view.
pub(crate) fn timeline_slot(
    listener: Box<dyn TimelineListener>,
) -> Result<Arc<Slot<Arc<TimelineView>>>, BowlineError> {
    Slot::new(Changes::new(move |base, new| {
        listener.on_timeline((base, new).into())
    }))
}

/// Delivers a topic's events, batch by batch, each until the listener has taken it.
pub(crate) struct TopicSink {
    listener: Box<dyn TopicListener>,
    /// What the listener has not taken, because it failed.
    left: TopicBacklog,
}

impl TopicSink {
    pub(crate) fn new(listener: Box<dyn TopicListener>) -> Self {
        let left = TopicBacklog::default();
        Self { listener, left }
    }
}

impl Sink<TopicBacklog> for TopicSink {
    fn deliver(&mut self, newest: &TopicBacklog) -> Result<(), CallbackError> {
        let mut newest = newest.clone();
        while let Some(batch) = newest.take() {
            self.left.append(&batch);
        }
        while let Some(batch) = self.left.take() {
            if let Err(error) = self.listener.on_topic((&batch).into()) {
                self.left.put_back(batch);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The failed events are in `left` already.
    fn again(&self, _: TopicBacklog, newer: Option<TopicBacklog>) -> TopicBacklog {
        newer.unwrap_or_default()
    }
}

/// Delivers the newest snapshots of all hosts.
pub(crate) fn follow_hosts(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    listener: Box<dyn HostsListener>,
) -> Result<Arc<Subscription>, BowlineError> {
    let slot = Slot::new(Changes::new(move |_, new: &Snapshot| {
        listener.on_hosts(new.into())
    }))?;
    follow_values(slot, snapshots)
}

/// Feeds a slot with each newest value until the sender is dropped.
pub(crate) fn follow_values<T: Send + Sync + 'static>(
    slot: Arc<Slot<Arc<T>>>,
    mut values: watch::Receiver<Arc<T>>,
) -> Result<Arc<Subscription>, BowlineError> {
    slot.put(Arc::clone(&values.borrow_and_update()));
    let target = Arc::clone(&slot);
    follow(&slot, async move {
        while values.changed().await.is_ok() {
            target.put(Arc::clone(&values.borrow_and_update()));
        }
        EndReason::RuntimeClosed
    })?;
    Ok(Subscription::new(slot))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bowline_runtime::{TopicBatch, protocol::live::TopicEvent};

    use super::*;
    use crate::records::TopicUpdate;

    /// Takes every second update.
    #[derive(Clone, Default)]
    struct Weak(Arc<Mutex<(u32, Vec<String>)>>);

    impl TopicListener for Weak {
        fn on_topic(&self, update: TopicUpdate) -> Result<(), CallbackError> {
            let mut state = self.0.lock().unwrap();
            state.0 += 1;
            if state.0 % 2 == 1 {
                let detail = "not now".to_owned();
                return Err(CallbackError::Failed { detail });
            }
            state.1.extend(update.missed.then(|| "*".to_owned()));
            state
                .1
                .extend(update.events.into_iter().map(|event| event.json));
            Ok(())
        }
    }

    fn batch(missed: bool, number: u32) -> TopicBatch {
        let event = TopicEvent {
            name: "voxel.saved".to_owned(),
            key: "castle".to_owned(),
            body: serde_json::from_str(&number.to_string()).unwrap(),
            intent_id: None,
        };
        TopicBatch {
            missed,
            events: vec![Arc::new(event)],
            ..TopicBatch::default()
        }
    }

    #[test]
    fn ld_10_a_listener_that_fails_gets_every_event_in_order_all_the_same() {
        let listener = Weak::default();
        let mut sink = TopicSink::new(Box::new(listener.clone()));
        let mut expected = Vec::new();
        let mut next = TopicBacklog::default();
        for number in 0..20 {
            next.append(&batch(number % 3 == 1, number));
            if number % 3 == 1 {
                expected.push("*".to_owned());
            }
            expected.push(number.to_string());
            let given = std::mem::take(&mut next);
            if sink.deliver(&given).is_err() {
                next = sink.again(given, None);
            }
        }
        while sink.deliver(&next).is_err() {
            next = sink.again(next, None);
        }
        assert_eq!(listener.0.lock().unwrap().1, expected);
    }
}
