//! Prometheus' text format 0.0.4, for what the exporter cannot write: histograms whose buckets are counted
//! already, counters that are not whole numbers, and the fingerprints' many series.

use std::fmt::{Display, Write};

use super::counters::BOUNDS;
use super::metrics::Metric;
use super::totals::HistogramTotals;

#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Opens a metric. All its samples follow before the next one opens.
    pub(super) fn open(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.label());
    }

    pub(super) fn sample(&mut self, metric: &Metric, labels: &[&str], value: impl Display) {
        self.line(metric, "", labels, None, value);
    }

    pub(super) fn histogram(&mut self, metric: &Metric, labels: &[&str], totals: &HistogramTotals) {
        let mut count = 0;
        for (bucket, bound) in totals.buckets.iter().zip(BOUNDS) {
            count += bucket;
            self.line(metric, "_bucket", labels, Some(seconds(bound).to_string()), count);
        }
        self.line(metric, "_bucket", labels, Some("+Inf".into()), totals.count());
        self.line(metric, "_sum", labels, None, seconds(totals.nanos));
        self.line(metric, "_count", labels, None, totals.count());
    }

    fn line(
        &mut self,
        metric: &Metric,
        suffix: &str,
        labels: &[&str],
        le: Option<String>,
        value: impl Display,
    ) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let text = &mut self.0;
        text.push_str(metric.name);
        text.push_str(suffix);
        let mut before = '{';
        let pairs = metric.labels.iter().copied().zip(labels.iter().copied());
        for (name, label) in pairs.chain(le.as_deref().map(|bound| ("le", bound))) {
            text.push(before);
            text.push_str(name);
            text.push_str("=\"");
            escape(text, label);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn escape(text: &mut String, label: &str) {
    for character in label.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A strict reader of the format, for the tests: every deviation is an error.
#[cfg(test)]
pub(super) mod reader {
    use std::collections::{BTreeMap, BTreeSet};

    pub(in super::super) type Labels = BTreeMap<String, String>;

    #[derive(Debug, Default)]
    pub(in super::super) struct Page {
        pub(in super::super) types: BTreeMap<String, String>,
        pub(in super::super) samples: BTreeMap<(String, Labels), f64>,
    }

    impl Page {
        pub(in super::super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
            let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            self.samples.get(&(name.into(), labels)).copied()
        }
    }

    pub(in super::super) fn read(text: &str) -> Result<Page, String> {
        let mut page = Page::default();
        let mut helped = BTreeSet::new();
        let mut open = String::new();
        if !text.ends_with('\n') {
            return Err("no newline at the end".into());
        }
        for line in text.split_terminator('\n') {
            if line.is_empty() {
                continue;
            }
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, _) = rest.split_once(' ').ok_or(format!("bare help: {line}"))?;
                helped.insert(name.to_string());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or(format!("bare type: {line}"))?;
                if page.types.insert(name.into(), kind.into()).is_some() || !helped.contains(name) {
                    return Err(format!("{name} declared twice or without help"));
                }
                open = name.into();
            } else {
                let (name, labels, value) = sample(line)?;
                let kind = page.types.get(&open).map(String::as_str);
                let belongs = match kind {
                    Some("histogram") => name.strip_prefix(open.as_str()).is_some_and(|suffix| {
                        matches!(suffix, "_bucket" | "_sum" | "_count")
                            && (suffix == "_bucket") == labels.contains_key("le")
                    }),
                    Some("counter" | "gauge") => name == open,
                    _ => false,
                };
                if !belongs {
                    return Err(format!("not a sample of {open}: {line}"));
                }
                if page.samples.insert((name, labels), value).is_some() {
                    return Err(format!("twice: {line}"));
                }
            }
        }
        Ok(page)
    }

    fn name(text: &str) -> Result<(&str, &str), String> {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("no name: {text}"));
        }
        Ok((name, rest))
    }

    fn sample(line: &str) -> Result<(String, Labels, f64), String> {
        let (metric, mut rest) = name(line)?;
        let mut labels = Labels::new();
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                let (label, after) = name(inner)?;
                let after = after.strip_prefix("=\"").ok_or(format!("no value: {line}"))?;
                let (value, after) = quoted(after)?;
                if labels.insert(label.into(), value).is_some() {
                    return Err(format!("label twice: {line}"));
                }
                match after.split_at_checked(1) {
                    Some((",", after)) => inner = after,
                    Some(("}", after)) => break rest = after,
                    _ => return Err(format!("labels not closed: {line}")),
                }
            }
        }
        let value = rest.strip_prefix(' ').ok_or(format!("no value: {line}"))?;
        Ok((metric.into(), labels, value.parse().map_err(|_| format!("not a number: {line}"))?))
    }

    fn quoted(text: &str) -> Result<(String, &str), String> {
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Ok((value, &text[at + 1..])),
                '\\' => value.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, kept @ ('\\' | '"'))) => kept,
                    _ => return Err(format!("unknown escape: {text}")),
                }),
                other => value.push(other),
            }
        }
        Err(format!("no closing quote: {text}"))
    }

    #[test]
    fn the_reader_refuses_broken_pages() {
        let head = "# HELP a b\n# TYPE a counter\n";
        assert!(read(&format!("{head}a 1\na{{x=\"\\\\\\n\"}} 2\n")).is_ok());
        for bad in [
            "a 1\na 1\n",
            "a{x=\"\n\"} 1\n",
            "a{x=\"\"\"} 1\n",
            "b 1\n",
            "a one\n",
            "a 1",
            "a{x=\"\\q\"} 1\n",
        ] {
            assert!(read(&format!("{head}{bad}")).is_err(), "{bad}");
        }
        assert!(read("a 1\n").is_err());
    }
}
