//! Diagnostics that cannot be written, closed pipes, signals, text of strangers.

use super::rig::{Rig, output};

#[test]
fn the_rig_runs_a_daemon_and_a_paired_client() {
    let rig = Rig::paired();
    let agent = rig.agent("shell", "echo out");
    assert_eq!(output(&rig.turns(&agent, 1)), "out\n");
    let listed = rig.sh("$BL agents --json | wc -l");
    assert_eq!((listed.code, listed.stdout.trim()), (0, "1"), "{listed:?}");
}
