//! All objects with one interface, and what was last announced about each.
//!
//! What an object shows is read through its own getters, compared with what was announced, and the difference goes out in
//! one `PropertiesChanged`. Progress alone goes out at most once a second per object: it is held back, never dropped, and
//! the value announced then is the newest. When anything else changes, the current progress goes along, so that a client
//! never sees a finished copy at 97 %.

use super::log;
use crate::bus::Exported;
use crate::bus::gate::Gate;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use zbus::fdo::Properties;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

/// Least time between two announcements of progress of one object (contract).
const PROGRESS: Duration = Duration::from_secs(1);

/// Property values by name.
type Values = HashMap<String, OwnedVariant>;

/// All objects with interface `I`.
pub struct Family<I: Exported> {
    connection: Connection,
    gate: Gate,
    objects: HashMap<OwnedObjectPath, Object<I>>,
}

/// One object on the bus.
struct Object<I: Exported> {
    emitter: SignalEmitter<'static>,
    /// What the getters answer from.
    view: watch::Sender<I::View>,
    /// A twin of the exported interface on the same view, to read the properties through the getters themselves. The
    /// exported one is in zbus's tree, behind its locks.
    twin: I,
    /// What clients were told last.
    announced: (I::View, Values),
    /// When progress was announced last.
    progress_at: Option<Instant>,
    /// When progress that was held back is to be announced.
    due: Option<Instant>,
}

impl<I: Exported> Family<I> {
    /// No objects yet.
    pub fn new(connection: &Connection, gate: &Gate) -> Self {
        Self { connection: connection.clone(), gate: gate.clone(), objects: HashMap::new() }
    }

    /// Adds, removes and announces until exactly `views` are on the bus.
    pub async fn show(&mut self, views: impl Iterator<Item = I::View>, now: Instant) {
        let mut gone: HashSet<_> = self.objects.keys().cloned().collect();
        for view in views {
            let path = I::path(&view);
            gone.remove(&path);
            match self.objects.get_mut(&path) {
                Some(object) => object.show(view, now).await,
                None => log(self.add(path, view).await),
            }
        }
        for path in gone {
            self.objects.remove(&path);
            log(self.connection.object_server().remove::<I, _>(path.as_ref()).await.map(drop));
        }
    }

    /// When progress that was held back is due, if any is.
    pub fn due(&self) -> Option<Instant> {
        self.objects.values().filter_map(|object| object.due).min()
    }

    /// Announces what is due.
    pub async fn announce_due(&mut self, now: Instant) {
        for object in self.objects.values_mut().filter(|object| object.due.is_some_and(|due| due <= now)) {
            object.announce(now).await;
        }
    }

    async fn add(&mut self, path: OwnedObjectPath, view: I::View) -> zbus::Result<()> {
        let emitter = SignalEmitter::new(&self.connection, path.clone())?;
        let (sender, receiver) = watch::channel(view.clone());
        let twin = I::new(receiver.clone(), self.gate.clone());
        let values = values(&twin, &emitter).await;
        self.connection.object_server().at(path.clone(), I::new(receiver, self.gate.clone())).await?;
        let object = Object { emitter, view: sender, twin, announced: (view, values), progress_at: None, due: None };
        self.objects.insert(path, object);
        Ok(())
    }
}

impl<I: Exported> Object<I> {
    async fn show(&mut self, view: I::View, now: Instant) {
        let changed = self.view.send_if_modified(|shown| {
            I::take_unannounced(shown, &view);
            let changed = *shown != view;
            *shown = view;
            changed
        });
        if changed {
            self.announce(now).await;
        }
    }

    /// Announces every difference between what is shown and what was announced, or holds it back.
    async fn announce(&mut self, now: Instant) {
        let values = values(&self.twin, &self.emitter).await;
        let view = self.view.borrow().clone();
        let (old_view, old) = &self.announced;
        let differs = |name: &str, value| old.get(name) != Some(value) && !I::UNANNOUNCED.contains(&name);
        let changed: Vec<&str> =
            values.iter().filter(|(name, value)| differs(name, value)).map(|(name, _)| name.as_str()).collect();
        let progress = changed.iter().filter(|name| I::is_progress(name, old_view, &view)).count();
        self.due = self.progress_at.map(|at| at + PROGRESS).filter(|due| *due > now && progress > 0);
        if changed.is_empty() || (self.due.is_some() && progress == changed.len()) {
            return;
        }
        self.due = None;
        if progress > 0 {
            self.progress_at = Some(now);
        }
        let told: HashMap<&str, Variant<'_>> =
            changed.iter().filter_map(|name| Some((*name, values.get(*name)?.try_clone().ok()?.into()))).collect();
        log(Properties::properties_changed(&self.emitter, I::name(), told, Cow::Borrowed(&[])).await);
        self.announced = (view, values);
    }
}

/// All properties as the getters of `interface` answer now. The getters never wait, so neither does this.
///
/// `Interface` is called unstable by zbus; this is the only call of it, and it saves writing every property twice.
async fn values<I: Exported>(interface: &I, emitter: &SignalEmitter<'_>) -> Values {
    let connection = emitter.connection();
    interface.get_all(connection.object_server(), connection, None, emitter).await.unwrap_or_default()
}

#[cfg(test)]
mod tests;
