//! How much each may have under way at once. A permit is given back when it is dropped, whatever became of the call.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A number of permits for each `K`.
#[derive(Debug)]
pub struct Limits<K> {
    most: usize,
    held: Mutex<BTreeMap<K, usize>>,
}

/// A permit.
#[derive(Debug)]
pub struct Permit<'l, K: Ord + Clone> {
    limits: &'l Limits<K>,
    holder: K,
}

impl<K: Ord + Clone> Limits<K> {
    /// At most `most` for each.
    pub fn new(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    /// A permit, unless `holder` has all of its own. Never waits.
    pub fn take(&self, holder: K) -> Option<Permit<'_, K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(holder.clone()).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Permit { limits: self, holder })
    }
}

impl<K: Ord + Clone> Drop for Permit<'_, K> {
    fn drop(&mut self) {
        let mut held = self.limits.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_gets_them_back() {
        let limits = Limits::new(2);
        let (first, second) = (limits.take("a"), limits.take("a"));
        assert!(first.is_some() && second.is_some() && limits.take("a").is_none());
        assert!(limits.take("b").is_some());
        drop(first);
        assert!(limits.take("a").is_some());
        drop(second);
        assert!(limits.held.lock().unwrap().is_empty(), "nobody is remembered who holds nothing");
        assert!(Limits::new(0).take("a").is_none());
        assert!(limits.held.lock().unwrap().is_empty());
    }
}
