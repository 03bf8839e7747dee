//! One journal entry for each event, with a fixed MESSAGE_ID and fields to search by.
//!
//! `journalctl -x` joins the MESSAGE_ID with the text in `systemd/mirrorkeeper.catalog`; a test keeps the two lists alike.

use mirrorkeeper_core::snapshot::{Details, Event, Object, Value};
use mirrorkeeper_core::words::{EventCode, Severity};
use std::fmt::Write;

/// The entry's MESSAGE_ID. An id is never changed and never used again: people have it in their scripts.
pub const fn message_id(code: EventCode) -> &'static str {
    match code {
        EventCode::TargetLost => "b82f437e31e04f2a8ec17d42e310bbc9",
        EventCode::TargetOffline => "e86517546a8a4446a595b10a37ab8412",
        EventCode::TargetReturned => "f164efbac8b949c4aebe933d46944c1e",
        EventCode::TargetLoginFailed => "d86bc202f6794341bd00b92e583999bd",
        EventCode::LegLost => "22e08b612f624a938092baaf8249a045",
        EventCode::LegReturned => "c406a9f1f60647eeb24a06fe8610d2a1",
        EventCode::LegRejected => "c93523c231fc4120a8484e3255523290",
        EventCode::LegVerified => "c366c2f1044d4a2893d09f792bc1e251",
        EventCode::MirrorDegraded => "c05c9bf5885d4bcabe9898c667db3a39",
        EventCode::MirrorFailed => "d80067efb6a741ff84fe835ecef830fc",
        EventCode::ResyncStarted => "addda35b2ea44a1086e8ceacf511ae0d",
        EventCode::ResyncFinished => "3d985dd4a2ca4e95b320585df0ccf761",
        EventCode::VerifyStarted => "ec365ad2e8364ab2960e2b51c04ee01d",
        EventCode::MirrorRedundant => "5bb65260bf094ca7a11f9a73cec91d48",
        EventCode::TimeoutChanged => "f217066c80e144b5874f636eb038a3dc",
        EventCode::Held => "2abf8f3660f4486c92b22219ee0f2d07",
        EventCode::Released => "608da272314f4f7ab85e4babdcd594dd",
        EventCode::CheckFinished => "9843bef6a6084c1ca039f58595b05611",
        EventCode::MismatchFound => "a8668201924043a38f042b15fdda6e3a",
        EventCode::SplitBrain => "788f8d40ea21451faedc840293a83d09",
        EventCode::AllServersLost => "5f326632e01a45fc9f0e52a06a0db619",
        EventCode::IscsidDown => "709eed3ff2974e6ea8f0812699a0fa82",
        EventCode::MirrorActivatedDegraded => "c89e93953a6346c8a13a2ab5c193f2b0",
        EventCode::MonitoringMissing => "1be18c8586e3404fabb4756507fd286f",
        EventCode::StaleLegActive => "f7531d681bff4d4db2b703c7c5ee5529",
        EventCode::LvResumed => "1656e7b4fa5e4b19a1eeddff5923e1d8",
        EventCode::LedgerDamaged => "f66ba23e82b045d0a0598c6f980b2321",
    }
}

/// The journal's names for the facts of an event, as the contract lists them.
#[derive(Debug, Default, PartialEq)]
struct Fields {
    mirror: Option<String>,
    leg: Option<String>,
    target_iqn: Option<String>,
    portal: Option<String>,
    server: Option<String>,
    old_state: Option<String>,
    new_state: Option<String>,
    sync_ratio: Option<String>,
    reason: Option<String>,
    job: Option<String>,
}

