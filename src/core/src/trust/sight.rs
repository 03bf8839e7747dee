//! First sight: what is believed of a mirror that nothing is remembered of, and of what is remembered in a new boot.

use super::{EARLIER_BOOT, Evidence, failed, suspect, trusted};
use crate::ledger::{Cause, Kind, Ledger, Mark, MirrorRecord, Stage, Trust};
use crate::name::Name;
use crate::observation::LegHealth;
use crate::op::LogKind;
use crate::time::Wall;
use crate::topology::{Leg, Live, Mirror};

/// First sight of a live mirror. What it was before, nobody knows: alive legs are believed, failed ones never.
pub(super) fn adopt(mirror: &Mirror, evidence: Evidence<'_>) -> Option<MirrorRecord> {
    let live = matches!(mirror.live, Live::Raid(_) | Live::Mirror { .. });
    if !live || !mirror.reported || !evidence.reported || mirror.legs.len() < 2 {
        return None;
    }
    let mut record = record(mirror, evidence.at);
    // Its disk was away too when another mirror's leg on it failed, and what it missed then it may not tell.
    let neighbours = || evidence.mirrors.values().filter(|other| other.vg.uuid == mirror.vg.uuid);
    // Whose connection broke just now may lack what its server had not written; and where nobody was left behind, so may the
    // others from before.
    let broke = |leg: &Leg| {
        let target = leg.place.as_ref().and_then(|place| place.target.as_ref());
        target.is_some_and(|key| evidence.broke.contains(key))
    };
    let any_broke = mirror.legs.iter().any(broke) && !mirror.legs.iter().any(failed);
    for (pv, known) in record.legs.iter_mut().filter(|(_, known)| known.trust == Trust::Trusted) {
        let broke = any_broke || mirror.leg(pv).is_some_and(broke);
        if broke || neighbours().filter_map(|other| other.leg(pv)).any(failed) {
            known.trust = suspect(Cause::SessionDown, evidence.at);
        }
    }
    Some(record)
}

/// What is to be remembered of a mirror seen for the first time.
pub fn record(mirror: &Mirror, at: Wall) -> MirrorRecord {
    let in_sync = |leg: &Leg| leg.health == Some(LegHealth::InSync);
    let flagged = mirror.legs.iter().any(|leg| leg.write_mostly);
    let legs = mirror.legs.iter().map(|leg| {
        let mut record = trusted(leg);
        // Being brought up to date by a copy that nobody saw begin; where all are, it is the first one.
        let catching_up = leg.health == Some(LegHealth::Syncing) && mirror.legs.iter().any(in_sync);
        if failed(leg) {
            record.trust = suspect(Cause::FoundFailed, at);
        } else if catching_up || flagged {
            // Ours or the administrator's, nobody knows, nor which leg was in doubt: compared first, and the flag is left alone.
            record.trust = suspect(Cause::SessionDown, at);
        }
        (leg.pv.clone(), record)
    });
    MirrorRecord {
        name: mirror.name.clone(),
        vg: mirror.vg.uuid.clone(),
        kind: mirror.kind,
        log: mirror.log,
        log_pv: mirror.log_pv.clone(),
        legs: legs.collect(),
        degraded_since: None,
        last_check: None,
        active_in_boot: Name::default(),
        kept: None,
        unseen: false,
        gated: false,
        incidents: Vec::new(),
    }
}

/// A new boot: what is noted about connections and sessions is void, and core-log mirrors will have been copied anew.
/// If the service had left open mirrors behind, nobody saw what happened to them afterwards.
pub fn reboot(ledger: &mut Ledger, boot_id: &str) {
    ledger.boot_id = boot_id.into();
    for record in ledger.mirrors.values_mut() {
        record.unseen |= ledger.mark == Mark::Left;
        // dm event numbers begin anew.
        for note in record.legs.values_mut().filter_map(|leg| leg.healthy.as_mut()) {
            note.event_nr = EARLIER_BOOT;
            // Deactivated in good order since, for all we know, which raises them by one (measured on 6.1).
            note.events += 1;
        }
        record.legs.values_mut().for_each(|known| known.vouched = None);
    }
    for record in ledger.targets.values_mut() {
        (record.connection, record.raised_from, record.logged_out_in_boot) = (None, None, None);
    }
    let copied = ledger.mirrors.values_mut().filter(|m| m.kind == Kind::Mirror && m.log == LogKind::Core);
    for known in copied.flat_map(|m| m.legs.values_mut()) {
        if let Trust::Suspect { stage, .. } = &mut known.trust {
            *stage = Stage::Mismatched;
        }
    }
}
