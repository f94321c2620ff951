//! "did you mean": the known name nearest to a mistyped one.

/// The closest of `known`: a name that contains the other, or at most a third of its letters away.
#[must_use]
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Distance costs time with the square of the length; a long name is no typing slip.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .filter_map(|candidate| {
            let plain = candidate.replace('-', "_");
            let distance = distance(&name, &plain);
            let contained =
                name.len() >= 4 && plain.len() >= 4 && (name.contains(&plain) || plain.contains(&name));
            (contained || distance * 3 <= plain.len().max(name.len()))
                .then_some(((!contained, distance), candidate))
        })
        .min_by_key(|(order, _)| *order)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insert, delete, replace, or swap neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let known = ["pool_size", "min_pool_size", "pool_mode", "select-star"];
        assert_eq!(closest("pool_sise", known), Some("pool_size"));
        assert_eq!(closest("default_pool_size", known), Some("pool_size"));
        assert_eq!(closest("poolmode", known), Some("pool_mode"));
        assert_eq!(closest("select_star", known), Some("select-star"));
        assert_eq!(closest("colour", known), None);
        assert_eq!(closest(&"x".repeat(1000), known), None);
    }
}
