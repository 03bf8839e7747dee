//! What a caller can depend on, taken from introspection data so that two of them can be compared.

use std::collections::BTreeMap;
use zbus_xml::{Annotation, Arg, Interface};

/// Each member of an interface with everything a caller can depend on.
pub fn members(interface: &Interface<'_>) -> BTreeMap<String, String> {
    let notes = |notes: &[Annotation<'_>]| {
        notes.iter().map(|note| format!(" [{}={}]", note.name(), note.value())).collect::<String>()
    };
    let args = |args: &[Arg<'_>]| {
        let arg = |arg: &Arg<'_>| {
            format!(" {:?} {}:{}{}", arg.direction(), arg.name().unwrap_or("?"), arg.ty(), notes(arg.annotations()))
        };
        args.iter().map(arg).collect::<String>()
    };
    let mut members = BTreeMap::new();
    for property in interface.properties() {
        let value = format!("{} {:?}{}", property.ty(), property.access(), notes(property.annotations()));
        members.insert(format!("property {}", property.name()), value);
    }
    for method in interface.methods() {
        members.insert(format!("method {}", method.name()), args(method.args()) + &notes(method.annotations()));
    }
    for signal in interface.signals() {
        members.insert(format!("signal {}", signal.name()), args(signal.args()) + &notes(signal.annotations()));
    }
    let own: Vec<_> = interface.annotations().cloned().collect();
    members.insert("interface".to_owned(), notes(&own));
    members
}