impl Fields {
    fn of(event: &Event) -> Self {
        let get = |name: &str| event.details.get(name).map(text);
        // A leg names its target as the bus does: `IQN,PORTAL` or `IQN,PORTAL,IFACE`.
        let target = get("target").unwrap_or_default();
        let mut target = target.split(',').map(str::to_owned).filter(|part| !part.is_empty());
        let mut fields = Self {
            mirror: get("mirror"),
            leg: get("leg"),
            server: get("server"),
            target_iqn: get("iqn").or_else(|| target.next()),
            portal: get("portal").or_else(|| target.next()),
            old_state: get("old-state"),
            new_state: get("new-state"),
            sync_ratio: get("sync-ratio"),
            reason: get("reason"),
            job: get("job"),
        };
        match &event.object {
            Object::Manager => {}
            Object::Mirror(name) => fields.mirror = Some(name.clone()),
            Object::Job(id) => fields.job = Some(id.0.to_string()),
            Object::Target(key) => {
                fields.target_iqn = Some(key.iqn.clone());
                fields.portal = Some(key.portal.clone());
            }
        }
        fields
    }
}

/// Writes the entry.
pub fn publish(event: &Event) {
    let Fields { mirror, leg, target_iqn, portal, server, old_state, new_state, sync_ratio, reason, job } =
        Fields::of(event);
    let message = sentence(event);
    macro_rules! entry {
        ($level:ident) => {
            tracing::$level!(
                message_id = message_id(event.code),
                event = event.code.word(),
                severity = event.severity.word(),
                mirror,
                leg,
                target_iqn,
                portal,
                server,
                old_state,
                new_state,
                sync_ratio,
                reason,
                job,
                "{message}"
            )
        };
    }
    match event.severity {
        Severity::Info => entry!(info),
        Severity::Warning => entry!(warn),
        Severity::Error | Severity::Critical => entry!(error),
    }
}

/// `vg0/testlv: leg-lost (leg=…, reason=…)`.
fn sentence(event: &Event) -> String {
    let object = match &event.object {
        Object::Manager => String::new(),
        Object::Target(key) => format!("{key}: "),
        Object::Mirror(name) => format!("{name}: "),
        Object::Job(id) => format!("job {}: ", id.0),
    };
    format!("{object}{}{}{}", event.code, facts(&event.details), advice(event))
}

/// What ends a hold.
fn advice(event: &Event) -> String {
    let (EventCode::Held, Object::Mirror(mirror)) = (event.code, &event.object) else { return String::new() };
    // Held for the sake of another volume on the same PV: that one is to be decided on.
    let mirror = event.details.get("held-by").map_or_else(|| mirror.clone(), text);
    let command = event.details.get("reason").and_then(|hold| ended_by(&text(hold), &mirror));
    command.map_or("; `mirrorkeeper status` says what to do".to_owned(), |command| format!("; to end it: {command}"))
}

/// The command that ends a hold, where one does. The texts for people are the client's; a test keeps the two alike.
fn ended_by(hold: &str, mirror: &str) -> Option<String> {
    match hold {
        "split-brain" | "rolled-back-leg" | "stale-leg" | "no-history" => {
            Some(format!("mirrorkeeper resolve {mirror} --keep PV_UUID"))
        }
        "flapping" | "back-off" | "settling" => Some(format!("mirrorkeeper heal {mirror}")),
        _ => None,
    }
}

