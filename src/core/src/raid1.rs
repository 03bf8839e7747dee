//! Healing raid1 on probation (`facts/lab.md` A, design section 4): a returned leg first takes writes and serves no
//! read, is compared in full, mended if it differs, and only then released.
//!
//! All LVs with a suspect leg on one PV go through a step in one command. One of them held holds them all.

mod resume;
mod unfit;

pub use resume::resume;
pub use unfit::serving_alone;
use unfit::{ANOTHER_TABLE, unfit};

use crate::ids::PvUuid;
use crate::ledger::{Cause, Kind, LegRecord, MirrorRecord, Stage, Trust};
use crate::link;
use crate::mirror;
use crate::observation::LegHealth;
use crate::op::{LvRef, Op};
use crate::plan::{Haste, Plan, ProbeRun, RESOLVABLE, Situation};
use crate::resolve;
use crate::topology::{Leg, Live, Mirror, Place};
use crate::trust::{self, sources};
use crate::window;
use crate::witness::{self, Objection};
use crate::words::Hold;
use std::collections::BTreeSet;

/// A suspect leg with everything around it.
struct Case<'a> {
    mirror: &'a Mirror,
    record: &'a MirrorRecord,
    leg: &'a Leg,
    known: &'a LegRecord,
    cause: Cause,
    stage: Stage,
}

/// What a case needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Be revived or flagged.
    Quarantine,
    /// Be mended.
    Mend,
    /// Be released.
    Release,
    /// Be compared.
    Check,
    /// Time.
    Patience,
}

/// Plans the next step for suspect raid legs.
pub fn plan(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let raids = || mirrors.iter().copied().filter(|m| m.kind != Kind::Mirror && m.live != Live::Inactive);
    for mirror in raids().filter(|m| m.live == Live::Single) {
        if let Some(objection) = mirror::rewritten(s, mirror) {
            plan.hold(mirror, objection);
        }
    }
    let pvs: BTreeSet<&PvUuid> = raids().flat_map(|m| m.legs.iter().map(|leg| &leg.pv)).collect();
    let by_pv: Vec<Vec<Case<'_>>> =
        pvs.into_iter().map(|pv| raids().filter_map(|mirror| case(s, mirror, pv)).collect()).collect();
    for cases in &by_pv {
        hold_doubtful_survivors(s, cases, plan);
    }
    for cases in by_pv.iter().filter(|cases| !cases.is_empty()) {
        let step = plan_pv(s, cases, plan);
        plan.propose(step);
    }
}

/// A leg that is refused while one that is in doubt itself serves in its place: nothing is taken back from that one's PV
/// either, or the metadata written for it would wipe what tells the two apart.
fn hold_doubtful_survivors(s: &Situation<'_>, cases: &[Case<'_>], plan: &mut Plan) {
    for case in cases {
        let Some(Err(objection)) = s.verdict(&case.mirror.vg.uuid).map(|probe| verdict(s, case, probe)) else {
            continue;
        };
        let doubted = |leg: &&Leg| {
            let trusted = case.record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
            leg.pv != case.leg.pv && leg.health == Some(LegHealth::InSync) && !trusted
        };
        let undecided = RESOLVABLE.contains(&objection.hold);
        for leg in case.mirror.legs.iter().filter(doubted).filter(|_| undecided) {
            plan.held.entry(leg.pv.clone()).or_insert_with(|| objection.clone());
        }
    }
}

fn case<'a>(s: &Situation<'a>, mirror: &'a Mirror, pv: &PvUuid) -> Option<Case<'a>> {
    let record = s.ledger.mirrors.get(&mirror.lv.uuid)?;
    let (leg, known) = (mirror.leg(pv)?, record.legs.get(pv)?);
    let Trust::Suspect { cause, stage, .. } = known.trust else { return None };
    // What a person gave up is dropped and copied anew.
    if resolve::condemned(known) || leg.index.is_none() {
        return None;
    }
    Some(Case { mirror, record, leg, known, cause, stage })
}

