//! Who is told of an event, apart from the bus: the journal, the history, the hooks. None of them may hold up the teller.

use crate::history::History;
use crate::hooks::Hooks;
use crate::journal;
use mirrorkeeper_core::snapshot::Event;

/// Everybody who is told.
pub struct Audience {
    history: History,
    hooks: Hooks,
}

impl Audience {
    /// The journal and these.
    pub fn new(history: History, hooks: Hooks) -> Self {
        Self { history, hooks }
    }

    /// The journal alone.
    pub fn journal() -> Self {
        Self::new(History::none(), Hooks::none())
    }

    /// Tells everybody, without waiting.
    pub fn tell(&self, event: &Event) {
        journal::publish(event);
        self.history.note(event);
        self.hooks.note(event);
    }
}
