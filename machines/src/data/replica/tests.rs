//! Tests of the routing of inputs. The explorer covers every order of rows and creations.

use bowline_protocol::{ItemKind, TimelineItem, methods::HistoryPage};

use super::*;

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);

fn agent(n: u32) -> AgentId {
    format!("agt_{n}").parse().unwrap()
}

fn item(index: u64) -> TimelineItem {
    let id = format!("itm_{index}").parse().unwrap();
    TimelineItem::new(id, index, ItemKind::Message, 0)
}

fn attached(replica: &mut Replica) {
    let session = SessionState::New;
    replica.handle(NOW, Input::Attached { session });
}

fn effects(replica: &mut Replica) -> Vec<Effect> {
    std::iter::from_fn(|| replica.poll_effect()).collect()
}

/// Answers the loads of timelines with empty pages.
fn answer(replica: &mut Replica) {
    for effect in effects(replica) {
        let Effect::Timeline(
            agent_id,
            timeline::Effect::Load {
                load: generation, ..
            },
        ) = effect
        else {
            continue;
        };
        let page = HistoryPage {
            items: Vec::new(),
            has_more: false,
            seq: 0,
        };
        let input = timeline::Input::Page {
            load: generation,
            result: Ok(page),
        };
        replica.handle(NOW, Input::Timeline { agent_id, input });
    }
}

/// Number of rows in each of these agents' views.
fn rows(replica: &mut Replica) -> [usize; 2] {
    replica.publish(Connectivity::Online, &mut 0);
    [1, 2].map(|n| {
        let view = replica.timelines().view(&agent(n)).unwrap();
        view.items.len()
    })
}

#[test]
fn ux_2_an_attach_and_a_loss_reach_the_directory_and_every_timeline() {
    let mut replica = Replica::default();
    attached(&mut replica);
    replica.open_stream(NOW, &agent(1)).unwrap();
    let loads = effects(&mut replica);
    assert!(
        matches!(
            loads[..],
            [Effect::LoadDirectory { .. }, Effect::Timeline(..)]
        ),
        "{loads:?}"
    );
    let reason = Reason::ConnectionLost;
    replica.handle(NOW, Input::Lost { reason });
    assert_eq!(
        replica.directory().error(),
        Some(LoadError::Lost(reason)),
        "the load that ran"
    );
    attached(&mut replica);
    assert_eq!(effects(&mut replica).len(), 2, "both load again");
}

#[test]
fn inv_10_an_event_reaches_the_timeline_of_its_agent_and_no_other() {
    let mut replica = Replica::default();
    for n in [1, 2] {
        replica.open_stream(NOW, &agent(n)).unwrap();
    }
    attached(&mut replica);
    answer(&mut replica);
    assert_eq!(rows(&mut replica), [0, 0]);
    let event = SessionEvent::TimelineAppended {
        agent_id: agent(2),
        item: item(0),
    };
    replica.handle(NOW, Input::Event { seq: 1, event });
    assert_eq!(rows(&mut replica), [0, 1]);
}

#[test]
fn ds_3_a_host_that_cannot_be_reached_is_said_instead_of_a_skeleton() {
    let mut replica = Replica::default();
    assert!(replica.directory().state().kind().is_loading());
    let reason = Reason::Unreachable;
    replica.handle(NOW, Input::Unreachable { reason });
    assert!(!replica.directory().state().kind().is_loading());
    assert_eq!(replica.directory().error(), Some(LoadError::Lost(reason)));
}
