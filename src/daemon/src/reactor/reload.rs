//! Who waits for the configuration to be read again. However many ask, it is read once at a time, and once more for those
//! who came while it was being read: what was read may be older than their wish.

use crate::link::Reload;

/// Wishes, by whether the reading under way began after them.
#[derive(Debug, Default)]
pub struct Reloads {
    under_way: Option<Vec<Reload>>,
    next: Option<Vec<Reload>>,
}

impl Reloads {
    /// Notes a wish, of nobody in particular when it came with a signal. Whether to begin reading now.
    pub fn want(&mut self, asker: Option<Reload>) -> bool {
        match &self.under_way {
            Some(_) => self.next.get_or_insert_default().extend(asker),
            None => self.under_way = Some(asker.into_iter().collect()),
        }
        self.next.is_none()
    }

    /// Answers those whom the reading that has ended was for. Whether to begin the next one now.
    pub fn answer(&mut self, answer: &Result<(), String>) -> bool {
        // Whoever asked may have left.
        self.under_way.take().into_iter().flatten().for_each(|asker| drop(asker.send(answer.clone())));
        self.under_way = self.next.take();
        self.under_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::{channel, error::TryRecvError};

    #[test]
    fn who_asks_while_it_is_read_is_answered_by_the_next_reading() {
        let mut reloads = Reloads::default();
        let ((first, mut told_first), (second, mut told_second), (third, mut told_third)) =
            (channel(), channel(), channel());
        assert!(reloads.want(Some(first)));
        assert!(!reloads.want(Some(second)) && !reloads.want(None) && !reloads.want(Some(third)));
        let bad = Err("bad".to_owned());
        assert!(reloads.answer(&bad), "the others want it read again");
        assert_eq!((told_first.try_recv(), told_second.try_recv()), (Ok(bad), Err(TryRecvError::Empty)));
        assert!(!reloads.answer(&Ok(())));
        assert_eq!((told_second.try_recv(), told_third.try_recv()), (Ok(Ok(())), Ok(Ok(()))));
        assert!(reloads.want(None) && !reloads.answer(&Ok(())));
    }
}
