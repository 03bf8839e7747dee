//! The never-list (design section 4). Every effect that touches the machine passes here last, whoever planned it. This
//! module trusts no planner: it looks at the command line as it would run, and derives what must hold from the world.

use crate::boot;
use crate::continuity;
use crate::fence;
use crate::ids::{PvUuid, TargetKey};
use crate::ledger::{Kind, MirrorRecord, Stage, Trust};
use crate::maintenance;
use crate::observation::LegHealth;
use crate::op::{Op, Throttle, VgRef};
use crate::plan::Situation;
use crate::resolve;
use crate::roles::{self, session};
use crate::silence;
use crate::timeouts::STOCK;
use crate::topology::{Leg, Live, Mirror};
use crate::trapped;
use crate::trust::{good_legs, may_serve, sources};
use crate::witness;
use crate::words::TargetState;

/// Words that no command line of ours may ever hold.
const FORBIDDEN: &[&str] = &[
    "--force",
    "-f",
    "-ff",
    "-yf",
    "--removemissing",
    "--resync",
    "partial",
    "--devices",
    "--logout",
    "-u",
    "vgreduce",
    "pvcreate",
    "pvremove",
    "vgremove",
    "lvremove",
    "vgcfgrestore",
];

/// Whether an operation may be handed to the shell.
///
/// # Errors
/// The rule it breaks.
pub fn check(op: &Op, s: &Situation<'_>) -> Result<(), String> {
    if let Some(argv) = op.argv() {
        // A dead session may be logged out, under rules of its own.
        let fence = |word: &str| word == "--logout" && matches!(op, Op::Fence { .. });
        // An activation writes no metadata (2.03.16: the sequence number stays), so nobody is called missing by it.
        let hides = |word: &str| word == "--devices" && matches!(op, Op::Activate { .. });
        let allowed = |word: &str| fence(word) || hides(word);
        if let Some(word) = argv.iter().find(|word| FORBIDDEN.contains(&word.as_str()) && !allowed(word)) {
            return Err(format!("`{word}` is on the never-list"));
        }
        if let Some(word) = argv.iter().find(|word| word.chars().any(char::is_control)) {
            return Err(format!("control character in {word:?}"));
        }
    }
    if op.writes_vg().is_some() {
        if let Some(device) = s.blocked_device() {
            return Err(format!("an LVM command would wait for {device}, which is blocked"));
        }
        if let Some(command) = s.kernel.left_over.first() {
            return Err(format!("`{command}` of an earlier run is at work"));
        }
        if !s.reported {
            return Err("the LVM report is older than the last change".into());
        }
        for lv in op.lvs() {
            let mirror = s.mirrors.get(&lv.uuid).ok_or_else(|| format!("{} is not known", lv.name))?;
            if mirror.unmanaged.is_some() || !mirror.reported {
                return Err(format!("{} is not ours to touch", mirror.name));
            }
            if mirror.lv != *lv || op.vg() != Some(&mirror.vg) {
                return Err(format!("{} goes by another name now", mirror.name));
            }
            if op.revives_legs() && mirror.kind != Kind::Mirror {
                superblocks_agree(op, mirror, s)?;
            }
            check_lv(op, mirror, s)?;
        }
    }
    match op {
        Op::RestoreMissing { vg, pv } => {
            identity(vg, pv, s)?;
            let here = s.mirrors.values().filter(|m| m.vg.uuid == vg.uuid && m.kind != Kind::Mirror);
            let failed = |m: &&Mirror| m.leg(pv).is_some_and(|leg| leg.health != Some(LegHealth::InSync));
            let live = here.filter(|m| m.live != Live::Inactive && m.unmanaged.is_none());
            // Given up by a person, and dropped before anything could revive it.
            let given_up = |m: &&Mirror| {
                let record = s.record(m);
                let condemned = record.and_then(|r| r.legs.get(pv)).is_some_and(|known| resolve::condemned(known));
                condemned && record.is_some_and(|record| kept_is_live(record, m))
            };
            live.filter(failed).filter(|m| !given_up(m)).try_for_each(|m| superblocks_agree(op, m, s))
        }
        Op::Login { target } => match s.targets.all.get(target) {
            Some(t) if t.sid.is_some() => Err(format!("{target} has a session")),
            _ => Ok(()),
        },
        Op::SetRecoveryTmo { sid, target: key, seconds } => {
            let target = s.targets.all.get(key).filter(|t| t.state == TargetState::LoggedIn && t.sid == Some(*sid));
            let current = target.and_then(|t| t.recovery_tmo).ok_or("the session is not logged in")?;
            ensure(*seconds != Some(0), || "0 fails I/O at the first hiccup".into())?;
            let lower = seconds.is_some_and(|new| current.is_none_or(|old| new < old));
            let fixed = s.ledger.targets.get(&key.name).and_then(|record| record.override_seconds);
            let asked = fixed.is_some() && fixed == *seconds;
            // What open-iscsi would wait by itself is for the end of the service.
            let stock = seconds.is_none_or(|new| new >= STOCK);
            let ground = s.ground();
            let here = ground.active().filter(|(m, _)| m.legs.iter().any(|leg| session(leg) == Some(key)));
            let known = !roles::astray(ground).any(|astray| astray == key);
            let spared = known
                && here.into_iter().all(|(m, record)| {
                    let good = ground.good_sessions(m, record);
                    good.iter().any(|other| *other != key && ground.seen_waiting(other))
                });
            // Where nobody is quick, everybody has what the administrator gave.
            let here = |m: &Mirror| m.live != Live::Inactive && m.unmanaged.is_none() && sole_copy_on(m, key, s);
            let plain = s.settings.quick_timeout == 0 && !s.mirrors.values().any(here);
            ensure(!lower || asked || stock || spared || plain && known, || {
                "it carries a last good copy: a mirror on it has no other leg that waits".into()
            })
        }
        Op::Fence { target, sid } => fence::check(s, target, *sid),
        Op::ClearConnection { target, sid } => trapped::check(s, target, *sid),
        Op::DestroySocket { target, sid, seen } => silence::check(s, target, *sid, *seen),
        Op::Stamp { vg, .. } => {
            let here = s.mirrors.values().filter(|m| m.vg.uuid == vg.uuid && m.unmanaged.is_none());
            let legs = here.flat_map(|m| m.legs.iter().map(move |leg| (m, leg)));
            let mut there = legs.filter(|(_, leg)| leg.up());
            let doubtful = there.find(|(m, leg)| suspect(m, leg, s) || !s.looks.judged(leg, s.targets));
            doubtful.map_or(Ok(()), |(_, leg)| Err(format!("it would wipe what the metadata on {} says", leg.pv)))
        }
        Op::Register { pv, .. } => {
            let vacant = s.looks.registrations.get(pv).is_some_and(continuity::vacant);
            let legs = s.ledger.mirrors.values().filter_map(|record| record.legs.get(pv));
            let trusted = legs.clone().all(|known| known.trust == Trust::Trusted);
            ensure(trusted, || format!("{pv} is in doubt: a key made now would prove nothing"))?;
            ensure(vacant, || format!("the target of {pv} has keys, or keeps them over a power loss"))
        }
        Op::SetRunning { disk } => {
            let ours = |m: &Mirror, leg: &Leg| {
                let on_disk = leg.place.as_ref().is_some_and(|place| place.disk == *disk);
                let known = s.record(m).and_then(|record| record.legs.get(&leg.pv));
                let kept_out = known.is_some_and(|known| known.kept_out);
                on_disk && !s.resting(m, leg) && (kept_out || maintenance::leaving(s, &leg.pv))
            };
            let found = s.mirrors.values().any(|m| m.legs.iter().any(|leg| ours(m, leg)));
            ensure(found, || format!("{disk} was not set offline by us"))
        }
        Op::SetThrottle { throttle, value } => {
            let sane = *value > 0 && (*throttle == Throttle::Raid || *value <= 100);
            ensure(sane, || format!("{value} would stop copies for good"))?;
            let noted = s.ledger.wishes.throttles.contains_key(throttle);
            ensure(noted, || "nothing is noted of what it was before".into())
        }
        Op::UpdateNode { seconds: 0, .. } => Err("0 fails I/O at the first hiccup".into()),
        Op::SetAutoactivation { vg, .. } => {
            let chosen = |m: &Mirror| s.record(m).is_some_and(|record| record.kept.is_some());
            let here = || s.mirrors.values().filter(|m| m.vg.uuid == vg.uuid && m.unmanaged.is_none());
            let doubtful = here().flat_map(|m| m.legs.iter().map(move |leg| (m, leg))).find(|(m, l)| suspect(m, l, s));
            let resolving = here().any(chosen);
            doubtful
                .filter(|_| !resolving)
                .map_or(Ok(()), |(_, leg)| Err(format!("it would wipe what the metadata on {} says", leg.pv)))
        }
        Op::SetOffline { disk } => {
            let on_disk = |leg: &Leg| leg.place.as_ref().is_some_and(|p| p.disk == *disk);
            ensure(!disk.is_empty(), || "a disk without a name".into())?;
            let live = |m: &Mirror| m.live != Live::Inactive;
            let serves = |m: &Mirror, leg: &Leg| on_disk(leg) && leg.index.is_some() && live(m) && !suspect(m, leg, s);
            // Unless its server is out of service, and another such leg on another server goes on.
            let needed = |m: &Mirror, leg: &Leg| serves(m, leg) && !maintenance::expendable(s, m, leg);
            let serving = s.mirrors.values().find(|m| m.legs.iter().any(|leg| needed(m, leg)));
            serving.map_or(Ok(()), |m| Err(format!("{disk} carries a trusted leg of {}", m.name)))?;
            // Whatever is wrong with it: somebody else has to serve, and be what he should be.
            let in_use = |leg: &Leg| leg.index.is_some() && leg.health == Some(LegHealth::InSync);
            let genuine = |m: &Mirror, leg: &Leg| {
                let probe = s.probe(&m.vg.uuid);
                probe.is_none_or(|probe| probe.identity(m, leg, 0).is_ok())
            };
            // One that missed writes may lack what this one has, if it is the PV at all.
            let complete = |m: &Mirror, leg: &Leg| {
                let known = s.record(m).and_then(|record| record.legs.get(&leg.pv));
                known.is_some_and(|known| may_serve(&known.trust)) && genuine(m, leg)
            };
            let alone = |m: &&Mirror| {
                let goes = || m.legs.iter().filter(|leg| on_disk(leg) && in_use(leg));
                let more = goes().any(|leg| complete(m, leg));
                let right = |leg: &Leg| if more { complete(m, leg) } else { genuine(m, leg) };
                let other = |leg: &Leg| !on_disk(leg) && in_use(leg) && leg.up() && right(leg);
                live(m) && goes().next().is_some() && !m.legs.iter().any(other)
            };
            let alone = s.mirrors.values().find(alone);
            alone.map_or(Ok(()), |m| Err(format!("{} would have no leg to go on with", m.name)))
        }
        _ => Ok(()),
    }
}

