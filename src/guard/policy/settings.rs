//! `set = { lock_timeout = "2s" }`: the settings that a rule may put in force, with values that cannot be anything
//! else. Of two rules that set the same one, the stricter value holds.

use super::units;

/// What values a setting has.
enum Values {
    /// Milliseconds; 0 is never.
    Time,
    /// Kilobytes.
    Size,
    Count,
    /// True is stricter than false, or false than true.
    Flag {
        strict: bool,
    },
    /// From the strictest on.
    Words(&'static [&'static str]),
}

/// The settings that make sense for one statement's transaction: all may be set by anybody, and none changes what a
/// statement means.
static SETTINGS: &[(&str, Values)] = &[
    ("lock_timeout", Values::Time),
    ("statement_timeout", Values::Time),
    ("transaction_timeout", Values::Time),
    ("idle_in_transaction_session_timeout", Values::Time),
    (
        "default_transaction_isolation",
        Values::Words(&["serializable", "repeatable read", "read committed", "read uncommitted"]),
    ),
    ("default_transaction_read_only", Values::Flag { strict: true }),
    ("default_transaction_deferrable", Values::Flag { strict: true }),
    ("synchronous_commit", Values::Words(&["remote_apply", "on", "remote_write", "local", "off"])),
    ("work_mem", Values::Size),
    ("maintenance_work_mem", Values::Size),
    ("max_parallel_workers_per_gather", Values::Count),
    ("max_parallel_maintenance_workers", Values::Count),
    ("jit", Values::Flag { strict: false }),
    ("plan_cache_mode", Values::Words(&["auto", "force_custom_plan", "force_generic_plan"])),
    ("enable_seqscan", Values::Flag { strict: false }),
    ("enable_nestloop", Values::Flag { strict: false }),
    ("enable_hashjoin", Values::Flag { strict: false }),
    ("enable_mergejoin", Values::Flag { strict: false }),
];

/// All of them, by name.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    SETTINGS.iter().map(|(name, _)| *name)
}

fn values(name: &str) -> Option<&'static Values> {
    SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, values)| values)
}

/// The value in one way of writing it (digits, a unit, or a word of the list), or what it should be.
pub(super) fn value(name: &str, text: &str) -> Result<String, String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    match values(name).ok_or("a setting that a rule may set")? {
        Values::Time => {
            let none = (text == "0").then_some(0);
            let millis = none.or_else(|| units::duration(text).map(|time| time.as_millis()));
            let fits = millis.filter(|millis| *millis <= i32::MAX.unsigned_abs().into());
            fits.map(|millis| format!("{millis}ms")).ok_or_else(|| "a duration such as \"2s\"".into())
        }
        Values::Size => {
            let kilobytes = units::bytes(text).map(|bytes| bytes >> 10);
            let fits = kilobytes.filter(|size| (64..=i32::MAX.unsigned_abs().into()).contains(size));
            fits.map(|size| format!("{size}kB")).ok_or_else(|| "a size such as \"64MB\"".into())
        }
        Values::Count => {
            let count = text.parse::<u16>().ok().filter(|count| *count <= 1024);
            count.map(|count| count.to_string()).ok_or_else(|| "a number up to 1024".into())
        }
        Values::Flag { .. } => match lower.as_str() {
            "on" | "true" | "yes" => Ok("on".into()),
            "off" | "false" | "no" => Ok("off".into()),
            _ => Err("\"on\" or \"off\"".into()),
        },
        Values::Words(words) => {
            let found = words.iter().find(|word| **word == lower);
            found.map(|word| (*word).to_owned()).ok_or_else(|| format!("one of {}", words.join(", ")))
        }
    }
}

/// The smaller, the stricter. Of values that [`value`] wrote.
pub(super) fn laxity(name: &str, value: &str) -> u64 {
    let number = || {
        let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
        digits.parse::<u64>().unwrap_or(u64::MAX)
    };
    match values(name) {
        Some(Values::Time) if number() == 0 => u64::MAX,
        Some(Values::Time | Values::Size | Values::Count) => number(),
        Some(Values::Flag { strict }) => u64::from((value == "on") != *strict),
        Some(Values::Words(words)) => words.iter().position(|word| *word == value).unwrap_or(0) as u64,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_written_in_one_way() {
        for (name, text, expected) in [
            ("lock_timeout", "2s", "2000ms"),
            ("lock_timeout", "0", "0ms"),
            ("work_mem", "64MB", "65536kB"),
            ("jit", "FALSE", "off"),
            ("default_transaction_isolation", "Serializable", "serializable"),
            ("max_parallel_workers_per_gather", "2", "2"),
        ] {
            assert_eq!(value(name, text).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn nothing_else_passes() {
        for (name, text) in [
            ("lock_timeout", "2s'; DROP TABLE t; --"),
            ("lock_timeout", "-1"),
            ("lock_timeout", "100d"),
            ("work_mem", "1kB"),
            ("jit", "perhaps"),
            ("default_transaction_isolation", "serializable; x"),
            ("search_path", "evil"),
        ] {
            assert!(value(name, text).is_err(), "{name} = {text}");
        }
    }

    #[test]
    fn the_stricter_value_is_the_less_lax() {
        for (name, strict, lax) in [
            ("lock_timeout", "2000ms", "3000ms"),
            ("lock_timeout", "3000ms", "0ms"),
            ("default_transaction_isolation", "serializable", "read committed"),
            ("default_transaction_read_only", "on", "off"),
            ("jit", "off", "on"),
            ("work_mem", "64kB", "65536kB"),
        ] {
            assert!(laxity(name, strict) < laxity(name, lax), "{name}");
        }
    }
}
