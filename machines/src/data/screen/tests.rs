//! Tests of the screen function, over every combination of its inputs.

use bowline_protocol::{Reason, RpcReason};

use super::*;

const CREATIONS: [Creation; 4] = [
    Creation::None,
    Creation::Pending,
    Creation::Confirmed,
    Creation::Failed,
];
const CONNECTIVITIES: [Connectivity; 3] = [
    Connectivity::Online,
    Connectivity::Connecting,
    Connectivity::Offline,
];
const ERROR: LoadError = LoadError::Rejected(RpcReason::Overloaded);

const READ_ONLY: [Option<ReadOnly>; 3] = [None, Some(ReadOnly::Archived), Some(ReadOnly::Removed)];
const ERRORS: [Option<LoadError>; 6] = [
    None,
    Some(ERROR),
    Some(LoadError::Lost(Reason::ConnectionLost)),
    Some(LoadError::TimedOut),
    Some(LoadError::Malformed),
    Some(LoadError::Overrun),
];

/// Every input (one reason per kind of error), with its screen.
fn every_combination() -> Vec<(ScreenInput, Screen)> {
    let mut all = Vec::new();
    for bits in 0..64 {
        for creation in CREATIONS {
            for connectivity in CONNECTIVITIES {
                for last_error in ERRORS {
                    for read_only in READ_ONLY {
                        let input = ScreenInput {
                            loaded: bits & 1 != 0,
                            loading: bits & 2 != 0,
                            has_items: bits & 4 != 0,
                            known: bits & 8 != 0,
                            followed: bits & 16 != 0,
                            prompted: bits & 32 != 0,
                            creation,
                            read_only,
                            last_error,
                            connectivity,
                        };
                        all.push((input, Screen::of(&input)));
                    }
                }
            }
        }
    }
    assert_eq!(all.len(), 64 * 4 * 3 * 6 * 3);
    all
}

/// Whether the agent was never displayed by this client.
fn is_first_open(input: &ScreenInput) -> bool {
    let is_other = match input.creation {
        Creation::None => true,
        Creation::Confirmed => !input.followed,
        Creation::Pending | Creation::Failed => false,
    };
    is_other && !input.loaded
}

/// Whether the only failure is the connection, which is being restored.
fn is_being_restored(input: &ScreenInput) -> bool {
    input.connectivity == Connectivity::Connecting
        && matches!(input.last_error, Some(LoadError::Lost(_)))
}

fn check(invariant: &str, holds: impl Fn(&ScreenInput, &Screen) -> bool) {
    for (input, screen) in every_combination() {
        assert!(
            holds(&input, &screen),
            "{invariant}: {input:?} shows {screen:?}"
        );
    }
}

#[test]
fn overlay_excludes_toast_and_placeholder() {
    check("overlay_excludes_toast_and_placeholder", |_, screen| {
        !screen.overlay || (screen.toast.is_none() && !screen.placeholder)
    });
}

#[test]
fn ux_1_first_open_is_an_overlay_and_nothing_else() {
    check("ux_1", |input, screen| {
        let first_open = is_first_open(input);
        screen.overlay == first_open
            && (!first_open
                || (screen.toast.is_none() && !screen.placeholder && !screen.composer_enabled))
    });
}

#[test]
fn ux_1_an_overlay_that_waits_for_nothing_says_why() {
    check("ux_1 error", |input, screen| {
        let stuck = !input.loading
            && !is_being_restored(input)
            && (input.last_error.is_some() || input.connectivity == Connectivity::Offline);
        !(screen.overlay && stuck) || screen.error_indicator.is_some()
    });
}

#[test]
fn ux_2_reopening_shows_content_and_a_toast_never_the_overlay() {
    check("ux_2", |input, screen| !(input.loaded && screen.overlay));
    check("ux_2 toast", |input, screen| {
        let refreshing = input.loaded
            && input.loading
            && input.connectivity == Connectivity::Online
            && input.creation != Creation::Failed;
        (screen.toast == Some(Toast::Refreshing)) == refreshing
    });
}

#[test]
fn ux_2_a_lost_connection_is_a_toast_over_the_content() {
    check("reconnecting", |input, screen| {
        let reconnecting = input.connectivity == Connectivity::Connecting
            && !screen.overlay
            && input.creation != Creation::Failed;
        (screen.toast == Some(Toast::Reconnecting)) == reconnecting
    });
}

