//! Rows as intents are expected to change them (LD-3): when a patch is shown, and when it leaves.
//! The explorer has the histories.

use super::*;

fn queued(n: u8, of: &str, key: &str, value: u32) -> patches::Input {
    let value = json(&value.to_string());
    patches::Input::Queued {
        intent_id: intent(n),
        at: i64::from(n),
        patches: vec![patches::Patch {
            table: "voxel.layers".to_owned(),
            params: target(of).params,
            key: key.to_owned(),
            change: patches::PatchChange::Upsert(value),
        }],
    }
}

fn intent(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn done(n: u8, seq: u64) -> patches::Input {
    patches::Input::Concluded {
        intent_id: intent(n),
        conclusion: patches::Conclusion::Done { seq },
    }
}

/// Keys of the rows that are pending.
fn pending(host: &mut Host, id: OpenId) -> Vec<String> {
    let view = host.view(id);
    let pending = view.rows.iter().filter(|row| row.pending);
    pending.map(|row| row.key.to_string()).collect()
}

#[test]
fn ld_3_every_table_that_covers_the_key_shows_a_patch_and_lets_it_go_by_itself() {
    let mut host = Host::attached();
    let (castle, walls) = (host.open("castle"), host.open("walls"));
    host.tables
        .patch(NOW, queued(1, "castle", "castle/walls", 9));
    assert_eq!(
        pending(&mut host, castle),
        ["castle/walls"],
        "by its target"
    );
    assert_eq!(pending(&mut host, walls), [""; 0], "nobody knows yet");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.answer(walls, Ok(page("castle/walls", 5, &[], false)));
    assert_eq!(pending(&mut host, walls), ["castle/walls"]);
    assert_eq!(host.view(walls).state, TableState::Ready, "not empty");

    // One of them is fetched anew while the change comes by its key only.
    host.tables.handle(NOW, walls, Input::Refresh);
    let mut large = stale("castle/*", Some(&["castle/walls"]));
    large.intent_id = Some(intent(1));
    host.changed(6, &large);
    host.tables.patch(NOW, done(1, 6));
    let mut fetched = page("castle/*", 6, &["castle/walls"], false);
    fetched.rows[0] = row("castle/walls", 10);
    host.answer(castle, Ok(fetched.clone()));
    assert_eq!(host.rows(castle), ["castle/walls=10"]);
    assert_eq!(pending(&mut host, castle), [""; 0]);
    assert_eq!(host.rows(walls), ["castle/walls=9"], "still on its way");
    fetched.scope = scope("castle/walls");
    host.answer(walls, Ok(fetched));
    assert_eq!(host.rows(walls), ["castle/walls=10"]);
    // Nothing of it is left for a table that is opened later.
    let later = host.open("castle2");
    assert_eq!(pending(&mut host, later), [""; 0]);
    assert!(host.tables.lists.patches.is_empty());
}

#[test]
fn ld_3_a_patch_waits_for_the_event_of_the_answer_and_no_longer() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.patch(NOW, done(1, 7));
    host.tables.passed(6);
    assert_eq!(pending(&mut host, castle), ["castle/a"]);
    host.tables.passed(7);
    assert_eq!(host.rows(castle), [""; 0]);

    // One whose number is of an earlier epoch leaves with the rows that are loaded.
    host.tables.patch(NOW, queued(2, "castle", "castle/a", 9));
    host.tables.patch(NOW, done(2, 900));
    host.tables.attached(NOW, SessionState::Reset);
    assert_eq!(pending(&mut host, castle), ["castle/a"]);
    host.answer(castle, Ok(page("castle/*", 1, &[], false)));
    assert_eq!(host.rows(castle), [""; 0]);

    // A table that is refused tells no more, and one that nobody has open waits for nothing.
    host.tables.patch(NOW, queued(3, "castle", "castle/a", 9));
    host.tables.patch(NOW, done(3, 900));
    host.tables.handle(NOW, castle, Input::Refresh);
    host.answer(castle, Err(LoadError::Rejected(RpcReason::Forbidden)));
    assert_eq!(host.rows(castle), [""; 0]);
    host.tables.patch(NOW, queued(4, "castle", "castle/a", 9));
    host.tables.left(castle);
    host.tables.sweep();
    host.tables.patch(NOW, done(4, 900));
    assert!(host.tables.lists.patches.is_empty());
}

/// A patch that changes a row or removes it, if there is one.
fn changing(n: u8, key: &str, change: patches::PatchChange) -> patches::Input {
    patches::Input::Queued {
        intent_id: intent(n),
        at: i64::from(n),
        patches: vec![patches::Patch {
            table: "voxel.layers".to_owned(),
            params: target("castle").params,
            key: key.to_owned(),
            change,
        }],
    }
}