fn check_lv(op: &Op, mirror: &Mirror, s: &Situation<'_>) -> Result<(), String> {
    let record = s.record(mirror).ok_or_else(|| format!("nothing is remembered of {}", mirror.name))?;
    let other_good = |pv: &PvUuid| good_legs(record, mirror).any(|good| good != pv);
    let stage = |pv: &PvUuid| match record.legs.get(pv).map(|leg| &leg.trust) {
        Some(Trust::Suspect { stage, .. }) => Some(*stage),
        _ => None,
    };
    let raid = mirror.kind == Kind::Raid1;
    match op {
        Op::Quarantine { vg, pv, also, unflag, .. } => {
            others_revived(pv, mirror)?;
            // One that serves reads is flagged whatever it is; one that does not must be itself to be revived.
            let in_use = mirror.leg(pv).is_some_and(|leg| leg.health == Some(LegHealth::InSync));
            if !in_use {
                identity(vg, pv, s)?;
            }
            let doubtful = unflag.iter().find(|pv| stage(pv).is_some());
            ensure(doubtful.is_none(), || format!("{} would read from a leg in doubt", mirror.name))?;
            let reader = |leg: &Leg| {
                let flagged = leg.write_mostly && !unflag.contains(&leg.pv) || also.contains(&leg.pv);
                leg.pv != *pv && leg.health == Some(LegHealth::InSync) && !flagged
            };
            let suspect = stage(pv).is_some() && also.iter().all(|pv| stage(pv).is_some());
            ensure(raid && suspect, || format!("no suspect leg of {} on {pv}", mirror.name))?;
            ensure(mirror.legs.iter().any(reader), || format!("no leg of {} would be left to read from", mirror.name))
        }
        Op::Release { pv, .. } => {
            others_revived(pv, mirror)?;
            ensure(raid && stage(pv) == Some(Stage::Verified), || {
                format!("the leg of {} on {pv} is not verified", mirror.name)
            })
        }
        Op::Check { .. } => ensure(raid && mirror.steady(), || format!("{} is not steady", mirror.name)),
        Op::Repair { .. } => {
            let index = |pv: &PvUuid| mirror.leg(pv).and_then(|leg| leg.index);
            let sources = sources(record, mirror);
            let good = sources.iter().copied().filter_map(index).min();
            let bad = record.legs.keys().filter(|pv| !sources.contains(pv)).filter_map(index).min();
            ensure(raid && mirror.steady() && good.is_some_and(|g| bad.is_none_or(|b| g < b)), || {
                format!("repair of {} would copy from a suspect leg", mirror.name)
            })
        }
        Op::Rebuild { pv, .. } => {
            let live = mirror.leg(pv).is_some_and(|leg| leg.health == Some(LegHealth::InSync));
            ensure(raid && live && mirror.steady(), || {
                format!("the leg of {} to be rebuilt is not live", mirror.name)
            })?;
            let sources = sources(record, mirror);
            ensure(!sources.is_empty() && !sources.contains(&pv), || {
                format!("{} has no better leg than {pv}", mirror.name)
            })?;
            let doubtful = |leg: &&Leg| leg.pv != *pv && !leg.write_mostly && !sources.contains(&&leg.pv);
            let source = mirror.legs.iter().find(doubtful);
            source.map_or(Ok(()), |leg| {
                Err(format!("{} could be copied from {}, which is in doubt", mirror.name, leg.pv))
            })
        }
        Op::Resume { .. } => ensure(mirror.suspended, || format!("{} is not suspended", mirror.name)),
        // Another table than the live one would be loaded, and a core log copies leg 0 over the others then; and what is
        // issued anew goes to every leg.
        Op::Requeue { vg, .. } => {
            mirror.legs.iter().filter(|leg| leg.index.is_some()).try_for_each(|leg| identity(vg, &leg.pv, s))?;
            let same = matches!(mirror.live, Live::Mirror { handle_errors: true, nosync: false, .. });
            let there = mirror.legs.iter().filter(|leg| leg.index.is_some()).all(|leg| leg.up() && leg.attached);
            ensure(same && there && !mirror.suspended && mirror.monitored != Some(false), || {
                format!("{} would get another table", mirror.name)
            })
        }
        Op::ReaddLeg { vg, pv, .. } => {
            let dropped = mirror.leg(pv).is_some_and(|leg| leg.index.is_none());
            let chosen = mirror.kind == Kind::Mirror || kept_is_live(record, mirror);
            ensure(dropped && chosen && mirror.kind != Kind::Raid10, || {
                format!("{pv} is not a leg that {} lost", mirror.name)
            })?;
            identity(vg, pv, s)
        }
        Op::DropLeg { vg, pv, .. } => {
            let ok = match mirror.kind {
                Kind::Raid1 => record.kept.as_ref() != Some(pv) && kept_is_live(record, mirror) && stage(pv).is_some(),
                Kind::Mirror => stage(pv).is_some() && other_good(pv) && mirror.idle(),
                Kind::Raid10 => false,
            };
            ensure(ok, || format!("{} would lose a leg that may be its best", mirror.name))?;
            identity(vg, pv, s)
        }
        // It drops every leg that failed or is flagged missing, so there must be such a leg, and every good one must stay.
        Op::DropDeadLeg { .. } => {
            let inactive = mirror.live == Live::Inactive;
            let up = |leg: &Leg| leg.up();
            let well = |leg: &Leg| if inactive { up(leg) } else { leg.health == Some(LegHealth::InSync) };
            let goes = |leg: &Leg| leg.index.is_some() && (leg.missing || !well(leg));
            let stays = |leg: &Leg| leg.index.is_some() && !goes(leg);
            let good_goes = mirror.legs.iter().any(|l| goes(l) && well(l) && stage(&l.pv).is_none());
            let ok = mirror.kind == Kind::Mirror && mirror.legs.iter().any(goes) && mirror.legs.iter().any(stays);
            ensure(ok, || format!("{} is no mirror with a dead leg and a live one", mirror.name))?;
            ensure(!good_goes, || format!("{} would lose a good leg", mirror.name))?;
            let good = |leg: &Leg| stays(leg) && boot::believed(mirror, record, leg);
            ensure(!inactive || mirror.legs.iter().any(good), || format!("{} would keep a doubtful leg", mirror.name))
        }
        Op::Activate { on, .. } => may_activate(on, record, mirror, s),
        Op::Deactivate { .. } => {
            let others = || record.legs.iter().filter(|(pv, _)| record.kept.as_ref() != Some(pv));
            let given_up = record.kept.is_some() && others().all(|(_, known)| resolve::condemned(known));
            ensure(given_up && !kept_is_live(record, mirror) && !mirror.open, || {
                format!("{} is in use, or nobody chose another of its legs", mirror.name)
            })
        }
        _ => Ok(()),
    }
}

