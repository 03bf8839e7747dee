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
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use zbus::fdo::Properties;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedVariant, Variant};

/// Least time between two announcements of progress of one object (contract).
const PROGRESS: Duration = Duration::from_secs(1);

/// Property values by name.
type Values = HashMap<String, OwnedVariant>;

/// All objects with interface `I`.
pub struct Family<I: Exported> {
    connection: Connection,
    gate: Gate,
    objects: BTreeMap<I::Key, Object<I>>,
}

/// One object on the bus.
struct Object<I: Exported> {
    emitter: SignalEmitter<'static>,
    /// What the getters answer from.
    view: watch::Sender<I::View>,
    /// What clients were told last. The view alone: its values are several times as large, and seldom wanted.
    announced: I::View,
    /// When progress was announced last.
    progress_at: Option<Instant>,
    /// When progress that was held back is to be announced.
    due: Option<Instant>,
}

impl<I: Exported> Family<I> {
    /// No objects yet.
    pub fn new(connection: &Connection, gate: &Gate) -> Self {
        Self { connection: connection.clone(), gate: gate.clone(), objects: BTreeMap::new() }
    }

    /// Adds, removes and announces until exactly `views` are on the bus.
    pub async fn show(&mut self, views: &BTreeMap<I::Key, I::View>, now: Instant) {
        for (key, view) in views {
            match self.objects.get_mut(key) {
                Some(object) if object.take(view) => object.announce(key, &self.gate, now).await,
                Some(_) => {}
                None => log(self.add(key, view).await),
            }
        }
        let gone: Vec<I::Key> = self.objects.keys().filter(|key| !views.contains_key(key)).cloned().collect();
        for object in gone.iter().filter_map(|key| self.objects.remove(key)) {
            log(self.connection.object_server().remove::<I, _>(object.emitter.path().as_ref()).await.map(drop));
        }
    }

    /// When progress that was held back is due, if any is.
    pub fn due(&self) -> Option<Instant> {
        self.objects.values().filter_map(|object| object.due).min()
    }

    /// Announces what is due.
    pub async fn announce_due(&mut self, now: Instant) {
        for (key, object) in self.objects.iter_mut().filter(|(_, object)| object.due.is_some_and(|due| due <= now)) {
            object.announce(key, &self.gate, now).await;
        }
    }

    async fn add(&mut self, key: &I::Key, view: &I::View) -> zbus::Result<()> {
        let path = I::path(key);
        let emitter = SignalEmitter::new(&self.connection, path.clone())?;
        let (sender, receiver) = watch::channel(view.clone());
        self.connection.object_server().at(path, I::new(key, receiver, self.gate.clone())).await?;
        let object = Object { emitter, view: sender, announced: view.clone(), progress_at: None, due: None };
        self.objects.insert(key.clone(), object);
        Ok(())
    }
}

impl<I: Exported> Object<I> {
    /// Shows a view from now on, and says whether there is something to announce.
    fn take(&self, view: &I::View) -> bool {
        self.view.send_if_modified(|shown| {
            let changed = *shown != *view;
            if changed {
                shown.clone_from(view);
            }
            changed
        })
    }

    /// Announces every difference between what is shown and what was announced, or holds it back.
    async fn announce(&mut self, key: &I::Key, gate: &Gate, now: Instant) {
        let view = self.view.borrow().clone();
        let old = values::<I>(key, &self.announced, gate, &self.emitter).await;
        let values = values::<I>(key, &view, gate, &self.emitter).await;
        let differs = |name: &str, value| old.get(name) != Some(value);
        let changed: Vec<&str> =
            values.iter().filter(|(name, value)| differs(name, value)).map(|(name, _)| name.as_str()).collect();
        let progress = changed.iter().filter(|name| I::is_progress(name, &self.announced, &view)).count();
        self.due = self.progress_at.map(|at| at + PROGRESS).filter(|due| *due > now && progress > 0);
        if self.due.is_some() && progress == changed.len() {
            return;
        }
        if changed.is_empty() {
            // The manager's is all that there was to see then.
            self.announced = view;
            return;
        }
        self.due = None;
        if progress > 0 {
            self.progress_at = Some(now);
        }
        let told: HashMap<&str, Variant<'_>> =
            changed.iter().filter_map(|name| Some((*name, values.get(*name)?.try_clone().ok()?.into()))).collect();
        log(Properties::properties_changed(&self.emitter, I::name(), told, Cow::Borrowed(&[])).await);
        self.announced = view;
    }
}

/// All properties as the getters answer from `view`, through a twin of the exported interface: that one is in zbus's tree,
/// behind its locks. The getters never wait, so neither does this.
///
/// `Interface` is called unstable by zbus; this is the only call of it, and it saves writing every property twice.
async fn values<I: Exported>(key: &I::Key, view: &I::View, gate: &Gate, emitter: &SignalEmitter<'_>) -> Values {
    let interface = I::new(key, watch::channel(view.clone()).1, gate.clone());
    let connection = emitter.connection();
    interface.get_all(connection.object_server(), connection, None, emitter).await.unwrap_or_default()
}

#[cfg(test)]
mod tests;
