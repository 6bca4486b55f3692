//! Following the topics of a host's services (LD-10).

use bowline_protocol::ServerId;
use serde::Serialize;

use super::Runtime;
use crate::{
    host::HostCommand,
    live::{self, LiveError},
    topic::TopicSubscription,
};

impl Runtime {
    /// Follows a topic of a service: every event from now on, once and in order (LD-10). Returns at
    /// once; the state and the events come through the subscription. `params`: what the service
    /// asks for, as an object.
    ///
    /// # Errors
    /// [`LiveError`]; what the daemon answers is part of the batches.
    pub fn subscribe_topic<P: Serialize + ?Sized>(
        &self,
        server_id: &ServerId,
        name: &str,
        params: &P,
    ) -> Result<TopicSubscription, LiveError> {
        let target = live::target(name, params)?;
        let host = self.screened_host(server_id)?;
        let (subscription, publisher) = TopicSubscription::new();
        host.command(HostCommand::OpenTopic(target, publisher))?;
        Ok(subscription)
    }
}