/// A table load revives every failed leg it can read: there must be no other than the one it is for.
fn others_revived(pv: &PvUuid, mirror: &Mirror) -> Result<(), String> {
    let other = |leg: &&Leg| leg.pv != *pv && leg.up() && leg.health == Some(LegHealth::Dead);
    let revived = mirror.legs.iter().find(other);
    revived.map_or(Ok(()), |leg| Err(format!("{} would revive {} with it", mirror.name, leg.pv)))
}

/// The leg that a person chose is the one in use.
fn kept_is_live(record: &MirrorRecord, mirror: &Mirror) -> bool {
    let kept = record.kept.as_ref().and_then(|pv| mirror.leg(pv));
    kept.is_some_and(|leg| leg.health == Some(LegHealth::InSync) && leg.up())
}

/// An activation is a table load: whatever leg can be read in it must be beyond doubt, or all must be in the same doubt.
fn may_activate(on: &[PvUuid], record: &MirrorRecord, mirror: &Mirror, s: &Situation<'_>) -> Result<(), String> {
    ensure(mirror.live == Live::Inactive, || format!("{} is active", mirror.name))?;
    let probe = s.probe(&mirror.vg.uuid).ok_or("its legs were not read just before")?;
    let readable = |leg: &&Leg| leg.index.is_some() && leg.up();
    for leg in mirror.legs.iter().filter(readable) {
        let size = record.legs.get(&leg.pv).map_or(0, |known| known.size);
        probe.identity(mirror, leg, size).map_err(|o| format!("{}: {}", leg.pv, o.hold))?;
    }
    let positions: Vec<usize> = mirror.legs.iter().filter(readable).filter_map(|leg| leg.index).collect();
    if mirror.kind != Kind::Mirror && positions.len() > 1 {
        witness::peaceful(&probe.superblocks(mirror), &positions)
            .map_err(|o| format!("{}: {}", mirror.name, o.hold))?;
    }
    let doubtful = mirror.legs.iter().filter(readable).find(|leg| !boot::believed(mirror, record, leg));
    ensure(doubtful.is_none(), || format!("{} would be activated with a doubtful leg", mirror.name))?;
    let complete = mirror.legs.iter().filter(|leg| leg.index.is_some()).all(|leg| readable(&leg) && !leg.missing);
    ensure(complete || !on.is_empty() || mirror.kind == Kind::Mirror, || format!("{} is not complete", mirror.name))?;
    let there = mirror.legs.iter().filter(|leg| leg.index.is_some()).all(|leg| boot::there(record, leg));
    // Whoever chose a leg has given up what the others may have.
    ensure(there || !record.unseen || record.kept.is_some(), || {
        format!("nobody saw what happened to {} at the end", mirror.name)
    })?;
    let hidden = on.iter().find(|pv| !mirror.legs.iter().filter(readable).any(|leg| leg.pv == **pv));
    ensure(hidden.is_none(), || format!("{} would be activated on what is not there", mirror.name))?;
    ensure(mirror.legs.iter().any(|leg| readable(&leg)), || format!("no leg of {} is there", mirror.name))
}