/// All details but those that name the object once more.
fn facts(details: &Details) -> String {
    let mut facts = String::new();
    for (name, value) in details.iter().filter(|(name, _)| !matches!(**name, "mirror" | "iqn" | "portal")) {
        let separator = if facts.is_empty() { " (" } else { ", " };
        let _ = write!(facts, "{separator}{name}={}", text(value));
    }
    if !facts.is_empty() {
        facts.push(')');
    }
    facts
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F64(value) => format!("{value:.4}"),
        Value::Str(value) => value.clone(),
        Value::Strs(values) => values.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorkeeper_client::hold::HOLDS;
    use mirrorkeeper_core::ids::TargetKey;
    use mirrorkeeper_core::time::Wall;
    use mirrorkeeper_core::words::Hold;
    use std::collections::{BTreeMap, BTreeSet};

    const CATALOG: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../systemd/mirrorkeeper.catalog"));

    fn event(object: Object, details: Details) -> Event {
        Event { at: Wall(0), code: EventCode::LegLost, severity: Severity::Warning, object, details }
    }

    #[test]
    fn every_event_code_has_one_id_of_its_own_and_one_catalog_text() {
        let ids: BTreeMap<_, _> = EventCode::ALL.iter().map(|code| (message_id(*code), code.word())).collect();
        assert_eq!(ids.len(), EventCode::ALL.len(), "two codes share an id");
        assert!(ids.keys().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let headers: Vec<_> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let catalog: BTreeSet<_> = headers.iter().copied().collect();
        assert_eq!(headers.len(), catalog.len(), "an id has two texts");
        assert_eq!(catalog, ids.keys().copied().collect());
    }

    #[test]
    fn every_catalog_text_has_a_subject_and_a_body_and_fits_a_terminal() {
        for entry in CATALOG.split("\n-- ").skip(1) {
            let (head, body) = entry.split_once("\n\n").unwrap_or_else(|| panic!("no body: {entry}"));
            assert!(head.contains("\nSubject: ") && head.contains("\nDefined-By: mirrorkeeper"), "{entry}");
            assert!(!body.trim().is_empty() && entry.lines().all(|line| line.len() <= 76), "{entry}");
        }
    }

    #[test]
    fn the_catalog_has_the_text_for_every_hold_and_the_journal_its_command() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let held = CATALOG.split("\n-- ").find(|entry| entry.starts_with(message_id(EventCode::Held))).map(words);
        let held = held.unwrap();
        assert_eq!(HOLDS.len(), Hold::ALL.len());
        for code in Hold::ALL {
            let known = mirrorkeeper_client::hold::find(code.word()).unwrap_or_else(|| panic!("no text for {code}"));
            let ends = known.command("@MIRROR@").map(|command| format!(" To end it: {command}")).unwrap_or_default();
            let entry = words(&format!("{code}: {}{ends}", known.text));
            assert!(held.contains(&entry), "not in the catalog: {entry}");
            assert_eq!(ended_by(code.word(), "vg0/lv"), known.command("vg0/lv"), "{code}");
        }
    }

    #[test]
    fn a_hold_says_what_ends_it() {
        let held = |hold: Hold| {
            let details = Details::from([("reason", hold.word().into())]);
            let event = Event { code: EventCode::Held, ..event(Object::Mirror("vg0/lv".into()), details) };
            assert_eq!(Fields::of(&event).reason.as_deref(), Some(hold.word()));
            sentence(&event)
        };
        let resolve = "to end it: mirrorkeeper resolve vg0/lv --keep PV_UUID";
        assert_eq!(held(Hold::SplitBrain), format!("vg0/lv: held (reason=split-brain); {resolve}"));
        assert!(held(Hold::VgIncomplete).ends_with("`mirrorkeeper status` says what to do"));
    }

    #[test]
    fn fields_come_from_the_object_and_the_details() {
        let details = Details::from([
            ("leg", "pv".into()),
            ("mirror", "vg0/a".into()),
            ("reason", "gone".into()),
            ("sync-ratio", Value::F64(0.5)),
        ]);
        let lost = event(Object::Mirror("vg0/a".into()), details);
        let fields = Fields::of(&lost);
        assert_eq!((fields.mirror.as_deref(), fields.leg.as_deref()), (Some("vg0/a"), Some("pv")));
        assert_eq!((fields.reason.as_deref(), fields.sync_ratio.as_deref()), (Some("gone"), Some("0.5000")));
        assert_eq!(sentence(&lost), "vg0/a: leg-lost (leg=pv, reason=gone, sync-ratio=0.5000)");
        let on =
            event(Object::Mirror("vg0/a".into()), Details::from([("target", "iqn.x:a,10.0.0.1:3260,eth1".into())]));
        let fields = Fields::of(&on);
        assert_eq!((fields.target_iqn.as_deref(), fields.portal.as_deref()), (Some("iqn.x:a"), Some("10.0.0.1:3260")));
        let key = TargetKey::new("iqn.x:a", "10.0.0.1", 3260, "default");
        let fields = Fields::of(&event(Object::Target(key), Details::new()));
        assert_eq!((fields.target_iqn.as_deref(), fields.portal.as_deref()), (Some("iqn.x:a"), Some("10.0.0.1:3260")));
    }
}
