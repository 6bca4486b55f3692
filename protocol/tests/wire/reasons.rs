//! The closed lists: close codes with their advice, and request errors.

use bowline_protocol::{
    Claim, Reason, RpcReason,
    error::{RpcError, code},
};
use proptest::prelude::*;

use crate::{arbitrary, fixture::Golden};

#[test]
fn golden_reasons() {
    let mut golden = Golden::new("reasons.json");
    for reason in Reason::ALL {
        let row = format!(
            r#"{{"closeCode":{},"retry":{},"advice":{}}}"#,
            serde_json::to_string(&reason.close_code()).unwrap(),
            serde_json::to_string(&reason.retry()).unwrap(),
            serde_json::to_string(&reason.advice()).unwrap(),
        );
        golden.json(reason.as_str(), row);
        let name = format!("\"{}\"", reason.as_str());
        assert_eq!(serde_json::from_str::<Reason>(&name).unwrap(), *reason);
    }
    golden.check();
}

#[test]
fn golden_errors() {
    let mut golden = Golden::new("errors.json");
    for reason in RpcReason::ALL {
        golden.value(reason.as_str(), &RpcError::new(*reason, "why"));
    }
    for (name, error) in [
        ("parse error", RpcError::parse("why")),
        ("invalid request", RpcError::invalid_request("why")),
        ("method not found", RpcError::method_not_found("no.such")),
        ("invalid params", RpcError::invalid_params("why")),
        ("internal error", RpcError::internal("why")),
    ] {
        golden.value(name, &error);
    }
    golden.check();
}

#[test]
fn our_codes_are_distinct_and_in_the_range_left_to_applications() {
    let mut codes: Vec<_> = RpcReason::ALL.iter().map(|reason| reason.code()).collect();
    assert!(codes.iter().all(|code| (-32_099..=-32_000).contains(code)));
    codes.extend([
        code::PARSE_ERROR,
        code::INVALID_REQUEST,
        code::METHOD_NOT_FOUND,
        code::INVALID_PARAMS,
        code::INTERNAL_ERROR,
    ]);
    let all = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all);
}

proptest! {
    #[test]
    fn every_error_is_read_back_as_written(error in arbitrary::rpc_error()) {
        let json = serde_json::to_string(&error).unwrap();
        prop_assert_eq!(serde_json::from_str::<RpcError>(&json).unwrap(), error);
    }

    #[test]
    fn every_close_code_has_a_meaning(code: Option<u16>) {
        let reason = Claim::of_close_code(code).claimed();
        prop_assert!(reason.close_code() == code || reason == Reason::ConnectionLost);
    }
}
