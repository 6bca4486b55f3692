//! Conversion of the runtime's errors: kind and advice of each.

use bowline_runtime::{
    CallError, IntentError, OpenError, PairError, TransferError, protocol, storage::StorageError,
};

use super::{Advice, BowlineError, error, reason::refusal};

impl From<protocol::IdentityError> for BowlineError {
    fn from(error: protocol::IdentityError) -> Self {
        error!(InvalidIdentity, Report, error)
    }
}

impl From<StorageError> for BowlineError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupt { .. } => error!(CorruptStorage, CheckStorage, error),
            StorageError::TooNew { .. } => error!(Storage, Update, error),
            StorageError::NotPrivate(_) => error!(StorageNotPrivate, CheckStorage, error),
            StorageError::Io { .. }
            | StorageError::KeyStore { .. }
            | StorageError::Unavailable { .. } => {
                error!(Storage, CheckStorage, error)
            }
            StorageError::Paused => error!(Paused, Wait, error),
            StorageError::Closed => error!(Closed, Nothing, error),
        }
    }
}

impl From<OpenError> for BowlineError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Storage(error) => error.into(),
            OpenError::Identity(error) => error.into(),
            OpenError::IdentityMissing { .. } => error!(InvalidIdentity, CheckStorage, error),
            OpenError::HostsMissing { .. } => error!(Storage, CheckStorage, error),
            OpenError::NoStorage => error!(Storage, Report, error),
            OpenError::Internal(detail) => Self::internal(detail),
        }
    }
}

impl From<PairError> for BowlineError {
    fn from(error: PairError) -> Self {
        let text = error.to_string();
        match error {
            PairError::Unreachable(failure) => {
                error!(
                    Unreachable,
                    Advice::TryAgain,
                    text,
                    Some(failure.reason.into())
                )
            }
            PairError::Refused(failure) => {
                let advice = failure.reason.advice().into();
                error!(PairingRefused, advice, text, Some(failure.reason.into()))
            }
            PairError::AnotherKey(failure) => {
                let reason = Some(failure.reason.into());
                error!(PairingRefused, Advice::PairAgain, text, reason)
            }
            PairError::KeyChanged { .. } => {
                let reason = Some(crate::Reason::ServerIdentityMismatch);
                error!(PairingRefused, Advice::AskUser, text, reason)
            }
            PairError::NoPath => error!(NoPath, AskUser, text),
            PairError::Internal(_) => error!(Internal, Report, text),
            PairError::Storage(error) => error.into(),
            PairError::Closed => error!(Closed, Nothing, text),
        }
    }
}

impl From<IntentError> for BowlineError {
    fn from(error: IntentError) -> Self {
        let text = error.to_string();
        match error {
            IntentError::UnknownHost(_) => error!(UnknownHost, PairAgain, text),
            IntentError::OutboxFull(_) => error!(OutboxFull, TryAgain, text),
            IntentError::Invalid(_) | IntentError::Patches(_) => {
                error!(InvalidIntent, Report, text)
            }
            IntentError::Storage(error) => error.into(),
            IntentError::Closed => error!(Closed, Nothing, text),
        }
    }
}

impl From<CallError> for BowlineError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Rpc(error) => Self::Rejected {
                detail: text,
                advice: error.advice().into(),
                reason: None,
                refusal: refusal(&error),
            },
            CallError::Disconnected(reason) => {
                error!(Disconnected, Advice::TryAgain, text, Some(reason.into()))
            }
            CallError::Timeout => error!(TimedOut, TryAgain, text),
            CallError::NotConnected => error!(NotConnected, Wait, text),
            CallError::Closed => error!(Closed, Nothing, text),
            CallError::Malformed(_) | CallError::TooLarge => error!(Internal, Update, text),
        }
    }
}

impl From<TransferError> for BowlineError {
    fn from(error: TransferError) -> Self {
        let text = error.to_string();
        match error {
            TransferError::UnknownHost => error!(UnknownHost, PairAgain, text),
            TransferError::Closed => error!(Closed, Nothing, text),
            TransferError::Busy => error!(TooMany, TryAgain, text),
            TransferError::Cancelled => error!(Cancelled, Nothing, text),
            TransferError::Refused(error) => CallError::Rpc(error).into(),
            TransferError::Malformed(error) => error.into(),
            TransferError::File { .. } => error!(Storage, CheckStorage, text),
            TransferError::TooLarge { .. } => error!(TooLarge, Report, text),
            TransferError::Corrupt => error!(CorruptBlob, AskUser, text),
            TransferError::Defect => error!(Internal, Report, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::protocol::{RpcReason, error::RpcError};

    use super::*;
    use crate::error::Refusal;

    #[test]
    fn what_the_daemon_refused_keeps_its_reason_and_says_what_to_do() {
        let refused = |reason| BowlineError::from(CallError::Rpc(RpcError::new(reason, "no")));
        for (reason, refusal, advice) in [
            (RpcReason::Overloaded, Refusal::Overloaded, Advice::TryAgain),
            (RpcReason::Unsupported, Refusal::Unsupported, Advice::Update),
            (RpcReason::NotFound, Refusal::NotFound, Advice::AskUser),
            (
                RpcReason::RateLimited,
                Refusal::RateLimited,
                Advice::TryAgain,
            ),
            (
                RpcReason::QuotaExceeded,
                Refusal::QuotaExceeded,
                Advice::AskUser,
            ),
        ] {
            let error = refused(reason);
            assert_eq!(error.advice(), advice);
            let BowlineError::Rejected { refusal: said, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!(said, Some(refusal));
        }
    }

    #[test]
    fn only_an_end_that_was_asked_for_needs_nothing() {
        for &reason in RpcReason::ALL {
            let advice = BowlineError::from(CallError::Rpc(RpcError::new(reason, "no"))).advice();
            assert_eq!(
                advice == Advice::Nothing,
                reason == RpcReason::Cancelled,
                "{reason}"
            );
        }
        assert_eq!(
            BowlineError::from(PairError::NoPath).advice(),
            Advice::AskUser
        );
        let transfer = |error| BowlineError::from(error).advice();
        assert_eq!(transfer(TransferError::Cancelled), Advice::Nothing);
        assert_eq!(transfer(TransferError::Busy), Advice::TryAgain);
        assert_eq!(transfer(TransferError::Corrupt), Advice::AskUser);
        assert_eq!(
            BowlineError::unknown_host("srv_x").advice(),
            Advice::PairAgain
        );
        assert_eq!(
            BowlineError::from(PairError::Closed).advice(),
            Advice::Nothing
        );
    }
}