/// The rule of `facts/lab.md` B, before any command that loads a raid table or revives a leg.
fn superblocks_agree(op: &Op, mirror: &Mirror, s: &Situation<'_>) -> Result<(), String> {
    let probe = s.probe(&mirror.vg.uuid).ok_or("the superblocks were not read just before")?;
    let superblocks = probe.superblocks(mirror);
    let alive: Vec<usize> =
        mirror.legs.iter().filter(|l| l.health == Some(LegHealth::InSync)).filter_map(|l| l.index).collect();
    let reachable = |leg: &&Leg| leg.up();
    for leg in mirror.legs.iter().filter(|l| l.health != Some(LegHealth::InSync)).filter(reachable) {
        let index = leg.index.ok_or("a leg without position")?;
        let known = s.record(mirror).and_then(|record| record.legs.get(&leg.pv)).map(|known| &known.trust);
        if let Some(Trust::Suspect { loss, .. }) = known {
            witness::untouched(&superblocks, index, loss).map_err(|o| format!("{}: {}", mirror.name, o.hold))?;
        }
        witness::revivable(&superblocks, index, &alive).map_err(|o| format!("{}: {}", mirror.name, o.hold))?;
    }
    let here = || mirror.legs.iter().filter(|leg| leg.health == Some(LegHealth::InSync));
    let trusted: Vec<usize> = here().filter(|leg| !suspect(mirror, leg, s)).filter_map(|leg| leg.index).collect();
    for index in here().filter(|leg| suspect(mirror, leg, s)).filter_map(|leg| leg.index) {
        witness::not_ahead(&superblocks, index, &trusted).map_err(|o| format!("{}: {}", mirror.name, o.hold))?;
    }
    // A resume with nobody failed loads no table and revives nobody.
    if alive.len() == mirror.legs.len() && !matches!(op, Op::Resume { .. }) {
        witness::peaceful(&superblocks, &alive).map_err(|o| format!("{}: {}", mirror.name, o.hold))?;
    }
    Ok(())
}

