//! The open topics of a host: their subscribers, and the requests that open and close them.

use std::collections::BTreeMap;

use bowline_machines::data::target::LiveTarget;
use bowline_machines::{
    MonotonicTime,
    data::{
        replica,
        topics::{Effect, TooManyTopics, TopicId},
    },
};
use bowline_protocol::live::LiveKind;

use super::{driver::Driver, events::HostEvent, loads};
use crate::{
    screen::ScreenError,
    topic::{TopicError, TopicPublisher},
};

/// The subscribers of each topic.
pub(super) type TopicPublishers = BTreeMap<TopicId, Vec<TopicPublisher>>;

impl Driver {
    /// Opens a topic for a subscriber, who is told the state at once.
    pub(super) fn open_topic(
        &mut self,
        now: MonotonicTime,
        target: LiveTarget,
        publisher: TopicPublisher,
    ) {
        self.end_topics();
        match self.replica.open_topic(now, target) {
            Ok((id, status)) => {
                publisher.say(status);
                self.topic_publishers.entry(id).or_default().push(publisher);
            }
            Err(TooManyTopics { most }) => {
                publisher.end(TopicError::Host(ScreenError::TooMany(most)));
            }
        }
    }

    /// Removes dropped subscribers; topics without any are closed by the next sweep.
    pub(super) fn end_topics(&mut self) {
        let replica = &mut self.replica;
        self.topic_publishers.retain(|id, publishers| {
            publishers.retain(TopicPublisher::is_wanted);
            if publishers.is_empty() {
                replica.topic_left(*id);
            }
            !publishers.is_empty()
        });
    }

    /// Passes the newest batches to their subscribers.
    pub(super) fn publish_topics(&mut self) {
        while let Some((id, batch)) = self.replica.poll_topic_batch() {
            let publishers = self.topic_publishers.get(&id);
            for publisher in publishers.into_iter().flatten() {
                publisher.publish(&batch);
            }
        }
    }

    pub(super) fn topic_effect(&self, effect: Effect) {
        match effect {
            Effect::Open {
                id,
                load,
                target,
                held,
            } => {
                let (client, inbox) = (self.online(), self.inbox_sender.clone());
                tokio::spawn(async move {
                    let result = loads::topic(client, &target, held).await;
                    let answer = replica::Input::Topic { id, load, result };
                    // An error means that the host has ended.
                    let _ = inbox.send(HostEvent::Loaded(answer)).await;
                });
            }
            Effect::Close(close) => self.close_live(LiveKind::Topic, close),
        }
    }
}