fn plan_pv(s: &Situation<'_>, cases: &[Case<'_>], plan: &mut Plan) -> Option<(Op, String)> {
    let first = cases.first()?;
    let mirrors: Vec<&Mirror> = cases.iter().map(|c| c.mirror).collect();
    if let Some((case, objection)) = cases.iter().find_map(|c| Some((c, unfit(s, c)?))) {
        plan.hold(case.mirror, objection.clone());
        hold_all(plan, &mirrors, case.mirror, &objection);
        plan.held.insert(first.leg.pv.clone(), objection);
        return None;
    }
    if let Some(objection) = plan.held.get(&first.leg.pv).cloned() {
        mirrors.iter().for_each(|mirror| plan.hold_with(mirror, objection.clone()));
        return None;
    }
    let needs: Vec<Need> = cases.iter().map(|c| need(s, c)).collect();
    let next = *needs.iter().min()?;
    // What serves reads is flagged at once and by itself. A leg that does not is revived only after the settle time and the
    // rescan, and on a disk of the size that each of its legs had.
    let in_use = |c: &Case<'_>| c.leg.health == Some(LegHealth::InSync);
    let serves = |(case, need): (&Case<'_>, &Need)| in_use(case) && *need == Need::Quarantine;
    let flagging = cases.iter().zip(&needs).any(serves);
    let reviving = next == Need::Quarantine && !flagging;
    let haste = match () {
        () if flagging => Haste::Flag,
        () if !reviving && cases.iter().any(|c| in_use(c) && !c.leg.write_mostly) => Haste::Doubted,
        () => Haste::None,
    };
    let place = s.ready(&mirrors, first.leg, first.known.size, haste, plan)?;
    for case in cases {
        let stands = match case.leg.health {
            Some(LegHealth::Syncing) if case.mirror.idle() => {
                "a leg is not in sync and nothing copies it; lvchange --refresh may take it up again"
            }
            Some(LegHealth::InSync) if case.mirror.spoiled() => ANOTHER_TABLE,
            _ => continue,
        };
        let since = s.stuck_since.get(&case.mirror.lv.uuid);
        if since.is_some_and(|at| s.now.mono.since(*at) >= s.settings.suspended_grace) {
            plan.hold(case.mirror, Objection::new(Hold::NeedsOperator, "reason", stands));
        }
    }
    let resized = cases.iter().find_map(|c| witness::same_size(c.known.size, place.size).err());
    let fit = |c: &&Case<'_>| if flagging { in_use(c) } else { resized.is_none() };
    let turn = cases.iter().zip(&needs).filter(|(_, need)| **need == next).map(|(case, _)| case);
    let chosen: Vec<&Case<'_>> = turn.filter(fit).collect();
    if let Some(objection) = resized {
        mirrors.iter().for_each(|mirror| plan.hold(mirror, objection.clone()));
        plan.held.insert(first.leg.pv.clone(), objection);
    }
    if next == Need::Patience || chosen.is_empty() {
        return None;
    }
    if let Some((case, objection)) = cases.iter().find_map(|c| Some((c, would_revive(c, next)?))) {
        hold_all(plan, &mirrors, case.mirror, &objection);
        plan.held.insert(first.leg.pv.clone(), objection);
        return None;
    }
    let chosen = in_turn(s, next, chosen, plan);
    let step = if first.leg.missing {
        s.restore_missing(first.mirror, &first.leg.pv).map(Some)
    } else if chosen.is_empty() {
        Ok(None)
    } else {
        step(s, next, &chosen, &place.name).map(Some)
    };
    // What the last look at the disks found stands until a newer one, so that a hold does not flicker; and one held case
    // holds all on its PV.
    let vg = &first.mirror.vg;
    let mut objections = Vec::new();
    for case in cases {
        if let Some(Err(objection)) = s.verdict(&vg.uuid).map(|probe| verdict(s, case, probe)) {
            plan.own(&case.mirror.lv.uuid, &objection);
            hold_all(plan, &mirrors, case.mirror, &objection);
            objections.push(objection);
        }
    }
    plan.held.extend(objections.first().map(|o| (first.leg.pv.clone(), o.clone())));
    let doubted = !objections.is_empty();
    let step = step.map_err(|objection| objections.push(objection)).ok().flatten();
    if let (false, Some(objection)) = (doubted, objections.first()) {
        plan.own(&first.mirror.lv.uuid, objection);
        hold_all(plan, &mirrors, first.mirror, objection);
    }
    if doubted {
        // The facts on the disks may have changed since: nothing is done to a disk on an old look.
        let stale = s.probe(&vg.uuid).is_none();
        if let Some(step) = cases.iter().find_map(|c| expel(c, place, s.probe(&vg.uuid)?)) {
            return Some(step);
        }
        return stale.then(|| (s.probe_op(vg), format!("{} is held; look again", place.name)));
    }
    s.announce(&vg.uuid, place).or(step)
}

/// Those whose turn it is: what reads or copies whole volumes is done for few at a time over one link.
fn in_turn<'c, 'a>(s: &Situation<'_>, next: Need, mut chosen: Vec<&'c Case<'a>>, plan: &mut Plan) -> Vec<&'c Case<'a>> {
    if !matches!(next, Need::Check | Need::Mend) {
        return chosen;
    }
    if let Some(objection) = window::closed(s).filter(|_| next == Need::Check) {
        for case in chosen.extract_if(.., |case| may_wait(s, case)) {
            plan.hold_with(case.mirror, objection.clone());
        }
    }
    let Some(first) = chosen.first().map(|case| case.mirror) else { return chosen };
    let (room, behind) = match link::room(s, first) {
        Ok(room) => (room, Objection::new(Hold::Queued, "behind", first.name.as_str())),
        Err(objection) => (0, objection),
    };
    for case in chosen.split_off(room.min(chosen.len())) {
        plan.hold_with(case.mirror, behind.clone());
    }
    chosen
}

/// Whether nothing but the proof is missing: the leg serves no reads, since another one that is beyond doubt does, and
/// nobody has asked for more.
fn may_wait(s: &Situation<'_>, case: &Case<'_>) -> bool {
    case.leg.write_mostly && has_other_good(case) && !s.hurry.contains(&case.mirror.lv.uuid)
}

/// One held case holds all on its PV; the others say because of whom.
fn hold_all(plan: &mut Plan, mirrors: &[&Mirror], owner: &Mirror, objection: &Objection) {
    for mirror in mirrors {
        let own = mirror.lv == owner.lv;
        let objection = objection.clone();
        plan.hold_with(mirror, if own { objection } else { objection.with("held-by", owner.name.as_str()) });
    }
}

/// Another LUN stands behind a leg that is in use: it must neither be read nor written any longer. LVM cannot flag what it
/// does not find, so its disk is made to fail; its next session brings it back. What is wrong with another leg is no reason.
fn expel(case: &Case<'_>, place: &Place, probe: &ProbeRun) -> Option<(Op, String)> {
    let superblock = || witness::found(&probe.superblocks(case.mirror), case.leg.index?).err();
    let own = genuine(case.mirror, case.leg, Some(case.known), probe).err().or_else(superblock);
    let stranger = own.is_some_and(|o| matches!(o.hold, Hold::IdentityMismatch | Hold::BlankDevice));
    let in_use = case.leg.health == Some(LegHealth::InSync) && !place.disk.is_empty();
    let why = || format!("what stands behind {} of {} is not its leg", place.name, case.mirror.name);
    (stranger && in_use && has_other_good(case)).then(|| (Op::SetOffline { disk: place.disk.clone() }, why()))
}

/// The command for what is needed, and why.
fn step(s: &Situation<'_>, need: Need, cases: &[&Case<'_>], device: &str) -> Result<(Op, String), Objection> {
    let idle = || Objection::new(Hold::Queued, "reason", "nothing to do");
    let first = cases.first().ok_or_else(idle)?;
    let lvs: Vec<LvRef> = cases.iter().map(|c| c.mirror.lv.clone()).collect();
    let (vg, pv, names) = (first.mirror.vg.clone(), first.leg.pv.clone(), names(cases));
    match need {
        Need::Quarantine => {
            // LVM changes nothing about a volume while another PV of it is away.
            let away = |leg: &&Leg| leg.pv != pv && leg.index.is_some() && leg.missing;
            if let Some(leg) = cases.iter().flat_map(|c| &c.mirror.legs).find(away) {
                return Err(Objection::new(Hold::VgIncomplete, "missing-pv", leg.pv.as_str()));
            }
            // Those alone that need the same: the flags are set on each volume of the command.
            let also = doubtful_readers(first);
            let cases: Vec<&Case<'_>> = cases.iter().copied().filter(|case| doubtful_readers(case) == also).collect();
            let lvs = cases.iter().map(|case| case.mirror.lv.clone()).collect();
            let unflag = flagged_survivors(&cases);
            let why = format!("{device} of {names} is back: writes yes, reads no, until it is verified");
            Ok((Op::Quarantine { vg, pv, lvs, also, unflag }, why))
        }
        Need::Check => {
            s.vg_complete(&vg.uuid)?;
            Ok((Op::Check { vg, lvs }, format!("{device} caught up; compare all of {names} before it is read")))
        }
        Need::Mend => {
            s.vg_complete(&vg.uuid)?;
            mend(first)
        }
        Need::Release => {
            let reflag = admin_flagged(cases);
            Ok((Op::Release { vg, pv, lvs, reflag }, format!("{device} of {names} is verified")))
        }
        Need::Patience => Err(idle()),
    }
}

