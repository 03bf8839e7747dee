//! `org.mirrorkeeper1.Mirror`: one mirrored logical volume, or one that was mirrored and lost its legs.

use super::auth::Action;
use super::error::CallError;
use super::gate::Gate;
use super::objects::listed;
use super::wire::WireDetails;
use super::{Exported, path, wire};
use mirrorkeeper_core::ids::{LvUuid, PvUuid};
use mirrorkeeper_core::input::{Command, PlannedStep, Refusal, Reply};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::SyncAction;
use mirrorkeeper_core::snapshot::{LegView, MirrorView, Shared};
use tokio::sync::watch;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, interface};

/// PV UUID, device, target, state, ratio in sync, details: `(ssosda{sv})`.
type WireLeg = (String, String, OwnedObjectPath, String, f64, WireDetails);

/// Step code, why, argv: `(ssas)`.
type WireStep = (String, String, Vec<String>);

/// A mirror object. Its path comes from the name on the bus, which is the key in the snapshot.
pub struct Mirror {
    view: watch::Receiver<Shared<MirrorView>>,
    gate: Gate,
}

impl Mirror {
    fn show<T>(&self, value: impl FnOnce(&MirrorView) -> T) -> T {
        value(&self.view.borrow())
    }

    /// What a request names the mirror by.
    fn lv(&self) -> Result<LvUuid, CallError> {
        let unknown = |error| Refusal::NotManaged(format!("its LVM UUID is not known yet: {error}"));
        Ok(self.show(|m| LvUuid::parse(&m.uuid)).map_err(unknown)?)
    }
}

impl Exported for Mirror {
    type Key = Name;
    type View = Shared<MirrorView>;

    fn new(_: &Name, view: watch::Receiver<Shared<MirrorView>>, gate: Gate) -> Self {
        Self { view, gate }
    }

    fn path(name: &Name) -> OwnedObjectPath {
        path::mirror(name)
    }

    fn is_progress(property: &str, old: &Self::View, new: &Self::View) -> bool {
        match property {
            "SyncRatio" | "SyncRateBytes" | "SyncRemainingUSec" => true,
            "Legs" => without_ratios(&old.legs) == without_ratios(&new.legs),
            _ => false,
        }
    }
}

#[interface(name = "org.mirrorkeeper1.Mirror", introspection_docs = false)]
impl Mirror {
    #[zbus(property)]
    fn name(&self) -> String {
        self.show(|m| wire::text(&m.name))
    }

    #[zbus(property)]
    fn uuid(&self) -> String {
        self.show(|m| wire::text(&m.uuid))
    }

    #[zbus(property, name = "Type")]
    fn kind(&self) -> String {
        self.show(|m| wire::text(m.kind))
    }

    #[zbus(property)]
    fn log(&self) -> String {
        self.show(|m| wire::text(m.log))
    }

    #[zbus(property)]
    fn size_bytes(&self) -> u64 {
        self.show(|m| m.size)
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.show(|m| m.state.word())
    }

    #[zbus(property)]
    fn copies_wanted(&self) -> u32 {
        self.show(|m| m.copies_wanted)
    }

    #[zbus(property)]
    fn copies_in_sync(&self) -> u32 {
        self.show(|m| m.copies_in_sync)
    }

