//! A mistake for programs: `check --json`, `test --json`.

use serde::Serialize;

use crate::document::Problem;

/// Places count from 1; they are absent where a mistake is in no file.
#[derive(Debug, Serialize)]
pub(super) struct Mistake {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl From<&Problem> for Mistake {
    fn from(problem: &Problem) -> Self {
        let start = problem.place();
        let end = problem.at.as_ref().map(|(source, span)| source.place(span.end));
        Self {
            severity: "error",
            file: problem.at.as_ref().map(|(source, _)| source.name.to_string()),
            line: start.map(|(line, _)| line),
            column: start.map(|(_, column)| column),
            end_line: end.map(|(line, _)| line),
            end_column: end.map(|(_, column)| column),
            message: problem.message.clone(),
            cure: problem.cure.clone(),
        }
    }
}
