//! The expected cells of the host's tables.
//!
//! One block per input, one line per state in which the input has an effect: the next state (if it
//! changed, with the candidate's generation), then the effects. An unlisted state ignores the input
//! or only records it.

pub(super) type Block = (&'static str, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
pub(super) const TABLE: &[Block] = &[
    ("start", &[
        ("booting", "selecting_active_connection probe(direct) probe(relay+150)"),
    ]),
    ("connections_same", &[]),
    ("connections_more", &[
        ("no_connections", "selecting_active_connection probe(local) probe(direct) probe(relay+150)"),
        ("selecting", "selecting_active_connection cancel probe(local) probe(direct) probe(relay+150)"),
        ("selecting:pausing", "selecting_active_connection probe(local) probe(direct) probe(relay+150)"),
        ("online:relay", "probe(local) probe(direct) probe(relay)"),
        ("online:candidate", "probe(local) probe(direct) probe(relay)"),
        ("degraded:relay", "cancel probe(local) probe(direct) probe(relay+150)"),
        ("degraded:candidate", "cancel probe(local) probe(direct) probe(relay+150)"),
        ("error", "selecting_active_connection probe(local) probe(direct) probe(relay+150)"),
    ]),
    ("connections_only_direct", &[
        ("no_connections", "connecting_active client1(direct)"),
        ("selecting", "connecting_active cancel client1(direct)"),
        ("selecting:pausing", "connecting_active client1(direct)"),
        ("connecting:relay", "connecting_active dispose1(now) client2(direct)"),
        ("online:relay", "connecting_active dispose1(5s) client2(direct)"),
        ("online:candidate", "connecting_active dispose1(5s) dispose2(now) client3(direct)"),
        ("degraded:relay", "connecting_active dispose1(now) cancel client2(direct)"),
        ("degraded:candidate", "connecting_active dispose1(now) dispose2(now) cancel client3(direct)"),
        ("error", "connecting_active client2(direct)"),
    ]),
    ("connections_none", &[
        ("selecting", "no_connections cancel"),
        ("selecting:pausing", "no_connections"),
        ("connecting:relay", "no_connections dispose1(now)"),
        ("online:relay", "no_connections dispose1(5s)"),
        ("online:candidate", "no_connections dispose1(5s) dispose2(now)"),
        ("degraded:relay", "no_connections dispose1(now) cancel"),
        ("degraded:candidate", "no_connections dispose1(now) dispose2(now) cancel"),
        ("error", "no_connections"),
    ]),
    ("probe_ok_direct", &[
        ("selecting", "connecting_active client1(direct)"),
        ("degraded:relay", "degraded+2 candidate2(direct)"),
    ]),
    ("probe_ok_relay", &[
        ("degraded:relay", "reconnect1"),
        ("degraded:candidate", "reconnect1"),
    ]),
    ("probe_failed_direct", &[]),
    ("probe_stale", &[]),
    ("client_connecting", &[
        ("online:relay", "degraded probe(direct) probe(relay+150)"),
        ("online:candidate", "degraded+2 probe(direct) probe(relay+150)"),
    ]),
    ("client_connected", &[
        ("connecting:relay", "online attached1"),
        ("online:relay", "attached1"),
        ("online:candidate", "attached1"),
        ("degraded:relay", "online attached1"),
        ("degraded:candidate", "online dispose2(now) attached1"),
    ]),
    ("client_lost", &[
        ("connecting:relay", "selecting_active_connection dispose1(now) lost(connection_lost)"),
        ("online:relay", "degraded probe(direct) probe(relay+150) lost(connection_lost)"),
        ("online:candidate", "degraded+2 probe(direct) probe(relay+150) lost(connection_lost)"),
        ("degraded:relay", "lost(connection_lost)"),
        ("degraded:candidate", "lost(connection_lost)"),
    ]),
    ("client_revoked", &[
        ("connecting:relay", "error dispose1(now) lost(device_revoked)"),
        ("online:relay", "error dispose1(now) lost(device_revoked)"),
        ("online:candidate", "error dispose1(now) dispose2(now) lost(device_revoked)"),
        ("degraded:relay", "error dispose1(now) cancel lost(device_revoked)"),
        ("degraded:candidate", "error dispose1(now) dispose2(now) cancel lost(device_revoked)"),
    ]),
    ("client_disposed", &[
        ("connecting:relay", "selecting_active_connection dispose1(now)"),
        ("online:relay", "selecting_active_connection dispose1(now) probe(direct) probe(relay+150)"),
        ("online:candidate", "selecting_active_connection dispose1(now) dispose2(now) probe(direct) probe(relay+150)"),
        ("degraded:relay", "selecting_active_connection dispose1(now) cancel probe(direct) probe(relay+150)"),
        ("degraded:candidate", "selecting_active_connection dispose1(now) dispose2(now) cancel probe(direct) probe(relay+150)"),
    ]),
    ("suspected", &[
        ("online:relay", "probe(direct) probe(relay)"),
        ("online:candidate", "probe(direct) probe(relay)"),
    ]),
    ("heard_again", &[]),
    ("candidate_connecting", &[]),
    ("candidate_connected", &[
        ("online:candidate", "online promote2 dispose1(5s) attached2 alternative2(true)"),
        ("degraded:candidate", "online promote2 dispose1(now) attached2 alternative2(true)"),
    ]),
    ("candidate_revoked", &[
        ("online:candidate", "online dispose2(now)"),
        ("degraded:candidate", "degraded dispose2(now)"),
    ]),
    ("candidate_disposed", &[
        ("online:candidate", "online dispose2(now)"),
        ("degraded:candidate", "degraded dispose2(now)"),
    ]),
    ("select_direct", &[
        ("selecting", "connecting_active cancel client1(direct)"),
        ("selecting:pausing", "connecting_active client1(direct)"),
        ("connecting:relay", "connecting_active dispose1(now) client2(direct)"),
        ("online:relay", "online+2 candidate2(direct)"),
        ("degraded:relay", "degraded+2 candidate2(direct)"),
        ("error", "connecting_active client2(direct)"),
    ]),
    ("select_relay", &[
        ("selecting", "connecting_active cancel client1(relay)"),
        ("selecting:pausing", "connecting_active client1(relay)"),
        ("online:candidate", "online dispose2(now)"),
        ("degraded:relay", "reconnect1"),
        ("degraded:candidate", "degraded dispose2(now) reconnect1"),
        ("error", "connecting_active client2(relay)"),
    ]),
    ("select_unknown", &[]),
    ("select_auto", &[
        ("selecting:pausing", "selecting_active_connection probe(direct) probe(relay+150)"),
        ("error", "selecting_active_connection probe(direct) probe(relay+150)"),
    ]),
    ("reconnect_now", &[
        ("selecting:pausing", "selecting_active_connection probe(direct) probe(relay+150)"),
        ("online:relay", "check1 probe(direct) probe(relay)"),
        ("online:candidate", "check1 probe(direct) probe(relay)"),
        ("degraded:relay", "reconnect1"),
        ("degraded:candidate", "reconnect1"),
        ("error", "selecting_active_connection probe(direct) probe(relay+150)"),
    ]),
    ("intent_queued", &[
        ("error", "selecting_active_connection probe(direct) probe(relay+150)"),
    ]),
    ("foreground", &[
        ("selecting:pausing", "selecting_active_connection probe(direct) probe(relay+150)"),
        ("online:relay", "check1 probe(direct) probe(relay)"),
        ("online:candidate", "check1 probe(direct) probe(relay)"),
        ("degraded:relay", "check1"),
        ("degraded:candidate", "check1"),
    ]),
    ("background", &[
        ("connecting:relay", "background1(true)"),
        ("online:relay", "background1(true)"),
        ("online:candidate", "background1(true) background2(true)"),
        ("degraded:relay", "background1(true)"),
        ("degraded:candidate", "background1(true) background2(true)"),
    ]),
    ("network_changed", &[
        ("selecting", "selecting_active_connection cancel probe(direct) probe(relay+150)"),
        ("selecting:pausing", "selecting_active_connection probe(direct) probe(relay+150)"),
        ("connecting:relay", "selecting_active_connection dispose1(now) probe(direct) probe(relay+150)"),
        ("online:relay", "network1 probe(direct) probe(relay)"),
        ("online:candidate", "online+3 network1 dispose2(now) candidate3(direct) probe(direct) probe(relay)"),
        ("degraded:relay", "network1 cancel probe(direct) probe(relay+150)"),
        ("degraded:candidate", "degraded+3 network1 dispose2(now) candidate3(direct) cancel probe(direct) probe(relay+150)"),
        ("error", "selecting_active_connection probe(direct) probe(relay+150)"),
    ]),
    ("timer", &[
        ("selecting", "selecting_active_connection cancel"),
        ("selecting:pausing", "selecting_active_connection probe(direct) probe(relay+150)"),
        ("connecting:relay", "selecting_active_connection dispose1(now)"),
        ("online:relay", "probe(direct) probe(relay)"),
        ("online:candidate", "probe(direct) probe(relay)"),
        ("degraded:relay", "cancel"),
        ("degraded:candidate", "cancel"),
        ("error", "selecting_active_connection probe(direct) probe(relay+150)"),
    ]),
    ("stop", &[
        ("booting", "stopped"),
        ("no_connections", "stopped"),
        ("selecting", "stopped cancel"),
        ("selecting:pausing", "stopped"),
        ("connecting:relay", "stopped dispose1(now)"),
        ("online:relay", "stopped dispose1(5s)"),
        ("online:candidate", "stopped dispose1(5s) dispose2(now)"),
        ("degraded:relay", "stopped dispose1(now) cancel"),
        ("degraded:candidate", "stopped dispose1(now) dispose2(now) cancel"),
        ("error", "stopped"),
    ]),
];