    #[zbus(property)]
    fn sync_action(&self) -> &'static str {
        self.show(|m| match m.action {
            Some(SyncAction::Idle) => "idle",
            Some(SyncAction::Resync) => "resync",
            Some(SyncAction::Recover) => "recover",
            Some(SyncAction::Check) => "check",
            Some(SyncAction::Repair) => "repair",
            Some(SyncAction::Frozen) => "frozen",
            Some(SyncAction::Other(_)) | None => "none",
        })
    }

    #[zbus(property)]
    fn sync_ratio(&self) -> f64 {
        self.show(|m| wire::ratio(m.ratio))
    }

    #[zbus(property)]
    fn sync_rate_bytes(&self) -> u64 {
        self.show(|m| m.rate)
    }

    #[zbus(property, name = "SyncRemainingUSec")]
    fn sync_remaining_usec(&self) -> u64 {
        self.show(|m| wire::micros_or_max(m.remaining))
    }

    #[zbus(property)]
    fn legs(&self) -> Vec<WireLeg> {
        self.show(|m| m.legs.iter().map(wire_leg).collect())
    }

    #[zbus(property)]
    fn mismatch_count(&self) -> u64 {
        self.show(|m| m.mismatches)
    }

    #[zbus(property, name = "LastCheckAtUSec")]
    fn last_check_at_usec(&self) -> u64 {
        self.show(|m| m.last_check.0)
    }

    #[zbus(property, name = "DegradedSinceUSec")]
    fn degraded_since_usec(&self) -> u64 {
        self.show(|m| m.degraded_since.0)
    }

    #[zbus(property)]
    fn hold(&self) -> &'static str {
        self.show(|m| m.hold.map_or("", |hold| hold.word()))
    }

    #[zbus(property)]
    fn hold_details(&self) -> WireDetails {
        self.show(|m| WireDetails(m.hold_details.clone()))
    }

    #[zbus(property)]
    fn managed(&self) -> bool {
        self.show(|m| m.unmanaged.is_none())
    }

    #[zbus(property)]
    fn unmanaged_reason(&self) -> &'static str {
        self.show(|m| m.unmanaged.map_or("", |reason| reason.word()))
    }

    #[zbus(property(emits_changed_signal = "false"), name = "ObservedAtUSec")]
    fn observed_at_usec(&self) -> u64 {
        self.gate.observed_at().0
    }

    #[zbus(out_args("job"))]
    async fn heal(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let mirror = self.lv();
        self.gate.ask_for_job(connection, &call, Action::Heal, |uid| Ok(Command::Heal { mirror: mirror?, uid })).await
    }

    #[zbus(out_args("steps"))]
    async fn plan_heal(&self, #[zbus(header)] call: Header<'_>) -> Result<Vec<WireStep>, CallError> {
        match self.gate.consult(&call, Command::PlanHeal { mirror: self.lv()? }).await? {
            Reply::Plan(steps) => Ok(steps.iter().map(wire_step).collect()),
            other => Err(CallError::strange(&other)),
        }
    }

    #[zbus(out_args("job"))]
    async fn check(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let mirror = self.lv();
        self.gate.ask_for_job(connection, &call, Action::Heal, |uid| Ok(Command::Check { mirror: mirror?, uid })).await
    }

    #[zbus(out_args("job"))]
    async fn resolve(
        &self,
        keep_pv_uuid: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let mirror = self.lv();
        let no_uuid = |error| {
            let why = format!("keep_pv_uuid {keep_pv_uuid:?} is no PV UUID ({error}); Legs has the UUIDs");
            CallError::from(Refusal::InvalidArgument(why))
        };
        let command = |uid| {
            let keep = PvUuid::parse(keep_pv_uuid).map_err(no_uuid)?;
            Ok(Command::Resolve { mirror: mirror?, keep, uid })
        };
        self.gate.ask_for_job(connection, &call, Action::Resolve, command).await
    }

    #[zbus(out_args("job"))]
    async fn activate(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let mirror = self.lv();
        self.gate
            .ask_for_job(connection, &call, Action::Maintain, |uid| Ok(Command::Activate { mirror: mirror?, uid }))
            .await
    }
    async fn set_resync_limit(
        &self,
        bytes_per_second: u64,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        let mirror = self.lv();
        let command = |uid| Ok(Command::SetResyncLimit { mirror: mirror?, bytes: bytes_per_second, uid });
        self.gate.ask(connection, &call, Action::Tune, command).await.map(drop)
    }
}

listed!(Mirror {
    "Name": name,
    "Uuid": uuid,
    "Type": kind,
    "Log": log,
    "SizeBytes": size_bytes,
    "State": state,
    "CopiesWanted": copies_wanted,
    "CopiesInSync": copies_in_sync,
    "SyncAction": sync_action,
    "SyncRatio": sync_ratio,
    "SyncRateBytes": sync_rate_bytes,
    "SyncRemainingUSec": sync_remaining_usec,
    "Legs": legs,
    "MismatchCount": mismatch_count,
    "LastCheckAtUSec": last_check_at_usec,
    "DegradedSinceUSec": degraded_since_usec,
    "Hold": hold,
    "HoldDetails": hold_details,
    "Managed": managed,
    "UnmanagedReason": unmanaged_reason,
    "ObservedAtUSec": observed_at_usec,
});

fn wire_step(step: &PlannedStep) -> WireStep {
    (step.code.to_owned(), wire::text(&step.why), step.argv.iter().map(|word| wire::text(word)).collect())
}

fn wire_leg(leg: &LegView) -> WireLeg {
    (
        wire::text(&leg.pv),
        wire::text(&leg.device),
        leg.target.as_ref().map_or_else(path::none, path::target),
        leg.state.word().to_owned(),
        wire::ratio(leg.ratio),
        WireDetails(leg.details.clone()),
    )
}

/// Legs with their ratios made equal, to see whether anything else differs.
fn without_ratios(legs: &[LegView]) -> Vec<LegView> {
    legs.iter().cloned().map(|leg| LegView { ratio: 0.0, ..leg }).collect()
}
