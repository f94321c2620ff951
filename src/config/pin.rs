//! A kind of session state, by the name that metrics and the console have for it.

use toml::de::DeValue;

use super::value::{Faults, Surroundings, Value, quoted, text};
use crate::document::closest;
use crate::guard::Effects;

/// One of [`Effects::PINS`] that a setting may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub Effects);

/// Those that a client chooses to make: settings follow their client, and a replication connection is its own.
fn names() -> Vec<&'static str> {
    let chosen = |kind: Effects| kind != Effects::SETTING && kind != Effects::REPLICATION;
    Effects::PINS.iter().filter(|(kind, _)| chosen(*kind)).map(|(_, name)| *name).collect()
}

impl Value for Pin {
    const EXPECTED: &'static str = "a reason of pins_total, such as \"listen\"";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        let text = text::<Self>(value)?;
        let names = names();
        let known = Effects::PINS.iter().find(|(_, name)| *name == text && names.contains(name));
        known.map(|(kind, _)| Self(*kind)).ok_or_else(|| {
            let one_of = format!("must be one of {}", names.join(" "));
            match closest(text, names.iter().copied()) {
                Some(near) => format!("{one_of}; did you mean `{near}`?").into(),
                None => one_of.into(),
            }
        })
    }
    fn show(&self) -> String {
        let name = Effects::PINS.iter().find(|(kind, _)| kind == &self.0).map_or("", |(_, name)| name);
        quoted(name)
    }
}
