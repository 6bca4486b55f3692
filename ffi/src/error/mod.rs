//! The one error of the exported calls: a kind, a message, and what the host app should do.

mod convert;
mod reason;

pub use reason::{Advice, Reason, Refusal};

pub(crate) use reason::refusal;

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident $({ $(#[$more_doc:meta])* $more:ident: $type:ty })?),* $(,)?) => {
        /// What an exported call could not do. The variant is the kind, which is stable; each says the same three things.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
        pub enum BowlineError {
            $(
                $(#[$doc])*
                #[error("{detail}")]
                $variant {
                    /// For people.
                    detail: String,
                    /// What the host app should do.
                    advice: Advice,
                    /// The closed reason, where a connection is concerned.
                    reason: Option<Reason>,
                    $($(#[$more_doc])* $more: $type,)?
                },
            )*
        }

        impl BowlineError {
            /// What the host app should do.
            pub fn advice(&self) -> Advice {
                match self { $(Self::$variant { advice, .. } => *advice,)* }
            }
        }
    };
}

errors! {
    /// An identity is missing or malformed; none is made up for it (INV-9).
    InvalidIdentity,
    /// The text is no pairing offer.
    InvalidOffer,
    /// The offer has no path of a kind that is allowed here.
    NoPath,
    /// No address of the offer answered.
    Unreachable,
    /// The daemon refused to pair.
    PairingRefused,
    /// The storage cannot be read or written.
    Storage,
    /// Stored state does not read; it was left as it is.
    CorruptStorage,
    /// No such host.
    UnknownHost,
    /// The host has its most screens or timelines open.
    TooMany,
    /// The intent does not fit a message, or its parameters are no JSON object.
    InvalidIntent,
    /// Too many intents wait already.
    OutboxFull,
    /// The daemon answered with an error.
    Rejected {
        /// Why, where the daemon said so with one of the closed list.
        refusal: Option<Refusal>
    },
    /// The connection ended before the answer came.
    Disconnected,
    /// No answer in time.
    TimedOut,
    /// The host is not connected right now.
    NotConnected,
    /// The runtime is paused; it takes this again once it was resumed.
    Paused,
    /// The runtime was shut down.
    Closed,
    /// A defect ended part of the library; only a restart of the process helps.
    Broken,
    /// A defect, of the caller perhaps.
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
