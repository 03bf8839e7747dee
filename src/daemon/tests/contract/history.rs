//! `History()`: what the signal said, read later.

use crate::support::*;
use mirrorkeeper_client::{Client, Value};
use mirrorkeeper_core::snapshot::{Details, Event, Object, Value as V};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{EventCode, Severity};
use std::collections::{BTreeMap, HashMap};
use zbus::{OwnedObjectPath, OwnedVariant};

type Signal = (u64, String, String, OwnedObjectPath, HashMap<String, OwnedVariant>);

#[tokio::test]
async fn an_entry_is_what_the_signal_was() {
    let service = Service::start_for(world(), std::sync::Arc::new(CallerIs(1000))).await;
    let mut ear = Ear::listen(&service.bus.client().await).await;
    let since = mirrorkeeperd::clock::now().wall.0;
    let details = Details::from([
        ("leg", "pv1".into()),
        ("reason", "nul \0 in a tool's output".into()),
        ("copies-in-sync", V::U32(1)),
        ("stale-since", V::U64(u64::MAX)),
        ("sync-ratio", V::F64(0.5)),
        ("unverified", V::Bool(true)),
        ("also", V::Strs(vec!["paused".into()])),
    ]);
    let object = Object::Mirror("vg0/lv".into());
    let event = Event { at: Wall(since), code: EventCode::LegLost, severity: Severity::Error, object, details };
    for at in [since, since + 1] {
        let event = Event { at: Wall(at), ..event.clone() };
        service.history.note(&event);
        service.events.send(event).unwrap();
    }

    let manager = Client::connect(Some(&service.bus.address())).await.unwrap().manager().await.unwrap();
    let read = manager.history(since, 0).await.unwrap();
    for entry in &read {
        let (at, code, severity, object, details): Signal = ear.next().await.body().deserialize().unwrap();
        assert_eq!((entry.at, &entry.code, &entry.severity, &entry.object), (at, &code, &severity, &object));
        let details: BTreeMap<_, _> = details.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        assert_eq!(entry.details, details);
    }
    assert_eq!(read.iter().map(|entry| entry.at).collect::<Vec<_>>(), [since, since + 1]);
    assert_eq!(manager.history(since, 1).await.unwrap(), read[1..], "the newest");
    assert_eq!(manager.history(since + 1, 0).await.unwrap(), read[1..]);
    assert_eq!(manager.history(u64::MAX, 0).await.unwrap(), []);
}
