//! Seconds that the guard expects of TPC-H's questions, and seconds that they take.

use std::time::{Duration, Instant};

use pgsluice::guard::plan::{Calibration, PlanFacts, Surroundings, read};

use super::clients::runtime;
use super::peers::{Lab, PASSWORD, USER};
use super::raw::Raw;
use super::table;
use super::workloads::TPCH;

const DATABASE: &str = "tpch";
/// What the guard expects before the statement runs comes back as the message of a NOTICE.
const RULES: &str = "[[rule]]\nname = 'told'\nwhen = 'plan.total_cost >= 0.0'\naction = 'warn'\nmessage = '{plan.expected_seconds}'\n";
const SETTINGS: &str = "[plan]\ndeadline = \"5s\"\n";
/// The aim: so near for nine of ten.
const NEAR: f64 = 3.0;

/// A question and what became of it.
struct Question {
    name: &'static str,
    sql: &'static str,
    plan: PlanFacts,
    /// By round: seconds, and what was expected of that run.
    runs: Vec<(f64, Option<f64>)>,
}

impl Question {
    fn seconds(&self) -> f64 {
        table::median(&self.runs.iter().map(|(seconds, _)| *seconds).collect::<Vec<_>>()).unwrap()
    }

    /// Expected by observed, of the runs that were not the first.
    fn known(&self) -> Vec<f64> {
        self.runs.iter().skip(1).filter_map(|(seconds, told)| Some((*told)? / seconds)).collect()
    }
}

pub fn run(lab: &Lab, scale: f64, rounds: u32) {
    fill(lab, scale);
    let mut questions: Vec<Question> = TPCH
        .queries()
        .into_iter()
        .map(|(name, sql)| Question { name, sql, plan: plan(lab, sql), runs: Vec::new() })
        .collect();
    let peer = lab.start_ruled("calibration", RULES, SETTINGS);
    runtime().block_on(async {
        let mut raw = Raw::login(peer.port, USER, PASSWORD, DATABASE, &[]).await.unwrap();
        raw.patience = Duration::from_secs(3600);
        for round in 0..rounds {
            for question in &mut questions {
                let start = Instant::now();
                let frames = raw.query(question.sql).await;
                let seconds = start.elapsed().as_secs_f64();
                assert!(frames.iter().all(|f| f.tag != b'E'), "{} failed", question.name);
                let notice = frames.iter().find(|f| f.tag == b'N').and_then(|f| f.field(b'M'));
                let told = notice.as_deref().and_then(|text| text.parse::<f64>().ok());
                eprintln!(
                    "{} round {round}: {seconds:.2} s, expected {}",
                    question.name,
                    table::number(told, 2)
                );
                question.runs.push((seconds, told));
            }
        }
    });
    print(scale, rounds, &questions);
}

fn fill(lab: &Lab, scale: f64) {
    eprintln!("filling TPC-H at scale {scale}");
    lab.cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).unwrap();
    lab.cluster.sql(DATABASE, &TPCH.schema(scale)).unwrap();
    lab.cluster.sql(DATABASE, "VACUUM ANALYZE").unwrap();
    lab.cluster.sql(DATABASE, &format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {USER}")).unwrap();
}

fn plan(lab: &Lab, sql: &str) -> PlanFacts {
    let rows = lab.cluster.sql(DATABASE, &format!("EXPLAIN (FORMAT JSON) {sql}")).unwrap();
    read(rows[0][0].as_deref().unwrap().as_bytes(), &Surroundings::default()).unwrap()
}

/// What a guard that has seen all others and never this one would expect.
fn first_sight(questions: &[Question], of: usize) -> Option<f64> {
    let mut calibration = Calibration::default();
    for round in 0..questions[of].runs.len() {
        for (n, other) in questions.iter().enumerate().filter(|(n, _)| *n != of) {
            let _ = calibration.observe(n as u64, &other.plan, other.runs[round].0);
        }
    }
    calibration.expected_seconds(of as u64, &questions[of].plan)
}

/// The same if a unit of cost took equally long everywhere.
fn by_cost_alone(questions: &[Question], of: usize) -> Option<f64> {
    let others = questions.iter().enumerate().filter(|(n, _)| *n != of);
    let logs: Vec<f64> = others.map(|(_, q)| (q.seconds() / q.plan.total_cost).ln()).collect();
    #[allow(clippy::cast_precision_loss)]
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    Some(questions[of].plan.total_cost * mean.exp())
}

fn is_near(factor: &f64) -> bool {
    (1.0 / NEAR..=NEAR).contains(factor)
}

fn print(scale: f64, rounds: u32, questions: &[Question]) {
    let mut rows = Vec::new();
    let (mut first, mut alone, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for (n, question) in questions.iter().enumerate() {
        let seconds = question.seconds();
        let expected = first_sight(questions, n);
        let factor = expected.map(|e| e / seconds);
        let plain = by_cost_alone(questions, n).map(|e| e / seconds);
        first.extend(factor);
        alone.extend(plain);
        known.extend(question.known());
        rows.push(vec![
            question.name.into(),
            format!("{:.0}", question.plan.total_cost),
            table::number(Some(seconds), 2),
            table::number(expected, 2),
            table::number(factor, 2),
            table::number(plain, 2),
            table::ratio(&question.known()),
        ]);
    }
    let share = |factors: &[f64]| {
        format!("**{} of {}**", factors.iter().filter(|f| is_near(f)).count(), factors.len())
    };
    let summary = ["within a factor of 3", "", "", ""].map(String::from).into_iter();
    rows.push(summary.chain([share(&first), share(&alone), share(&known)]).collect());
    let head = [
        "question",
        "cost",
        "took, s",
        "first sight: expected, s",
        "x took",
        "x took, by cost alone",
        "known: x took",
    ];
    table::print(&format!("Expected seconds, TPC-H at scale {scale}, {rounds} rounds"), &head, &rows);
}