fn identity(vg: &VgRef, pv: &PvUuid, s: &Situation<'_>) -> Result<(), String> {
    let probe = s.probe(&vg.uuid).ok_or("the device was not read just before")?;
    let here = s.mirrors.values().find(|m| m.vg.uuid == vg.uuid && m.leg(pv).is_some());
    let mirror = here.ok_or_else(|| format!("{pv} is no leg of ours"))?;
    ensure(mirror.vg == *vg && mirror.unmanaged.is_none() && mirror.reported, || {
        format!("{} is not ours to touch, or goes by another name now", vg.name)
    })?;
    probe.stands(s, &vg.uuid, pv).map_err(|o| format!("{pv}: {}", o.hold))
}

fn suspect(mirror: &Mirror, leg: &Leg, s: &Situation<'_>) -> bool {
    let known = s.record(mirror).and_then(|record| record.legs.get(&leg.pv));
    known.is_some_and(|known| known.trust != Trust::Trusted)
}

/// Whether a mirror that should have more has its only good copy on a target; with none proven, whatever serves counts.
fn sole_copy_on(mirror: &Mirror, target: &TargetKey, s: &Situation<'_>) -> bool {
    let Some(record) = s.record(mirror).filter(|r| r.legs.len() > 1) else { return false };
    let on_target = |leg: &Leg| leg.place.as_ref().and_then(|p| p.target.as_ref()) == Some(target);
    let good: Vec<&PvUuid> = good_legs(record, mirror).collect();
    let serves = |leg: &Leg| leg.index.is_some() && leg.health == Some(LegHealth::InSync);
    match good[..] {
        [] => mirror.legs.iter().any(|leg| serves(leg) && on_target(leg)),
        [pv] => mirror.leg(pv).is_some_and(on_target),
        _ => false,
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
