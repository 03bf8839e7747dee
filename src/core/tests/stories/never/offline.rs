//! Whose disk is never made to fail, nor let answer again.

use super::*;

#[test]
fn a_disk_with_a_trusted_leg_is_never_set_offline() {
    let disk =
        |stand: &Stand| Op::SetOffline { disk: stand.machine.sessions[B].as_ref().unwrap().disk.as_str().into() };
    let healthy = Stand::new();
    healthy.refuses(&disk(&healthy), "trusted leg");
    let doubtful = Stand::new().dead(B).doubt("testlv", B, Stage::Unverified);
    doubtful.allows(&disk(&doubtful));
}

#[test]
fn nor_is_one_with_a_leg_that_may_have_more_than_the_other_which_missed_writes() {
    let disk =
        |stand: &Stand| Op::SetOffline { disk: stand.machine.sessions[B].as_ref().unwrap().disk.as_str().into() };
    let away = |stand: Stand, cause: Cause| {
        stand.dead(B).doubt("testlv", A, Stage::Unverified).doubt("testlv", B, Stage::Unverified).with(|s| {
            let record = s.ledger.mirrors.get_mut(&uuid("testlv")).unwrap();
            let known = record.legs.get_mut(&Machine::pv(B)).unwrap();
            if let Trust::Suspect { cause: found, .. } = &mut known.trust {
                *found = cause;
            }
        })
    };
    let more = away(Stand::new(), Cause::SessionDown);
    more.refuses(&disk(&more), "no leg to go on with");
    let no_better = away(Stand::new(), Cause::Lost);
    no_better.allows(&disk(&no_better));
}

/// The server of leg B is out of service, or is being put back.
fn resting(stage: mirrorkeeper_core::wishes::Stage) -> Stand {
    Stand::new().with(|s| {
        s.machine.session(A).tmo = Some(600);
        let record = mirrorkeeper_core::wishes::Maintenance {
            since: Wall(1),
            uid: 0,
            stage,
            told: true,
            targets: [Machine::target(B).name.clone()].into(),
            offline: [Machine::pv(B)].into(),
        };
        s.ledger.wishes.maintenance.insert("10.0.0.2".into(), record);
    })
}

#[test]
fn under_maintenance_a_disk_is_set_offline_only_beside_another_trusted_leg_that_waits() {
    use mirrorkeeper_core::wishes::Stage::{Entered, Entering, Leaving};
    let disk = |stand: &Stand, server: usize| stand.machine.sessions[server].as_ref().unwrap().disk.as_str().into();
    let offline = |stand: &Stand, server| Op::SetOffline { disk: disk(stand, server) };
    let running = |stand: &Stand, server| Op::SetRunning { disk: disk(stand, server) };
    for stage in [Entering, Entered] {
        let stand = resting(stage);
        stand.allows(&offline(&stand, B));
        stand.refuses(&offline(&stand, A), "trusted leg");
        stand.refuses(&running(&stand, B), "not set offline by us");
    }
    let left = resting(Leaving);
    left.refuses(&offline(&left, B), "trusted leg");
    left.allows(&running(&left, B));
    left.refuses(&running(&left, A), "not set offline by us");
    let changes: [fn(&mut Stand); 4] = [
        |s| s.machine.session(A).tmo = Some(120),
        |s| s.machine.session(A).disk_state = ScsiState::Blocked,
        |s| *s = std::mem::replace(s, Stand::new()).doubt("testlv", A, Stage::Unverified),
        |s| {
            let record = s.ledger.wishes.maintenance["10.0.0.2"].clone();
            let targets = [Machine::target(A).name.clone()].into();
            s.ledger
                .wishes
                .maintenance
                .insert("10.0.0.1".into(), mirrorkeeper_core::wishes::Maintenance { targets, ..record });
        },
    ];
    for change in changes {
        let stand = resting(Entered).with(change);
        stand.refuses(&offline(&stand, B), "trusted leg");
    }
}
