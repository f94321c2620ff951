//! Markdown tables and medians.

/// Prints a table with a heading; the first column is text, the others are numbers.
pub fn print(heading: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("### {heading}\n");
    println!("| {} |", head.join(" | "));
    println!("|---|{}", "---:|".repeat(head.len() - 1));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}

pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value that `share` of all are below.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied()
}

/// With that many digits behind the point; `-` for what was not measured.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"))
}

/// Median of ratios with their range.
pub fn ratio(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "-".into() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    if values.len() < 2 { format!("{middle:.2}") } else { format!("{middle:.2} ({low:.2}-{high:.2})") }
}
