//! The error of all exported calls: a kind, a message, and advice to the host app.

mod convert;
mod reason;

pub use reason::{Advice, Reason, Refusal, advice_text};

pub(crate) use reason::refusal;

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident $({ $(#[$more_doc:meta])* $more:ident: $type:ty })?),* $(,)?) => {
        /// Failure of an exported call. The variant is the kind, which is stable; all have the same
        /// three fields.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
        pub enum BowlineError {
            $(
                $(#[$doc])*
                #[error("{detail}")]
                $variant {
                    /// Text for people.
                    detail: String,
                    /// The recommended action of the host app.
                    advice: Advice,
                    /// The reason from the closed list, if a connection is concerned.
                    reason: Option<Reason>,
                    $($(#[$more_doc])* $more: $type,)?
                },
            )*
        }

        impl BowlineError {
            /// The recommended action of the host app.
            pub fn advice(&self) -> Advice {
                match self { $(Self::$variant { advice, .. } => *advice,)* }
            }
        }
    };
}

errors! {
    /// An identity is missing or malformed; none is generated in its place (INV-9).
    InvalidIdentity,
    /// The text is not a pairing offer.
    InvalidOffer,
    /// The offer has no path of an allowed kind.
    NoPath,
    /// No address of the offer answered.
    Unreachable,
    /// The daemon refused to pair.
    PairingRefused,
    /// The storage cannot be read or written.
    Storage,
    /// Stored state cannot be parsed; it was left unchanged.
    CorruptStorage,
    /// Other users may change the storage folder or a file in it; the detail says what to do.
    StorageNotPrivate,
    /// The host is unknown.
    UnknownHost,
    /// The host is at its limit of open screens or timelines, or of blobs on their way.
    TooMany,
    /// The intent is too large for a message, or its parameters are not a JSON object.
    InvalidIntent,
    /// The parameters of a query are not a JSON object or array.
    InvalidQuery,
    /// The limit of pending intents is reached.
    OutboxFull,
    /// The daemon answered with an error.
    Rejected {
        /// The reason, if the daemon sent one of the closed list.
        refusal: Option<Refusal>
    },
    /// The connection ended before the response arrived.
    Disconnected,
    /// The response did not arrive before the deadline.
    TimedOut,
    /// The host is not connected.
    NotConnected,
    /// The app cancelled the transfer of a blob; another call goes on where it stopped.
    Cancelled,
    /// The blob is too large to be got into memory; the message names the bound.
    TooLarge,
    /// What the daemon has under the name of a blob is not the blob.
    CorruptBlob,
    /// The runtime is paused; the call works again after `resume`.
    Paused,
    /// The runtime was shut down.
    Closed,
    /// A defect ended part of the library; only a restart of the process recovers it.
    Broken,
    /// A defect, possibly of the caller.
    Internal,
}

/// Makes one of the variants.
macro_rules! error {
    ($variant:ident, $advice:ident, $detail:expr) => {
        error!($variant, $crate::error::Advice::$advice, $detail, None)
    };
    ($variant:ident, $advice:expr, $detail:expr, $reason:expr) => {
        $crate::error::BowlineError::$variant {
            detail: $detail.to_string(),
            advice: $advice,
            reason: $reason,
        }
    };
}
pub(crate) use error;

impl BowlineError {
    pub(crate) fn internal(detail: impl ToString) -> Self {
        error!(Internal, Report, detail)
    }

    pub(crate) fn broken(what: &str) -> Self {
        let detail = format!("a defect ended part of the library: {what}; restart the app");
        error!(Broken, Report, detail)
    }

    pub(crate) fn closed() -> Self {
        error!(Closed, Nothing, "the runtime was shut down")
    }

    pub(crate) fn unknown_host(server_id: &str) -> Self {
        error!(
            UnknownHost,
            PairAgain,
            format!("no host {server_id} is known here")
        )
    }
}