/// A table load revives every failed leg it can read, flagged or not.
fn would_revive(case: &Case<'_>, next: Need) -> Option<Objection> {
    let loads = matches!(next, Need::Quarantine | Need::Release | Need::Mend);
    let failed = |leg: &&Leg| !matches!(leg.health, Some(LegHealth::InSync | LegHealth::Syncing) | None);
    let other = case.mirror.legs.iter().filter(failed).find(|leg| leg.pv != case.leg.pv && leg.up());
    let objection = |leg: &Leg| Objection::new(Hold::NeedsOperator, "other-failed-leg", leg.pv.as_str());
    other.filter(|_| loads).map(objection)
}

fn need(s: &Situation<'_>, case: &Case<'_>) -> Need {
    let steady = s.steady.contains(&case.mirror.lv.uuid);
    let busy = s.scrubs.contains_key(&case.mirror.lv.uuid) || !case.mirror.idle();
    match (case.leg.health, case.stage) {
        _ if busy => Need::Patience,
        (Some(LegHealth::Dead), _) => Need::Quarantine,
        (Some(LegHealth::InSync), _) if !steady => Need::Patience,
        (Some(LegHealth::InSync), Stage::Unverified | Stage::Mismatched)
            if (!case.leg.write_mostly || all_flagged(case.mirror)) && has_other_good(case) =>
        {
            Need::Quarantine
        }
        (Some(LegHealth::InSync), Stage::Unverified) => Need::Check,
        // The others are mended from it.
        (Some(LegHealth::InSync), Stage::Mismatched) if sources(case.record, case.mirror).contains(&&case.leg.pv) => {
            Need::Patience
        }
        (Some(LegHealth::InSync), Stage::Mismatched) => Need::Mend,
        (Some(LegHealth::InSync), Stage::Verified) if case.leg.write_mostly && !case.known.admin_write_mostly => {
            Need::Release
        }
        _ => Need::Patience,
    }
}

