//! What people do to the layout: legs taken out and given, mirrors removed or made of something else.

use super::{Evidence, suspect, trusted};
use crate::ledger::{Cause, Kind, Ledger, MirrorRecord, Trust};
use crate::time::Wall;
use crate::topology::{Live, Mirror};

/// A mirror that is gone while its VG is still seen was removed on purpose. A VG that is not seen proves nothing.
pub(super) fn forget_removed(ledger: &mut Ledger, evidence: Evidence<'_>) {
    ledger.mirrors.retain(|uuid, record| {
        let Some(mirror) = evidence.mirrors.get(uuid) else { return false };
        // What nobody activates but us is handed back first.
        !reduced(record, mirror) || record.gated && !mirror.autoactivation
    });
}

/// Whether a person took all legs but one out of a mirror. A raid LV never becomes linear by itself, and nobody but a person
/// takes a healthy leg out of a `mirror`. We do so on the way to a full copy.
pub fn reduced(record: &MirrorRecord, mirror: &Mirror) -> bool {
    let failed = record.kind == Kind::Mirror && record.legs.len() > 1;
    mirror.reported && mirror.live == Live::Single && record.kept.is_none() && !failed
}

/// Follows what the administrator did to the layout. A leg that a `mirror` dropped because it failed stays wanted.
pub(super) fn follow_layout(record: &mut MirrorRecord, mirror: &Mirror, watched: bool, at: Wall) {
    record.name.clone_from(&mirror.name);
    let whole = mirror.legs.iter().all(|leg| leg.index.is_some());
    if whole && mirror.legs.len() > 1 {
        (record.kind, record.log, record.log_pv) = (mirror.kind, mirror.log, mirror.log_pv.clone());
    }
    for leg in &mirror.legs {
        let wanted = record.legs.get(&leg.pv);
        match (leg.index, wanted) {
            (Some(_), None) => {
                let mut new = trusted(leg);
                // Metadata from before it was taken out brings a leg back as well.
                if mirror.live == Live::Inactive {
                    new.trust = suspect(Cause::FoundFailed, at);
                }
                record.legs.insert(leg.pv.clone(), new);
            }
            (None, Some(known)) => {
                // One that had failed may be back under a new name by the time that it is dropped. Who drops such a leg flags it.
                let healthy = known.trust == Trust::Trusted && leg.up() && !leg.missing && !record.unseen;
                // dmeventd drops only legs that failed; a healthy one was taken out by hand, if anybody was watching.
                let ours = record.kept.is_some();
                if !ours && (record.kind != Kind::Mirror || (watched && healthy)) {
                    record.legs.remove(&leg.pv);
                }
            }
            _ => {}
        }
    }
}
