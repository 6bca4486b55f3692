//! A store that went back to an earlier state (a restored backup), and clients that remember more
//! than it does (C43).

use std::time::Duration;

use bowline_protocol::SessionState;

use crate::rig::Rig;

/// C43: after a restored backup, epoch and numbers fit and the events are others.
#[tokio::test]
async fn case_c43_a_cursor_from_after_the_backup_is_a_reset() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let before = app.resuming(&link.cursor);
    drop(link);
    // The backup is taken here; the daemon goes on, and the client with it.
    let backup = rig.kill();
    let rig = rig.restart().await;
    let mut link = rig.attach(&before).await.unwrap();
    assert_eq!(link.state, SessionState::Resumed, "a restart is no reset");
    for number in 1..=3 {
        rig.announce(number).await;
    }
    assert_eq!(link.heard(), [1, 2, 3]);
    let after = app.resuming(&link.cursor);

    // The copy is put back, and makes as many events and more before the client comes.
    for number in 11..=15 {
        backup.announce(number).await;
    }
    let back = backup.attach(&after).await.unwrap();
    assert_eq!(back.state, SessionState::Reset);
    assert_eq!(back.cursor.last_seq, 0, "a new numbering");
    assert_ne!(back.cursor.epoch, link.cursor.epoch);
}

#[tokio::test]
async fn case_c43_a_client_that_knows_no_more_than_the_backup_goes_on() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    rig.announce(1).await;
    rig.announce(2).await;
    assert_eq!(link.heard(), [1, 2]);
    let known = app.resuming(&link.cursor);
    let backup = rig.kill();
    // It hears more of the first daemon, in the same run: that much is in no backup.
    rig.announce(3).await;
    assert_eq!(link.heard(), [3]);
    let more = app.resuming(&link.cursor);
    backup.announce(4).await;
    backup.announce(5).await;
    let mut back = backup.attach(&known).await.unwrap();
    assert_eq!(back.state, SessionState::Resumed);
    assert_eq!(back.heard(), [4, 5]);
    drop(back);
    let back = backup.attach(&more).await.unwrap();
    assert_eq!(
        back.state,
        SessionState::Reset,
        "its third event is another"
    );
}

#[tokio::test]
async fn case_c43_a_cursor_without_a_stamp_vouches_for_nothing() {
    let rig = Rig::new();
    let app = rig.paired().await;
    let link = rig.attach(&app).await.unwrap();
    let mut bare = app.resuming(&link.cursor);
    drop(link);
    if let Some(resume) = &mut bare.resume {
        resume.stamp = None;
    }
    let back = rig.attach(&bare).await.unwrap();
    assert_eq!(back.state, SessionState::Reset);
}

/// BX-4 over many restarts, whatever was acknowledged: the rule must never cost a client its place.
#[tokio::test]
async fn bx_4_restarts_and_kills_in_any_order_resume_with_nothing_lost() {
    let mut rig = Rig::new();
    let app = rig.paired().await;
    let mut link = rig.attach(&app).await.unwrap();
    let mut heard = Vec::new();
    let mut said = Vec::new();
    for round in 0..12 {
        for number in 0..round % 4 {
            let number = round * 10 + number;
            rig.announce(number).await;
            said.push(number);
        }
        if round % 2 == 0 {
            heard.extend(link.heard());
            link.attachment.ack(link.cursor.last_seq);
        }
        if round % 3 == 0 {
            // Time for what is written lazily.
            rig.clock().advance(Duration::from_secs(10));
            rig.settle().await;
        }
        let resuming = app.resuming(&link.cursor);
        drop(link);
        rig = if round % 2 == 0 {
            rig.kill()
        } else {
            rig.restart().await
        };
        link = rig.attach(&resuming).await.unwrap();
        assert_eq!(link.state, SessionState::Resumed, "round {round}");
    }
    heard.extend(link.heard());
    assert_eq!(heard, said);
}