/// Whether reads come from the lowest leg, whoever that is: somebody has flagged the last one that they were left to.
fn all_flagged(mirror: &Mirror) -> bool {
    mirror.legs.iter().filter(|leg| leg.health == Some(LegHealth::InSync)).all(|leg| leg.write_mostly)
}

/// Whether the mirror has a leg that reads can be left to. The last unflagged leg is never flagged: with all flagged, md
/// reads the lowest. A leg whose connection broke is no better than another such leg, but better than one that was lost.
fn has_other_good(case: &Case<'_>) -> bool {
    case.mirror.legs.iter().filter(|leg| leg.pv != case.leg.pv).any(|leg| {
        let (trusted, better) = match case.record.legs.get(&leg.pv).map(|known| &known.trust) {
            Some(Trust::Trusted) => (true, true),
            Some(Trust::Suspect { cause: Cause::SessionDown, .. }) => (false, case.cause != Cause::SessionDown),
            _ => (false, false),
        };
        // The administrator's flag on a trusted leg comes off in the same command.
        let reads = leg.health == Some(LegHealth::InSync) && (trusted || !leg.write_mostly);
        better && reads && leg.up()
    })
}

/// Whether what stands behind a leg is the leg, whatever its size.
fn genuine(mirror: &Mirror, leg: &Leg, known: Option<&LegRecord>, probe: &ProbeRun) -> Result<(), Objection> {
    probe.identity(mirror, leg, 0)?;
    known.zip(leg.place.as_ref()).map_or(Ok(()), |(known, place)| witness::same_disk(known, place))
}

