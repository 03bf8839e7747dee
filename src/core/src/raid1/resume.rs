//! Resuming what a killed command left suspended (`facts/lab.md` A, 11): the most urgent step of all, since writers hang.

use super::{Case, case, verdict};
use crate::ledger::Kind;
use crate::observation::LegHealth;
use crate::op::Op;
use crate::plan::{Plan, Situation};
use crate::topology::Mirror;
use crate::witness::Objection;
use crate::words::Hold;
use std::time::Duration;

/// How long a volume stays suspended for the sake of disks that could not be read: two more looks.
const PATIENCE: Duration = Duration::from_secs(30);

/// A volume found suspended with no LVM command alive hangs its writers: resuming it comes before all else. The resume
/// also revives a failed leg, so that leg's disk is set offline first unless the superblocks agree. A leg revived so serves
/// reads until it is flagged, unless the killed command had flagged it already: hanging writers are worse.
pub fn resume(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    for mirror in mirrors.iter().filter(|m| m.suspended && m.reported && s.reported) {
        let stuck = s.stuck_since.get(&mirror.lv.uuid);
        if stuck.is_none_or(|at| s.now.mono.since(*at) < s.settings.suspended_grace) {
            continue;
        }
        if let Some(device) = s.blocked_device() {
            plan.hold(mirror, Objection::new(Hold::DeviceBlocked, "device", device));
            continue;
        }
        let resume = || {
            let op = Op::Resume { vg: mirror.vg.clone(), lv: mirror.lv.clone() };
            Some((op, format!("{} was left suspended by a command that is gone", mirror.name)))
        };
        if mirror.kind == Kind::Mirror {
            plan.propose(resume());
            continue;
        }
        let failed = mirror.legs.iter().filter(|leg| leg.health != Some(LegHealth::InSync));
        let reachable = failed.filter(|leg| leg.up());
        let failed: Vec<Case<'_>> = reachable.filter_map(|leg| case(s, mirror, &leg.pv)).collect();
        let probe = s.verdict(&mirror.vg.uuid);
        match failed.iter().find_map(|c| verdict(s, c, probe?).err().map(|o| (c, o))) {
            None => plan.propose(resume()),
            Some((case, objection)) => {
                let silent = objection.hold == Hold::Unreadable;
                plan.hold(mirror, objection);
                let since = stuck.map_or(Duration::ZERO, |at| s.now.mono.since(*at));
                if s.probe(&mirror.vg.uuid).is_none() {
                    plan.propose(Some((
                        s.probe_op(&mirror.vg),
                        format!("{} must be resumed; look again", mirror.name),
                    )));
                    continue;
                }
                // What one look could not read the next one may; a disk that was set offline comes back by a person's hand.
                if silent && since < PATIENCE {
                    continue;
                }
                let disk = case.leg.place.as_ref().map(|p| p.disk.clone()).filter(|disk| !disk.is_empty());
                let offline = disk.map(|disk| {
                    let why = format!("{} must be resumed, and {disk} must not come back with it", mirror.name);
                    (Op::SetOffline { disk }, why)
                });
                plan.propose(offline);
            }
        }
    }
}