fn failed(n: u8) -> patches::Input {
    patches::Input::Concluded {
        intent_id: intent(n),
        conclusion: patches::Conclusion::Failed(crate::data::optimistic::IntentFailure::Expired),
    }
}

#[test]
fn ld_3_a_failure_that_no_row_says_is_dropped_and_concerns_no_later_row() {
    use patches::PatchChange::{Merge, Remove};
    let mut host = Host::attached();
    let castle = host.open("castle");
    for (n, change) in [(1, Merge(json("{}"))), (2, Remove)] {
        host.tables.patch(NOW, changing(n, "castle/a", change));
    }
    // Nobody knows yet whether there is a row.
    assert!(host.tables.is_patched_by(intent(1)));
    host.tables.patch(NOW, failed(1));
    host.effects();
    host.answer(castle, Ok(page("castle/*", 5, &["castle/b"], false)));
    assert_eq!(host.effects(), [Effect::Forget(intent(1))]);
    // Now it is known.
    assert!(!host.tables.is_patched_by(intent(2)), "not to be kept");
    host.tables.patch(NOW, failed(2));
    host.effects();
    host.changed(6, &event(&[("castle/a", 6)], &[]));
    let failure = |host: &mut Host, key: &str| {
        let view = host.view(castle);
        let row = view.rows.iter().find(|row| &*row.key == key).cloned();
        row.unwrap().failure.as_ref().map(|why| why.intent_id)
    };
    assert_eq!(failure(&mut host, "castle/a"), None);
    assert!(host.tables.lists.patches.is_empty());

    // A row says it, until it is gone.
    host.tables.patch(NOW, changing(3, "castle/a", Remove));
    assert!(host.tables.is_patched_by(intent(3)));
    host.tables.patch(NOW, failed(3));
    assert_eq!(failure(&mut host, "castle/a"), Some(intent(3)));
    assert_eq!(host.effects(), []);
    host.changed(7, &event(&[], &["castle/a"]));
    assert_eq!(host.effects(), [Effect::Forget(intent(3))]);
    // A row that is only expected says it as well.
    host.tables.patch(NOW, queued(4, "castle", "castle/c", 9));
    host.tables.patch(NOW, changing(5, "castle/c", Remove));
    host.tables.patch(NOW, failed(5));
    assert_eq!(failure(&mut host, "castle/c"), Some(intent(5)));
    assert_eq!(host.effects(), []);
}

/// The answer was lost and the app gave up, but the daemon had done it.
#[test]
fn ld_3_a_failure_goes_when_the_effect_is_told_after_all() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.patch(NOW, failed(1));
    let failure = |host: &mut Host| {
        let view = host.view(castle);
        view.rows.iter().any(|row| row.failure.is_some())
    };
    assert!(failure(&mut host));
    host.effects();
    let mut told = event(&[("castle/a", 9)], &[]);
    told.intent_id = Some(intent(1));
    host.changed(6, &told);
    assert_eq!(host.effects(), [Effect::Forget(intent(1))]);
    assert!(!failure(&mut host));
    assert_eq!(host.rows(castle).len(), 1);
    assert!(host.tables.lists.patches.is_empty());
}

#[test]
fn ld_3_an_answer_without_a_number_loads_a_table_once_however_many_rows_it_changed() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.effects();
    let patches::Input::Queued {
        patches: mut both, ..
    } = queued(1, "castle", "castle/a", 9)
    else {
        panic!("an intent is queued");
    };
    both.extend(both.clone());
    both[1].key = "castle/b".to_owned();
    let (intent_id, at) = (intent(1), 1);
    let queued = patches::Input::Queued {
        intent_id,
        at,
        patches: both,
    };
    host.tables.patch(NOW, queued);
    host.tables.patch(NOW, done(1, 0));
    assert_eq!(host.effects().len(), 1, "one load");
}

#[test]
fn ld_3_an_answer_of_before_a_reset_leaves_its_patch_until_rows_of_after_it_are_there() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.attached(NOW, SessionState::Reset);
    // The daemon read these rows, then the connection of before the reset did the intent.
    let early = page("castle/*", 1, &[], false);
    host.effects();
    let load = host
        .tables
        .lists
        .open
        .get(castle)
        .unwrap()
        .rows
        .generation();
    host.tables.patch(NOW, done(1, 0));
    let result = Ok(early);
    host.tables
        .handle(NOW, castle, Input::Page { load, result });
    assert_eq!(pending(&mut host, castle), ["castle/a"]);
    let mut late = page("castle/*", 2, &["castle/a"], false);
    late.rows[0] = row("castle/a", 10);
    host.answer(castle, Ok(late));
    assert_eq!(host.rows(castle), ["castle/a=10"]);
    assert_eq!(pending(&mut host, castle), [""; 0]);

    // Rows that were current are not, as to this.
    host.tables.patch(NOW, queued(2, "castle", "castle/b", 9));
    host.tables.patch(NOW, done(2, 0));
    assert_eq!(pending(&mut host, castle), ["castle/b"]);
    let mut told = event(&[("castle/b", 11)], &[]);
    told.intent_id = Some(intent(2));
    host.changed(3, &told);
    assert_eq!(host.rows(castle), ["castle/a=10", "castle/b=11"]);
}

