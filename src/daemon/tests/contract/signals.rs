//! What is announced: each change once, in one signal per object, and nothing else.

use crate::support::*;
use mirrorkeeper_core::ids::JobId;
use mirrorkeeper_core::snapshot::{Details, Event, Object, Value};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{EventCode, Hold, JobState, LegState, MirrorState, Severity};

#[tokio::test]
async fn each_change_is_announced_once_in_one_signal_per_object() {
    let service = Service::start(world()).await;
    let mut ear = Ear::listen(&service.bus.client().await).await;

    let mut snapshot = world();
    let mirror = snapshot.mirrors.get_mut("vg0/lv").unwrap();
    (mirror.state, mirror.copies_in_sync, mirror.hold) = (MirrorState::Degraded, 1, Some(Hold::Settling));
    mirror.legs[1].state = LegState::Missing;
    service.show(snapshot.clone());
    service.mark();
    let expected = ["/mirror/vg0_2flv CopiesInSync Hold Legs State", "/ MirrorsRedundant State"];
    assert_eq!(ear.until_mark().await, expected);

    service.show(snapshot.clone());
    service.mark();
    assert_eq!(ear.until_mark().await, Vec::<String>::new(), "the same again");

    snapshot.observed_at = Wall(10);
    service.show(snapshot);
    service.mark();
    assert_eq!(ear.until_mark().await, Vec::<String>::new(), "only the time of observation");

    service.show(world());
    service.mark();
    assert_eq!(ear.until_mark().await, expected, "and back");
}

#[tokio::test]
async fn an_announced_value_is_the_new_one() {
    let service = Service::start(world()).await;
    let mut ear = Ear::listen(&service.bus.client().await).await;
    let mut snapshot = world();
    snapshot.targets.get_mut(&key(1)).unwrap().attempts = 3;
    service.show(snapshot);
    let values = changed(&ear.next().await);
    assert_eq!(u32::try_from(&values["Attempts"]).unwrap(), 3);
    assert_eq!(values.len(), 1);
}

#[tokio::test]
async fn objects_come_before_the_events_about_them_and_go_when_they_are_gone() {
    let service = Service::start(world()).await;
    let mut ear = Ear::listen(&service.bus.client().await).await;

    let mut snapshot = world();
    snapshot.mirrors.insert("vg0/new".into(), mirror().into());
    service.show(snapshot);
    let details = Details::from([("reason", Value::from("why"))]);
    let object = Object::Mirror("vg0/new".into());
    let event = Event { at: Wall(1), code: EventCode::Held, severity: Severity::Warning, object, details };
    service.events.send(event).unwrap();
    service.mark();
    assert_eq!(ear.until_mark().await, ["/ InterfacesAdded", "/ Mirrors MirrorsRedundant", "/ Event held"]);

    service.show(world());
    service.mark();
    assert_eq!(ear.until_mark().await, ["/ InterfacesRemoved", "/ Mirrors MirrorsRedundant"]);
}

#[tokio::test]
async fn a_job_says_once_that_it_ended_after_its_state_says_so() {
    let service = Service::start(world()).await;
    let mut ear = Ear::listen(&service.bus.client().await).await;

    let mut snapshot = world();
    let job = snapshot.jobs.get_mut(&JobId(1)).unwrap();
    (job.state, job.error) = (JobState::Failed, "no such volume".to_owned());
    service.show(snapshot.clone());
    assert_eq!(line(&ear.next().await), "/job/1 Error State");
    let completed = ear.next().await;
    assert_eq!(line(&completed), "/job/1 Completed");
    assert_eq!(completed.body().deserialize::<(bool, String)>().unwrap(), (false, "no such volume".to_owned()));

    snapshot.paused = Some("maintenance".to_owned());
    service.show(snapshot);
    service.mark();
    assert_eq!(ear.until_mark().await, ["/ PauseReason Paused"]);
}

#[tokio::test]
async fn the_last_progress_is_announced_even_if_nothing_follows() {
    let service = Service::start(world()).await;
    let mut ear = Ear::listen(&service.bus.client().await).await;
    let mut snapshot = world();
    for ratio in [0.1, 0.2, 0.3] {
        snapshot.mirrors.get_mut("vg0/lv").unwrap().ratio = ratio;
        service.show(snapshot.clone());
        service.mark();
    }
    loop {
        let message = ear.next().await;
        if line(&message) == "/mirror/vg0_2flv SyncRatio"
            && f64::try_from(&changed(&message)["SyncRatio"]).unwrap() == 0.3
        {
            break;
        }
    }
}