/// What the witnesses say about this case: ledger, VG metadata, superblocks.
fn verdict(s: &Situation<'_>, case: &Case<'_>, probe: &ProbeRun) -> Result<(), Objection> {
    let Trust::Suspect { since, loss, .. } = &case.known.trust else { return Ok(()) };
    let in_use = case.leg.health == Some(LegHealth::InSync);
    if case.cause == Cause::FoundFailed && !in_use {
        let why = "failed at first sight, nothing is known about its past";
        return Err(Objection::new(Hold::NoHistory, "reason", why));
    }
    let alive = |leg: &&Leg| leg.pv != case.leg.pv && leg.health == Some(LegHealth::InSync);
    let survivors: Vec<&Leg> = case.mirror.legs.iter().filter(alive).collect();
    for leg in survivors.iter().copied().chain([case.leg]) {
        genuine(case.mirror, leg, case.record.legs.get(&leg.pv).map(|known| &**known), probe)?;
    }
    if loss.diverged {
        return Err(s.other_history(probe).with("stale-since", since.0));
    }
    let vg = s.ledger.vgs.get(&case.mirror.vg.uuid);
    let others: Vec<&PvUuid> = survivors.iter().map(|leg| &leg.pv).collect();
    let older = loss.older | witness::history(&case.leg.pv, &probe.texts(), &others, loss, vg)?;
    let superblocks = probe.superblocks(case.mirror);
    if !in_use {
        fit_to_copy_from(case, &survivors)?;
    }
    let survivors: Vec<usize> = survivors.iter().filter_map(|leg| leg.index).collect();
    let index = case.leg.index.ok_or_else(|| Objection::new(Hold::Unreadable, "position", "not in the LV"))?;
    if in_use {
        let trusted = |leg: &&Leg| case.record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
        let trusted: Vec<usize> =
            case.mirror.legs.iter().filter(alive).filter(trusted).filter_map(|leg| leg.index).collect();
        witness::not_ahead(&superblocks, index, &trusted)?;
        let all: Vec<usize> = survivors.into_iter().chain([index]).collect();
        return witness::peaceful(&superblocks, &all);
    }
    witness::untouched(&superblocks, index, loss)?;
    witness::revivable(&superblocks, index, &survivors).map_err(|objection| match objection.hold {
        Hold::NoHistory if older => Objection { hold: Hold::RolledBackLeg, ..objection },
        _ => objection,
    })
}

/// Whether the legs in use may bring another one up to date: one at least is beyond doubt and readable to the table load,
/// and those that are not serve no reads.
fn fit_to_copy_from(case: &Case<'_>, survivors: &[&Leg]) -> Result<(), Objection> {
    let serves = |leg: &Leg| case.record.legs.get(&leg.pv).is_some_and(|known| trust::may_serve(&known.trust));
    let doubtful = survivors.iter().find(|leg| !serves(leg) && !leg.write_mostly);
    // All flagged, reads would come from the lowest, whoever that is.
    let trusted = |leg: &&&Leg| case.record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
    let readable = survivors.iter().any(|leg| !leg.write_mostly) || survivors.iter().any(|leg| trusted(&leg));
    let doubtful = doubtful.or(survivors.first().filter(|_| !readable));
    if let Some(leg) = doubtful.or(survivors.first().filter(|_| !survivors.iter().any(|leg| serves(leg)))) {
        let why = "the leg in use was not proven when it was left alone: each may have what the other lacks";
        return Err(Objection::new(Hold::SplitBrain, "reason", why).with("leg", leg.pv.as_str()));
    }
    let proven = survivors.iter().any(|leg| trusted(&leg));
    let lacking = |leg: &&&Leg| !proven && trust::may_lack(case.record, &leg.pv, &case.leg.pv);
    if let Some(leg) = survivors.iter().find(lacking) {
        let why = "the leg in use was away, and its server may have lost what only the returned leg has";
        return Err(Objection::new(Hold::NoHistory, "reason", why).with("leg", leg.pv.as_str()));
    }
    // A table load reads its legs where the table points, before it is pointed anew: a survivor under a new device name
    // would be dropped by it.
    if let Some(leg) = survivors.iter().find(|leg| !leg.attached) {
        let why = "the leg in use has a new device name; deactivate and activate the volume, or run lvchange --refresh";
        return Err(Objection::new(Hold::NeedsOperator, "reason", why).with("leg", leg.pv.as_str()));
    }
    Ok(())
}