#[test]
fn ld_3_a_row_after_the_last_loaded_one_stays_left_out() {
    let config = ListsConfig {
        page: 1,
        ..Overlay::CONFIG
    };
    let mut host = Host {
        tables: Tables::new(config),
        rev: 0,
    };
    host.tables.attached(NOW, SessionState::New);
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &["castle/b"], true)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.patch(NOW, queued(2, "castle", "castle/c", 9));
    assert_eq!(host.rows(castle), ["castle/a=9", "castle/b=0"]);
    host.tables.handle(NOW, castle, Input::LoadMore);
    host.answer(castle, Ok(page("castle/*", 5, &["castle/d"], false)));
    let all = ["castle/a=9", "castle/b=0", "castle/c=9", "castle/d=0"];
    assert_eq!(host.rows(castle), all);
}

#[test]
fn ld_3_ld_4_a_patch_costs_what_it_changes_and_nothing_while_nothing_happens() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    let keys: Vec<_> = (0..10_000).map(|n| format!("castle/{n:05}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    host.answer(castle, Ok(page("castle/*", 5, &keys, false)));
    let before = host.view(castle);
    host.tables
        .patch(NOW, queued(1, "castle", "castle/05000", 9));
    host.tables
        .patch(NOW, queued(2, "castle", "castle/05000x", 9));
    let with = host.view(castle);
    assert_eq!(with.diff(Some(&before)).changes.len(), 2);
    let tower = host.open("tower");
    host.view(tower);
    assert!(Arc::ptr_eq(&with, &host.view(castle)), "the same value");
    // A change elsewhere leaves the patched rows as they are.
    host.changed(6, &event(&[("castle/00001", 1)], &[]));
    let after = host.view(castle);
    assert_eq!(after.diff(Some(&with)).changes.len(), 1);
}

#[test]
fn ld_3_what_is_shown_is_what_laying_all_patches_anew_would_show() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(
        castle,
        Ok(page("castle/*", 1, &["castle/0", "castle/3"], false)),
    );
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % bound
    };
    let (mut seq, mut last) = (1, 0_u8);
    for step in 0..4_000 {
        let key = format!("castle/{}", below(5));
        // One of the last few intents; most are known.
        let some = last.saturating_sub(u8::try_from(below(6)).unwrap());
        let fail = patches::Conclusion::Failed(crate::data::optimistic::IntentFailure::Expired);
        match below(8) {
            0..=2 if last < 250 => {
                last += 1;
                host.tables.patch(NOW, queued(last, "castle", &key, step));
            }
            3 => host.tables.patch(NOW, done(some, seq + below(3))),
            4 => host.tables.patch(
                NOW,
                patches::Input::Concluded {
                    intent_id: intent(some),
                    conclusion: fail,
                },
            ),
            5 => host.tables.patch(
                NOW,
                patches::Input::Dismissed {
                    intent_id: intent(some),
                },
            ),
            6 => {
                seq += 1;
                let mut changed = event(&[(&key, step)], &[]);
                changed.intent_id = (below(2) == 0).then(|| intent(some));
                host.changed(seq, &changed);
            }
            _ => {
                seq += 1;
                host.changed(seq, &event(&[], &[&key]));
            }
        }
        // Intents begin anew, or the test would run out of ids.
        if last == 250 {
            (1..=last).for_each(|n| {
                let conclusion = patches::Conclusion::Dropped;
                let intent_id = intent(n);
                host.tables.patch(
                    NOW,
                    patches::Input::Concluded {
                        intent_id,
                        conclusion,
                    },
                );
            });
            last = 0;
        }
        let shown = host.view(castle).rows.clone();
        let one = host.tables.lists.open.get(castle).unwrap();
        let mut anew = one.own.clone().forgotten();
        let scope = one.scope.as_ref();
        let over = (&host.tables.lists.patches, &mut one.left.clone());
        let anew = anew.lay(over, &one.rows, &one.target, scope);
        assert!(shown.iter().eq(anew.iter()), "step {step}");
    }
}
