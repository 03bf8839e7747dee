//! One journal entry for each event, with a fixed MESSAGE_ID and fields to search by.
//!
//! `journalctl -x` joins the MESSAGE_ID with the text in `systemd/mirrorkeeper.catalog`; a test keeps the two lists alike.

use mirrorkeeper_core::snapshot::{Details, Event, Object, Value};
use mirrorkeeper_core::words::{EventCode, Severity};
use std::fmt::Write;

/// The MESSAGE_ID of each event code of the contract. An id is never changed and never used again: people have it in
/// their scripts.
pub const MESSAGE_IDS: [(&str, &str); 35] = [
    ("target-lost", "b82f437e31e04f2a8ec17d42e310bbc9"),
    ("target-offline", "e86517546a8a4446a595b10a37ab8412"),
    ("target-fenced", "32cb84ed9dc74f61805d3ac9797e1db1"),
    ("target-returned", "f164efbac8b949c4aebe933d46944c1e"),
    ("target-login-failed", "d86bc202f6794341bd00b92e583999bd"),
    ("leg-lost", "22e08b612f624a938092baaf8249a045"),
    ("leg-returned", "c406a9f1f60647eeb24a06fe8610d2a1"),
    ("leg-rejected", "c93523c231fc4120a8484e3255523290"),
    ("leg-verified", "c366c2f1044d4a2893d09f792bc1e251"),
    ("mirror-degraded", "c05c9bf5885d4bcabe9898c667db3a39"),
    ("mirror-failed", "d80067efb6a741ff84fe835ecef830fc"),
    ("resync-started", "addda35b2ea44a1086e8ceacf511ae0d"),
    ("resync-stalled", "5701cb50fdde49dcb3c1f7d348cd9edf"),
    ("resync-finished", "3d985dd4a2ca4e95b320585df0ccf761"),
    ("verify-started", "ec365ad2e8364ab2960e2b51c04ee01d"),
    ("mirror-redundant", "5bb65260bf094ca7a11f9a73cec91d48"),
    ("mirror-activated-degraded", "c89e93953a6346c8a13a2ab5c193f2b0"),
    ("split-brain", "788f8d40ea21451faedc840293a83d09"),
    ("timeout-changed", "f217066c80e144b5874f636eb038a3dc"),
    ("held", "2abf8f3660f4486c92b22219ee0f2d07"),
    ("released", "608da272314f4f7ab85e4babdcd594dd"),
    ("maintenance-entered", "2d4214ca70d740be84a47adbb0ad50e8"),
    ("maintenance-left", "8b14ecfda26143d39f26968ce961f5b3"),
    ("check-finished", "9843bef6a6084c1ca039f58595b05611"),
    ("mismatch-found", "a8668201924043a38f042b15fdda6e3a"),
    ("server-flapping", "38c59ca95f9e4ee4a6791b7b033a5af3"),
    ("all-servers-lost", "5f326632e01a45fc9f0e52a06a0db619"),
    ("iscsid-down", "709eed3ff2974e6ea8f0812699a0fa82"),
    ("monitoring-missing", "1be18c8586e3404fabb4756507fd286f"),
    ("stale-leg-active", "f7531d681bff4d4db2b703c7c5ee5529"),
    ("lv-resumed", "1656e7b4fa5e4b19a1eeddff5923e1d8"),
    ("ledger-damaged", "f66ba23e82b045d0a0598c6f980b2321"),
    ("config-refused", "b8bd184e580d4284ac032e68304058f2"),
    ("paused", "e6918c591f024d4098328253c5e22861"),
    ("resumed", "925cac2be1794fbab97b7225884eefd8"),
];

/// The entry's MESSAGE_ID. Every code has one; a test sees to it.
pub fn message_id(code: EventCode) -> &'static str {
    MESSAGE_IDS.iter().find(|(word, _)| *word == code.word()).map_or("", |(_, id)| id)
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
            Object::Mirror(name) => fields.mirror = Some(name.to_string()),
            Object::Job(id) => fields.job = Some(id.0.to_string()),
            Object::Server(name) => fields.server = Some(name.to_string()),
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
        Object::Mirror(name) | Object::Server(name) => format!("{name}: "),
        Object::Job(id) => format!("job {}: ", id.0),
    };
    format!("{object}{}{}{}", event.code, facts(&event.details), advice(event))
}

/// What ends a hold.
fn advice(event: &Event) -> String {
    let (EventCode::Held, Object::Mirror(mirror)) = (event.code, &event.object) else { return String::new() };
    // Held for the sake of another volume on the same PV: that one is to be decided on.
    let mirror = event.details.get("held-by").map_or_else(|| mirror.to_string(), text);
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

    /// Of the contract.
    const FIELDS: [&str; 10] =
        ["MIRROR", "LEG", "TARGET_IQN", "PORTAL", "SERVER", "OLD_STATE", "NEW_STATE", "SYNC_RATIO", "REASON", "JOB"];

    fn event(object: Object, details: Details) -> Event {
        Event { at: Wall(0), code: EventCode::LegLost, severity: Severity::Warning, object, details }
    }

    #[test]
    fn every_event_code_has_one_id_of_its_own_and_one_catalog_text() {
        let ids: BTreeMap<_, _> = MESSAGE_IDS.iter().map(|(word, id)| (*id, *word)).collect();
        assert_eq!(ids.len(), MESSAGE_IDS.len(), "two codes share an id");
        for code in EventCode::ALL {
            assert_eq!(ids.get(message_id(*code)), Some(&code.word()), "no id for {code}");
        }
        assert!(ids.keys().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let headers: Vec<_> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let catalog: BTreeSet<_> = headers.iter().copied().collect();
        assert_eq!(headers.len(), catalog.len(), "an id has two texts");
        assert_eq!(catalog, ids.keys().copied().collect());
    }

    #[test]
    fn every_catalog_text_says_what_happened_and_what_to_do_and_fits_a_terminal() {
        for entry in CATALOG.split("\n-- ").skip(1) {
            let (head, body) = entry.split_once("\n\n").unwrap_or_else(|| panic!("no body: {entry}"));
            assert!(head.contains("\nSubject: ") && head.contains("\nDefined-By: mirrorkeeper"), "{entry}");
            assert!(entry.lines().all(|line| line.len() <= 76), "{entry}");
            assert!(body.trim().split("\n\n").count() >= 2, "what happened, and what to do: {entry}");
            for field in entry.split('@').skip(1).step_by(2) {
                assert!(FIELDS.contains(&field), "@{field}@ is not a field of the journal entry: {entry}");
            }
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
        let fields = Fields::of(&event(Object::Server("nas1".into()), Details::new()));
        assert_eq!(fields.server.as_deref(), Some("nas1"));
        let key = TargetKey::new("iqn.x:a", "10.0.0.1", 3260, "default");
        let fields = Fields::of(&event(Object::Target(key), Details::new()));
        assert_eq!((fields.target_iqn.as_deref(), fields.portal.as_deref()), (Some("iqn.x:a"), Some("10.0.0.1:3260")));
    }
}
