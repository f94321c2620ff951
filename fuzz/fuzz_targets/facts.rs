//! Any bytes become facts or `unparsed`: no panic, no endless loop, no stack spent; the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::guard::facts::{ReadOptions, read};

fuzz_target!(|data: &[u8]| {
    let (first, text) = data.split_first().unwrap_or((&0, data));
    let options = ReadOptions { standard_conforming_strings: first & 1 == 0, ..ReadOptions::default() };
    let reading = read(text, &options);
    for facts in &reading.statements {
        assert_eq!(facts.read_only, facts.not_read_only.is_empty());
        assert!(reading.refusal.is_none() || !facts.read_only, "what is not read is never read-only");
    }
    assert_eq!(reading, read(text, &options));
});
