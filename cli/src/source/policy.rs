//! A located configuration to a policy, with every problem at its place.

use super::{
    file::File,
    find::{Found, find},
    hints::hint,
    node::{Kind, Mark, Node},
};
use crate::output::Usage;
use genesys_mtls_filter::{
    config::{self, ConfigError, ErrorKind},
    policy::Policy,
};

/// One thing wrong, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub message: String,
    pub mark: Mark,
}

/// Loads a configuration with the filter's own code. Problems come in the order of the file.
pub fn load(found: &Found) -> Result<Policy, Vec<Problem>> {
    let node = match &found.configuration {
        Ok(node) => node,
        Err((mark, message)) => {
            return Err(vec![Problem { path: String::new(), message: message.clone(), mark: *mark }]);
        }
    };
    config::load(node.to_value().to_string().into_bytes()).map_err(|errors| {
        let mut problems: Vec<Problem> = errors.into_iter().map(|error| problem(node, error)).collect();
        problems.sort_by_key(|problem| (problem.mark.line, problem.mark.column));
        problems
    })
}

/// Keys that are written twice: every loader takes the last one without a word.
pub fn doubled(node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    collect(node, "", &mut problems);
    problems
}

fn collect(node: &Node, path: &str, problems: &mut Vec<Problem>) {
    match &node.kind {
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), problems);
            }
        }
        Kind::Map(entries) => {
            for (name, entry) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if let Some(earlier) = entry.earlier {
                    let message =
                        format!("is written twice, first in line {}: only this one counts", earlier.line);
                    problems.push(Problem { path: path.clone(), message, mark: entry.key });
                }
                collect(&entry.node, &path, problems);
            }
        }
        Kind::Scalar(_) | Kind::Block(_) => {}
    }
}

/// The error with its place in the file. Its own position is one in the bytes that were made of the file.
fn problem(node: &Node, error: ConfigError) -> Problem {
    let prefer_key = matches!(error.kind, ErrorKind::UnknownField { .. } | ErrorKind::MissingField);
    let mark = node.locate(&error.path, prefer_key);
    Problem { message: error.message + &hint(&error.kind), path: error.path, mark }
}

/// The one policy of a file, or the one of this name.
pub fn select(path: &str, name: Option<&str>) -> Result<Policy, Usage> {
    let files = File::read_all(path)?;
    let mut found: Vec<Found> = Vec::new();
    for file in &files {
        let documents = file
            .documents
            .as_ref()
            .map_err(|error| Usage::new(format!("{}:{}: {}", file.path, error.mark.line, error.message)))?;
        found.extend(documents.iter().flat_map(|document| find(document, &file.lines).0));
    }
    if found.is_empty() {
        return Err(Usage::new(format!("{path} holds no configuration of this filter")));
    }
    let mut policies = Vec::new();
    for one in &found {
        policies.push(load(one).map_err(|problems| {
            let first = problems.first().map_or(String::new(), |p| format!("{}: {}", p.path, p.message));
            Usage::new(format!("{path}: {first} (`genesys-mtls check {path}` shows all that is wrong)"))
        })?);
    }
    let names: Vec<String> = policies.iter().map(|policy| policy.name.clone()).collect();
    let mut matching = policies.into_iter().filter(|policy| name.is_none_or(|name| policy.name == name));
    match (matching.next(), matching.next()) {
        (Some(policy), None) => Ok(policy),
        // The same policy in several listeners is one policy.
        (Some(policy), Some(second))
            if policy.digest == second.digest && matching.all(|p| p.digest == policy.digest) =>
        {
            Ok(policy)
        }
        (Some(_), Some(_)) => Err(Usage::new(format!(
            "{path} holds several policies ({}): choose one with --policy",
            names.join(", ")
        ))),
        (None, _) => Err(Usage::new(format!(
            "{path} holds no policy `{}`, only {}",
            name.unwrap_or_default(),
            names.join(", ")
        ))),
    }
}
