//! Tables and questions that are like those of the world, for tests and benches: made by SQL alone, the same at each run.
#![allow(dead_code, reason = "a test may want one, a bench the other")]

/// Tables, filled to a scale, and questions about them.
#[derive(Clone, Copy)]
pub struct Workload {
    schema: &'static str,
    queries: &'static str,
}

/// The tables and 22 questions of TPC-H; scale 1 has six million lines.
pub const TPCH: Workload =
    Workload { schema: include_str!("tpch/schema.sql"), queries: include_str!("tpch/queries.sql") };

/// Films and what is said of them, joined in the manner of the Join Order Benchmark; scale 1 has 200,000 credits.
pub const FILMS: Workload =
    Workload { schema: include_str!("films/schema.sql"), queries: include_str!("films/queries.sql") };

impl Workload {
    /// Statements that make and fill the tables of an empty database.
    pub fn schema(&self, scale: f64) -> String {
        self.schema.replace("{scale}", &scale.to_string())
    }

    /// Names and texts of the questions, in order.
    pub fn queries(&self) -> Vec<(&'static str, &'static str)> {
        let mut queries: Vec<(&str, &str)> = Vec::new();
        let mut rest = self.queries.split("\n-- ");
        rest.next(); // what the file is about
        for part in rest {
            let (name, text) = part.split_once('\n').unwrap();
            queries.push((name.trim(), text.trim()));
        }
        queries
    }
}
