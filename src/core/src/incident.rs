//! What happened? Events come from comparing two read models, never from attempts: each is a transition that was seen.

use crate::ids::TargetKey;
use crate::name::Name;
use crate::observation::SyncAction;
use crate::servers::FLAPPING;
use crate::snapshot::{Details, Event, LegView, MirrorView, Object, ServerView, Snapshot, TargetView, Value};
use crate::time::Wall;
use crate::words::{EventCode as E, Hold, LegState, MirrorState, Severity as S, TargetState};

/// Every transition from one read model to the next, in the order cause before effect: targets, legs, mirrors.
pub fn transitions(old: &Snapshot, new: &Snapshot, at: Wall) -> Vec<Event> {
    let mut events = Events { at, list: Vec::new() };
    for (key, now) in &new.targets {
        if let Some(before) = old.targets.get(key) {
            events.target(key, before, now);
        }
    }
    let gone = |s: &Snapshot| {
        let mut carrying = s.targets.values().filter(|t| t.managed).peekable();
        carrying.peek().is_some() && carrying.all(|t| t.state != TargetState::LoggedIn)
    };
    if gone(new) && !gone(old) && old.targets.values().any(|t| t.managed) {
        events.push(E::AllServersLost, S::Critical, Object::Manager, Details::new());
    }
    for (name, now) in &new.servers {
        let flaps = |server: &ServerView| server.flap_count as usize >= FLAPPING;
        if flaps(now) && !old.servers.get(name).is_some_and(flaps) {
            let losses = Value::U32(now.flap_count);
            let details = Details::from([("server", name.as_str().into()), ("losses", losses)]);
            events.push(E::ServerFlapping, S::Warning, Object::Server(name.clone()), details);
        }
    }
    for (name, now) in &new.mirrors {
        let before = old.mirrors.get(name);
        for leg in &now.legs {
            let was = before.and_then(|b| b.legs.iter().find(|l| l.pv == leg.pv));
            if let Some(was) = was {
                events.leg(name, was, leg);
            }
        }
        events.mirror(name, before.map(|before| &**before), now);
    }
    events.list
}

struct Events {
    at: Wall,
    list: Vec<Event>,
}

impl Events {
    fn push(&mut self, code: E, severity: S, object: Object, details: Details) {
        self.list.push(Event { at: self.at, code, severity, object, details });
    }

    fn target(&mut self, key: &TargetKey, before: &TargetView, now: &TargetView) {
        if (before.state, &before.last_error) == (now.state, &now.last_error) {
            return;
        }
        let object = || Object::Target(key.clone());
        let mut details = Details::from([("iqn", key.iqn.as_str().into()), ("portal", key.portal.as_str().into())]);
        details.extend(change(before.state.word(), now.state.word()));
        if !now.last_error.is_empty() {
            details.insert("reason", now.last_error.as_str().into());
        }
        let refused = matches!(now.state, TargetState::AuthFailed | TargetState::NotFound);
        if before.state != now.state {
            match now.state {
                TargetState::LoggedIn => self.push(E::TargetReturned, S::Info, object(), details),
                TargetState::Offline => self.push(E::TargetOffline, S::Error, object(), details),
                TargetState::Blocked | TargetState::LoggedOut if before.state == TargetState::LoggedIn => {
                    self.push(E::TargetLost, S::Warning, object(), details);
                }
                TargetState::AuthFailed | TargetState::NotFound => {
                    self.push(E::TargetLoginFailed, S::Error, object(), details);
                }
                _ => {}
            }
        } else if now.managed && before.last_error != now.last_error && !now.last_error.is_empty() && !refused {
            self.push(E::TargetLoginFailed, S::Warning, object(), details);
        }
    }

    fn leg(&mut self, mirror: &Name, was: &LegView, now: &LegView) {
        if was.state == now.state {
            return;
        }
        let mut details = Details::from([("leg", now.pv.as_str().into())]);
        if let Some(target) = &now.target {
            details.insert("target", target.name.as_str().into());
        }
        details.extend(change(was.state.word(), now.state.word()));
        let gone = |s| matches!(s, LegState::Failed | LegState::Missing);
        let refused = |s| matches!(s, LegState::Stale | LegState::Foreign | LegState::Error);
        let object = Object::Mirror(mirror.clone());
        match (was.state, now.state) {
            (w, n) if gone(n) && !gone(w) => self.push(E::LegLost, S::Error, object, details),
            (_, n) if refused(n) => self.push(E::LegRejected, S::Critical, object, details),
            (w, _) if gone(w) && !gone(now.state) => self.push(E::LegReturned, S::Info, object, details),
            (LegState::Probation, LegState::InSync) => self.push(E::LegVerified, S::Info, object, details),
            _ => {}
        }
    }

    fn mirror(&mut self, name: &Name, before: Option<&MirrorView>, now: &MirrorView) {
        let object = || Object::Mirror(name.clone());
        // A mirror seen for the first time is compared with a good one, so that a bad start is told too.
        let was = before.map_or(MirrorState::Redundant, |b| b.state);
        let details = || {
            let copies = Value::U32(now.copies_in_sync);
            let mut details = Details::from([("mirror", name.as_str().into()), ("copies-in-sync", copies)]);
            details.extend(change(was.word(), now.state.word()));
            details.insert("sync-ratio", Value::F64(now.ratio));
            details
        };
        if was != now.state && now.unmanaged.is_none() {
            if was == MirrorState::Resyncing && matches!(now.state, MirrorState::Verifying | MirrorState::Redundant) {
                self.push(E::ResyncFinished, S::Info, object(), details());
            }
            match now.state {
                MirrorState::Redundant => self.push(E::MirrorRedundant, S::Info, object(), details()),
                MirrorState::Degraded => self.push(E::MirrorDegraded, S::Error, object(), details()),
                MirrorState::Failed => self.push(E::MirrorFailed, S::Critical, object(), details()),
                MirrorState::Resyncing => self.push(E::ResyncStarted, S::Info, object(), details()),
                _ => {}
            }
        }
        let checking = |m: &MirrorView| m.state == MirrorState::Verifying && m.action == Some(SyncAction::Check);
        if checking(now) && !before.is_some_and(checking) {
            self.push(E::VerifyStarted, S::Info, object(), details());
        }
        let hold = now.hold.filter(worth_telling);
        let held = before.and_then(|b| b.hold).filter(worth_telling);
        if hold != held {
            let details = |m: &MirrorView, hold: Hold| {
                let mut details = m.hold_details.clone();
                details.extend(Details::from([("mirror", name.as_str().into()), ("reason", hold.word().into())]));
                details
            };
            match (hold, held, before) {
                (Some(Hold::SplitBrain), ..) => {
                    self.push(E::SplitBrain, S::Critical, object(), details(now, Hold::SplitBrain));
                    self.push(E::Held, S::Critical, object(), details(now, Hold::SplitBrain));
                }
                (Some(hold), ..) => self.push(E::Held, S::Warning, object(), details(now, hold)),
                (None, Some(hold), Some(before)) => self.push(E::Released, S::Info, object(), details(before, hold)),
                (None, ..) => {}
            }
        }
    }
}

/// Holds that pass by themselves within seconds are shown but not told.
fn worth_telling(hold: &Hold) -> bool {
    *hold > Hold::VgBusy && *hold != Hold::DeviceBlocked
}

fn change(old: &str, new: &str) -> Details {
    Details::from([("old-state", old.into()), ("new-state", new.into())])
}
