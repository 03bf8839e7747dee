//! Reading the keys of a target, and putting our own there or taking it away, over anything that takes commands.

use super::reservation::{self, ANSWER, Ask, Cdb};
use super::sense::Refusal;
use mirrorkeeper_core::observation::Registration;

/// How often a command is tried that is answered by a unit attention. Each answer takes one such condition from the
/// device's list, which after a restart holds two or three.
const TRIES: usize = 5;

/// Something that takes SCSI commands.
pub trait Target {
    /// Runs a command that answers with at most so many bytes.
    ///
    /// # Errors
    /// When it was not carried out.
    fn read(&mut self, cdb: &Cdb, most: u16) -> Result<Vec<u8>, Refusal>;
    /// Runs a command with its parameters.
    ///
    /// # Errors
    /// When it was not carried out, or the target says so.
    fn write(&mut self, cdb: &Cdb, parameters: &[u8]) -> Result<(), Refusal>;
}

/// Everything about the target's registrations. One question refused makes all of it unknown: keys prove nothing where
/// nobody says whether they outlive a power loss.
pub fn read(target: &mut impl Target) -> Registration {
    try_read(target).unwrap_or_else(Registration::Unknown)
}

fn try_read(target: &mut impl Target) -> Result<Registration, String> {
    let persists = ask(target, Ask::Capabilities, reservation::persists)?;
    let reserved = ask(target, Ask::Reservation, reservation::reserved)?;
    let (generation, keys) = ask(target, Ask::Keys, reservation::keys)?;
    Ok(Registration::Keys { generation, keys, reserved, persists })
}

fn ask<T>(target: &mut impl Target, ask: Ask, parse: fn(&[u8]) -> Result<T, String>) -> Result<T, String> {
    let answer = patiently(|| target.read(&ask.cdb(), ANSWER)).map_err(|refusal| format!("{ask}: {refusal}"))?;
    parse(&answer).map_err(|why| format!("{ask}: {why}"))
}

/// Registers `key`, unless it is there, and returns what is registered afterwards. Nothing is sent to a target that has
/// a key of somebody else, a reservation, or keeps registrations over a power loss, nor to one that does not say.
///
/// A key that is there is not registered again: that would change the generation, and with it the proof.
pub fn register(target: &mut impl Target, key: u64) -> Registration {
    change(target, key, key, |keys, persists| keys.is_empty() && !persists)
}

/// Takes `key` away, if it is there, and returns what is registered afterwards. Nothing is sent to a target that has a key
/// of somebody else or a reservation: with some kinds of it, those who are not registered cannot write.
pub fn unregister(target: &mut impl Target, key: u64) -> Registration {
    change(target, key, 0, |keys, _| !keys.is_empty())
}

fn change(target: &mut impl Target, ours: u64, new: u64, wanted: fn(&[u64], bool) -> bool) -> Registration {
    let found = read(target);
    match &found {
        Registration::Keys { keys, reserved: false, persists, .. }
            if keys.iter().all(|key| *key == ours) && wanted(keys, *persists) =>
        {
            let (cdb, parameters) = reservation::register(new);
            // Believed neither way: what counts is read afterwards.
            if let Err(refusal) = patiently(|| target.write(&cdb, &parameters)) {
                tracing::debug!("registering {new:#x}: {refusal}");
            }
            read(target)
        }
        _ => found,
    }
}

fn patiently<T>(mut command: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    let mut tries = 1;
    loop {
        match command() {
            Err(refusal) if refusal.is_unit_attention() && tries < TRIES => tries += 1,
            ended => return ended,
        }
    }
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
