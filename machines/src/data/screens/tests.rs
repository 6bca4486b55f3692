//! Tests of the content of one screen. The explorer covers the orders in which screens are opened
//! and closed.

use bowline_protocol::{SessionState, methods::AgentsPage};

use super::*;
use crate::data::{
    directory,
    optimistic::{self, Conclusion, IntentFailure, Queued},
};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);

fn intent(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn row(status: AgentStatus) -> AgentSummary {
    AgentSummary {
        id: "agt_1".parse().unwrap(),
        title: "one".to_owned(),
        provider: String::new(),
        cwd: String::new(),
        status,
        created_at: 0,
        updated_at: 0,
        attention: None,
        intent_id: None,
    }
}

fn directory(agents: Vec<AgentSummary>) -> Directory {
    let mut directory = Directory::default();
    let session = SessionState::New;
    directory.handle(NOW, directory::Input::Attached { session });
    let generation = directory.running().unwrap();
    let page = AgentsPage {
        total: agents.len() as u64,
        agents,
        next_cursor: None,
        seq: 0,
    };
    directory.handle(
        NOW,
        directory::Input::Page {
            load: generation,
            result: Ok(page),
        },
    );
    directory
}

fn created(n: u8) -> optimistic::Input {
    optimistic::Input::Queued(Queued::Agent(PendingAgent {
        intent_id: intent(n),
        at: 0,
        provider: "shell".to_owned(),
        cwd: "/".to_owned(),
        title: None,
        prompt: Some("hello".to_owned()),
    }))
}

#[test]
fn inv_14_an_archived_agent_and_a_removed_one_take_no_prompts_and_say_why() {
    let mut screens = Screens::default();
    let mut timelines = Timelines::default();
    let mut optimistic = Optimistic::new();
    let target = ScreenTarget::Agent(row(AgentStatus::Idle).id);
    let id = screens.open(target, &optimistic).unwrap();
    screens.follow(NOW, &mut timelines, &mut optimistic);
    let mut read_only = |directory: &Directory| {
        let sources = Sources {
            directory,
            timelines: &timelines,
            optimistic: &optimistic,
            connectivity: Connectivity::Online,
        };
        screens.show(id, &sources).unwrap().screen.read_only
    };
    let absent = directory(Vec::new());
    assert_eq!(read_only(&absent), None, "it may be listed yet");
    assert_eq!(read_only(&directory(vec![row(AgentStatus::Idle)])), None);
    assert_eq!(read_only(&Directory::default()), None, "nothing is known");
    assert_eq!(read_only(&absent), Some(ReadOnly::Removed));
    assert_eq!(
        read_only(&directory(vec![row(AgentStatus::Archived)])),
        Some(ReadOnly::Archived)
    );
    assert_eq!(screens.slots.len(), 1);
}

#[test]
fn ux_3_a_creation_shows_its_prompt_at_once_and_its_error_when_it_failed() {
    let mut screens = Screens::default();
    let mut optimistic = Optimistic::new();
    let target = ScreenTarget::Creation(intent(1));
    let unknown = screens.open(target.clone(), &optimistic);
    assert_eq!(unknown, Err(Refusal::UnknownCreation));
    optimistic.handle(created(1));
    let id = screens.open(target, &optimistic).unwrap();
    let (directory, timelines) = (Directory::default(), Timelines::default());
    let mut show = |optimistic: &Optimistic| {
        let sources = Sources {
            directory: &directory,
            timelines: &timelines,
            optimistic,
            connectivity: Connectivity::Online,
        };
        screens.show(id, &sources).unwrap()
    };
    let content = show(&optimistic);
    let texts: Vec<_> = content
        .timeline
        .pending
        .iter()
        .map(|one| &one.text)
        .collect();
    assert_eq!(texts, ["hello"]);
    assert_eq!(content.creating.unwrap().provider, "shell");
    let again = show(&optimistic);
    assert!(
        Arc::ptr_eq(&content.timeline, &again.timeline),
        "nothing changed"
    );
    optimistic.handle(optimistic::Input::Concluded {
        intent_id: intent(1),
        conclusion: Conclusion::Failed(IntentFailure::Expired),
    });
    let content = show(&optimistic);
    assert_eq!(content.creation, Creation::Failed);
    assert!(content.creation_failed.is_some() && content.timeline.pending.is_empty());
    optimistic.handle(optimistic::Input::Dismiss {
        intent_id: intent(1),
    });
    let content = show(&optimistic);
    assert_eq!(content.creation, Creation::Failed);
    assert!(content.creation_failed.is_none(), "it was dismissed");
}