/// How to mend a leg that differs: in place where md would copy from a good leg, else in full. md's `repair` copies from
/// the lowest leg in sync, whoever that is (`facts/lab.md` A).
fn mend(case: &Case<'_>) -> Result<(Op, String), Objection> {
    if case.cause == Cause::FoundFailed {
        // An activation took it into use, and either may have been copied from.
        let why = "legs differ, and nothing is known about the past of this one, which had failed at first sight";
        return Err(Objection::new(Hold::NoHistory, "reason", why));
    }
    let index = |pv: &PvUuid| case.mirror.leg(pv).and_then(|leg| leg.index);
    let good = sources(case.record, case.mirror);
    let lowest_good = good.iter().copied().filter_map(index).min();
    let lowest_suspect = case.record.legs.keys().filter(|pv| !good.contains(pv)).filter_map(index).min();
    let (vg, lv, pv) = (case.mirror.vg.clone(), case.mirror.lv.clone(), case.leg.pv.clone());
    // A full copy comes from any leg that reads may come from.
    let readable = |leg: &&Leg| leg.health == Some(LegHealth::InSync) && !leg.write_mostly;
    let others = case.mirror.legs.iter().filter(|leg| leg.pv != case.leg.pv);
    let doubtful = others.filter(readable).find(|leg| !good.contains(&&leg.pv));
    if let Some(leg) = doubtful.filter(|_| !good.is_empty()) {
        return Err(Objection::new(Hold::Queued, "behind", leg.pv.as_str()));
    }
    match (lowest_good, lowest_suspect) {
        (None, _) => Err(Objection::new(Hold::NoHistory, "reason", "legs differ and none is proven right")),
        (Some(good), Some(bad)) if good < bad => {
            Ok((Op::Repair { vg, lv }, format!("legs differ; leg {good} is right and the lowest")))
        }
        (Some(good), _) => {
            Ok((Op::Rebuild { vg, lv, pv }, format!("legs differ; leg {good} is right, but not the lowest")))
        }
    }
}

/// PVs of trusted legs that carry a write-mostly flag of the administrator's: it comes off while another leg is on
/// probation.
fn flagged_survivors(cases: &[&Case<'_>]) -> Vec<PvUuid> {
    let trusted = |c: &Case<'_>, pv: &PvUuid| c.record.legs.get(pv).is_some_and(|known| known.trust == Trust::Trusted);
    let flagged = cases.iter().flat_map(|c| {
        c.mirror.legs.iter().filter(move |leg| leg.pv != c.leg.pv && leg.write_mostly && trusted(c, &leg.pv))
    });
    flagged.map(|leg| leg.pv.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// PVs of legs in doubt that serve reads beside one that is not: md would copy a failed leg from the lowest of them. They cannot
/// be flagged by a command of their own, which would revive that one with them.
fn doubtful_readers(case: &Case<'_>) -> Vec<PvUuid> {
    let reads = |leg: &&Leg| leg.pv != case.leg.pv && leg.health == Some(LegHealth::InSync) && !leg.write_mostly;
    let trusted = |leg: &&Leg| case.record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
    let readers = || case.mirror.legs.iter().filter(reads);
    if case.leg.health == Some(LegHealth::InSync) || !readers().any(|leg| trusted(&leg)) {
        return Vec::new();
    }
    readers().filter(|leg| !trusted(leg)).map(|leg| leg.pv.clone()).collect()
}

/// PVs of good legs whose write-mostly flag was taken off for the probation.
fn admin_flagged(cases: &[&Case<'_>]) -> Vec<PvUuid> {
    let flagged = cases.iter().flat_map(|c| {
        let off = |pv: &PvUuid| c.mirror.leg(pv).is_some_and(|leg| !leg.write_mostly);
        c.record.legs.iter().filter(move |(pv, known)| **pv != c.leg.pv && known.admin_write_mostly && off(pv))
    });
    flagged.map(|(pv, _)| pv.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

fn names(cases: &[&Case<'_>]) -> String {
    cases.iter().map(|c| c.mirror.name.as_str()).collect::<Vec<_>>().join(" ")
}
