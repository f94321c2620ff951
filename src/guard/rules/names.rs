//! Names as statements write them, and patterns for names as options give them.

/// A relation, function or column without what stands before its last dot.
pub(super) fn bare(written: &str) -> &str {
    written.rsplit_once('.').map_or(written, |(_, name)| name)
}

/// `*` stands for any characters.
pub(super) fn is_like(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = name.get(at + part.len()..).unwrap_or_default();
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("id", "id"),
            ("*_id", "order_id"),
            ("*", ""),
            ("a*b*c", "axxbyyc"),
            ("*a*", "bab"),
            ("a*", "a"),
            ("*b*d", "abcbd"),
            ("pg_create_*_slot", "pg_create_x_slot"),
        ] {
            assert!(is_like(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("id", "ids"),
            ("*_id", "id"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("", "a"),
            ("a", "ab"),
            ("pg_create_*_slot", "pg_create_slot"),
        ] {
            assert!(!is_like(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn the_last_part() {
        assert_eq!((bare("orders"), bare("shop.orders"), bare("a.b.c")), ("orders", "orders", "c"));
    }
}
