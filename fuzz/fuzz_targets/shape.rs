//! Two texts of one key have the same facts but for their size: the soundness of the cache of shapes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsluice::guard::facts::{Facts, ReadOptions, read};
use pgsluice::guard::sql::{Wanted, keyed_shape_of};

fn key(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut shape, mut extras) = (Vec::new(), Vec::new());
    let info = keyed_shape_of(text, true, Wanted::ALL, &mut shape, &mut extras).ok()?;
    info.cacheable.then_some((shape, extras))
}

/// Other literals: each digit moves on, and so does each letter within single quotes.
fn other(text: &[u8], step: u8) -> Vec<u8> {
    let mut quoted = false;
    let change = |byte: &u8| match byte {
        b'\'' => {
            quoted = !quoted;
            b'\''
        }
        b'0'..=b'9' => b'0' + (byte - b'0' + step) % 10,
        b'a'..=b'z' if quoted => b'a' + (byte - b'a' + step) % 26,
        _ => *byte,
    };
    text.iter().map(change).collect()
}

fuzz_target!(|data: &[u8]| {
    let (step, text) = data.split_first().unwrap_or((&1, data));
    let twin = other(text, step % 9 + 1);
    let (Some(one), Some(two)) = (key(text), key(&twin)) else { return };
    if one != two {
        return;
    }
    let facts = |text: &[u8]| {
        let reading = read(text, &ReadOptions::default());
        let plain = |facts: Facts| Facts {
            bytes: 0,
            comments: 0,
            trailing_comment: false,
            tags: Vec::new(),
            line_comment: None,
            ..facts
        };
        reading.refusal.is_none().then(|| reading.statements.into_iter().map(plain).collect::<Vec<_>>())
    };
    if let (Some(one), Some(two)) = (facts(text), facts(&twin)) {
        assert_eq!(one, two);
    }
});
