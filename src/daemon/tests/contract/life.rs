//! How the service lives with its bus: the name, a second instance, a bus that goes and comes back.

use crate::support::*;
use mirrorkeeper_client::{Client, Error};
use mirrorkeeper_core::words::MirrorState;
use mirrorkeeperd::link;
use mirrorkeeperd::publish::{self, Bus, Status};
use std::sync::Arc;
use zbus::fdo::{RequestNameFlags, RequestNameReply};

#[tokio::test]
async fn nobody_can_take_the_name() {
    let service = Service::start(world()).await;
    let (_loop_end, link) = link::pair();
    let bus = Bus::Address(service.bus.address());
    let mut second = publish::spawn(bus, link, Arc::new(CallerIs(0)));
    soon(second.wait_for(|status| *status == Status::NameTaken)).await.unwrap();

    let thief = service.bus.client().await;
    let force = RequestNameFlags::REPLACE_EXISTING | RequestNameFlags::DO_NOT_QUEUE;
    let taken = thief.request_name_with_flags("org.mirrorkeeper1", force).await;
    assert!(!matches!(taken, Ok(RequestNameReply::PrimaryOwner)), "{taken:?}");

    let status = Client::connect(Some(&service.bus.address())).await.unwrap().status().await.unwrap();
    assert_eq!(status.manager.mirrors, 1, "the first instance goes on");
    assert!(*service.owned.borrow());
}

#[tokio::test]
async fn a_bus_that_comes_back_finds_everything_exported_again() {
    let mut service = Service::start(world()).await;
    service.bus.stop();
    service.wait_for(|status| matches!(status, Status::NoBus(_))).await;
    assert!(!*service.owned.borrow());

    let mut snapshot = world();
    snapshot.mirrors.get_mut("vg0/lv").unwrap().state = MirrorState::Degraded;
    service.show(snapshot);

    service.bus.restart();
    service.wait_for(|status| *status == Status::Owned).await;
    let status = Client::connect(Some(&service.bus.address())).await.unwrap().status().await.unwrap();
    assert_eq!(status.mirrors[MIRROR].state, "degraded", "what changed meanwhile is there");
    assert_eq!((status.targets.len(), status.jobs.len()), (2, 1));
}

#[tokio::test]
async fn without_a_bus_at_the_start_it_is_published_when_one_comes() {
    let mut bus = PrivateBus::start();
    bus.stop();
    let (loop_end, link) = link::pair();
    let mut status = publish::spawn(Bus::Address(bus.address()), link, Arc::new(CallerIs(0)));
    soon(status.wait_for(|status| matches!(status, Status::NoBus(_)))).await.unwrap();
    loop_end.snapshots.send_replace(Arc::new(world()));
    bus.restart();
    soon(status.wait_for(|status| *status == Status::Owned)).await.unwrap();
    let status = Client::connect(Some(&bus.address())).await.unwrap().status().await.unwrap();
    assert_eq!(status.manager.mirrors, 1);
}

#[tokio::test]
async fn the_end_of_the_loop_ends_the_service_and_reading_does_not_start_it() {
    let Service { bus, snapshots, events, requests, owned, mut status, .. } = Service::start(world()).await;
    drop((snapshots, events, requests, owned));
    soon(async { while status.changed().await.is_ok() {} }).await;
    let client = Client::connect(Some(&bus.address())).await.unwrap();
    let read = loop {
        match client.status().await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(read, Error::Unreachable(_)), "{read}");
}