#[test]
fn ux_3_an_agent_created_here_shows_at_once() {
    check("ux_3", |input, screen| {
        let followed = match input.creation {
            Creation::None => false,
            Creation::Confirmed => input.followed,
            Creation::Pending | Creation::Failed => true,
        };
        !(followed && screen.overlay)
    });
    check("ux_3 placeholder", |input, screen| {
        let invites = matches!(input.creation, Creation::Pending | Creation::Confirmed)
            && !screen.overlay
            && !input.loaded
            && !input.prompted
            && !input.has_items
            && input.read_only.is_none();
        !invites || screen.placeholder
    });
    check("ux_3 composer", |input, screen| {
        // A prompt needs the agent's id, which is missing before the creation is confirmed and
        // after it was refused.
        !matches!(input.creation, Creation::Pending | Creation::Failed) || !screen.composer_enabled
    });
}

#[test]
fn ux_3_a_failed_creation_is_rolled_back_with_an_error() {
    check("ux_3 rollback", |input, screen| {
        let failed = input.creation == Creation::Failed;
        (screen.error_indicator == Some(ErrorIndicator::CreationFailed)) == failed
            && (!failed || (!screen.placeholder && screen.toast.is_none()))
    });
}

#[test]
fn ux_4_a_failed_refresh_is_an_indicator_in_nobodys_way() {
    check("ux_4", |input, screen| {
        let content =
            input.loaded && matches!(input.creation, Creation::None | Creation::Confirmed);
        !content || (!screen.overlay && screen.composer_enabled == input.read_only.is_none())
    });
    check("ux_4 indicator", |input, screen| {
        let failed = input.loaded
            && !input.loading
            && matches!(input.creation, Creation::None | Creation::Confirmed)
            && input.connectivity != Connectivity::Offline;
        let error = input.last_error.filter(|_| !is_being_restored(input));
        !failed || screen.error_indicator == error.map(ErrorIndicator::RefreshFailed)
    });
}

#[test]
fn placeholder_only_where_nothing_is() {
    check("placeholder", |input, screen| {
        !screen.placeholder || !input.has_items
    });
}

#[test]
fn ux_1_placeholder_only_where_it_is_known_that_nothing_is() {
    check("placeholder of what was loaded", |input, screen| {
        let known = input.loaded && input.known;
        let new = matches!(input.creation, Creation::Pending | Creation::Confirmed);
        !screen.placeholder || known || (new && !input.loaded && !input.prompted)
    });
    check("placeholder of a created agent", |input, screen| {
        let unseen = input.creation == Creation::Confirmed && !input.loaded && !input.followed;
        !(unseen && screen.placeholder)
    });
}

#[test]
fn an_agent_that_takes_no_prompts_says_why_and_invites_to_none() {
    check("read only", |input, screen| {
        let failed = input.creation == Creation::Failed;
        screen.read_only == input.read_only.filter(|_| !failed)
            && (input.read_only.is_none() || (!screen.composer_enabled && !screen.placeholder))
    });
}

#[test]
fn a_repetition_hides_the_error_before_it() {
    check("repetition", |input, screen| {
        !input.loading
            || !matches!(
                screen.error_indicator,
                Some(ErrorIndicator::LoadFailed(_) | ErrorIndicator::RefreshFailed(_))
            )
    });
}

#[test]
fn ux_4_a_connection_that_is_being_restored_is_a_toast_and_no_error() {
    check("restored", |input, screen| {
        !is_being_restored(input)
            || input.creation == Creation::Failed
            || screen.error_indicator.is_none()
    });
    check("said once", |_, screen| {
        screen.toast != Some(Toast::Reconnecting)
            || !matches!(
                screen.error_indicator,
                Some(
                    ErrorIndicator::RefreshFailed(LoadError::Lost(_))
                        | ErrorIndicator::LoadFailed(LoadError::Lost(_))
                        | ErrorIndicator::Offline
                )
            )
    });
}

#[test]
fn inv_5_connectivity_is_the_state_of_the_host_machine_and_a_switch_is_no_loss() {
    use crate::{
        Generation, MonotonicTime,
        client::paths::{Candidate, HostState, PathId, State},
    };
    for (state, shown) in [
        (HostState::Booting, Connectivity::Connecting),
        (HostState::Degraded, Connectivity::Connecting),
        (HostState::NoConnections, Connectivity::Offline),
        (HostState::Error, Connectivity::Offline),
        (HostState::Stopped, Connectivity::Offline),
    ] {
        assert_eq!(Connectivity::from(state), shown, "{state:?}");
    }
    let switching = State::Online {
        connection: PathId(0),
        generation: Generation::ZERO,
        since: MonotonicTime::default(),
        candidate: Some(Candidate {
            connection: PathId(1),
            generation: Generation::new(1),
            deadline: MonotonicTime::default(),
        }),
    };
    assert_eq!(Connectivity::from(switching.kind()), Connectivity::Online);
}
