//! `mirrorkeeper resolve`: shows what is known, asks, and only then has one leg kept and the others overwritten.

use crate::evidence;
use crate::text::{bytes, plain, wrap};
use mirrorkeeper_client::{Mirror, Status, hold};
use std::io::{self, BufRead, Write};

/// What a person has to know before deciding.
///
/// # Errors
/// When there is no such leg; says which there are.
pub fn briefing(mirror: &Mirror, keep: &str, status: &Status, now: u64) -> Result<String, String> {
    let mut lines = evidence::table(mirror, status, now);
    let Some(kept) = mirror.legs.iter().position(|leg| leg.pv == keep) else {
        return Err(format!("{} has no leg on a PV {keep:?}. It has:\n{}", mirror.name, lines.join("\n")));
    };
    lines.push(String::new());
    if let Some(known) = hold::find(&mirror.hold) {
        lines.extend(wrap(&format!("Held, {}: {}", known.code, known.text)));
        lines.push(String::new());
    }
    let losers: Vec<_> = mirror.legs.iter().enumerate().filter(|(index, _)| *index != kept).collect();
    let numbers: Vec<_> = losers.iter().map(|(index, _)| format!("leg {}", index + 1)).collect();
    lines.extend(wrap(&format!(
        "Leg {} is kept. All {} of {} are dropped and copied anew from it; what only they hold is lost for good.",
        kept + 1,
        bytes(mirror.size_bytes),
        numbers.join(" and "),
    )));
    let shared: Vec<_> = status
        .mirrors
        .values()
        .filter(|other| other.name != mirror.name && !other.hold.is_empty())
        // One that is held only because of this one keeps its legs.
        .filter(|other| !other.hold_details.contains_key("held-by"))
        .filter(|other| other.legs.iter().any(|leg| losers.iter().any(|(_, loser)| loser.pv == leg.pv)))
        .map(|other| other.name.as_str())
        .collect();
    if !shared.is_empty() {
        lines.extend(wrap(&format!(
            "Held as well for its leg on the same PV, and resolved with it: {}.",
            shared.join(", ")
        )));
    }
    Ok(lines.iter().map(|line| plain(line) + "\n").collect())
}

/// Asks for a `yes` in full: a key pressed by habit is none.
///
/// # Errors
/// When nothing can be asked or read.
pub fn is_confirmed(mut input: impl BufRead, mut output: impl Write) -> io::Result<bool> {
    write!(output, "\nGo on? Type yes: ")?;
    output.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorkeeper_client::Leg;

    fn mirror(name: &str, hold: &str, pvs: &[&str]) -> Mirror {
        Mirror {
            name: name.to_owned(),
            hold: hold.to_owned(),
            size_bytes: 10 << 30,
            legs: pvs.iter().map(|pv| Leg { pv: (*pv).to_owned(), ..Leg::default() }).collect(),
            ..Mirror::default()
        }
    }

    fn world() -> Status {
        let mirrors = [
            mirror("vg0/a", "split-brain", &["pv-1", "pv-2"]),
            mirror("vg0/b", "split-brain", &["pv-2", "pv-3"]),
            mirror("vg0/c", "", &["pv-2", "pv-1"]),
            mirror("vg0/d", "split-brain", &["pv-1", "pv-3"]),
        ];
        Status { mirrors: mirrors.into_iter().map(|m| (m.name.clone(), m)).collect(), ..Status::default() }
    }

    #[test]
    fn the_briefing_says_who_is_kept_who_is_overwritten_and_who_else() {
        let world = world();
        let told = briefing(&world.mirrors["vg0/a"], "pv-1", &world, 0).unwrap();
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("Held, split-brain: Legs were written apart"), "{told}");
        assert!(told.contains("Leg 1 is kept. All 10.0 GiB of leg 2 are dropped and copied anew from it"), "{told}");
        assert!(told.ends_with("resolved with it: vg0/b."), "only mirrors held on the same PV: {told}");
    }

    #[test]
    fn a_leg_that_is_not_there_is_named_with_those_that_are() {
        let world = world();
        let told = briefing(&world.mirrors["vg0/a"], "pv-3", &world, 0).unwrap_err();
        assert!(told.contains("pv-3") && told.contains("pv-1") && told.contains("pv-2"), "{told}");
    }

    #[test]
    fn only_a_whole_yes_is_one() {
        let answers =
            [("yes\n", true), (" yes \n", true), ("y\n", false), ("YES\n", false), ("\n", false), ("", false)];
        for (answer, expected) in answers {
            let mut asked = Vec::new();
            assert_eq!(is_confirmed(answer.as_bytes(), &mut asked).unwrap(), expected, "{answer:?}");
            assert!(asked.ends_with(b"Type yes: "));
        }
    }
}
