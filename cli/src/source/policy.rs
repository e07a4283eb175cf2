//! A located configuration to a policy, with every problem at its place.

use super::{File, Found, Mark, Node, find};
use crate::output::Usage;
use genesys_mtls_filter::{
    config::{self, ConfigError},
    policy::Policy,
};

/// How many shape errors of one configuration are looked for.
const MAX_ERRORS: usize = 50;

/// One thing wrong, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub message: String,
    pub mark: Mark,
}

/// Loads a configuration with the filter's own code.
///
/// The filter stops at the first field of the wrong shape. Here that field is taken out and the rest looked at again, so
/// that one run shows them all; what the fields mean together is judged once their shapes are right.
pub fn load(found: &Found) -> Result<Policy, Vec<Problem>> {
    let node = match &found.configuration {
        Ok(node) => node,
        Err((mark, message)) => {
            return Err(vec![Problem { path: String::new(), message: message.clone(), mark: *mark }]);
        }
    };
    let problems = shape_problems(node);
    if !problems.is_empty() {
        return Err(problems);
    }
    config::load(bytes(node))
        .map_err(|errors| errors.iter().map(|error| locate(node, error)).collect::<Vec<_>>())
}

fn bytes(node: &Node) -> Vec<u8> {
    node.to_value().to_string().into_bytes()
}

fn shape_problems(node: &Node) -> Vec<Problem> {
    let mut rest = node.clone();
    let mut problems: Vec<Problem> = Vec::new();
    while problems.len() < MAX_ERRORS {
        let Err(error) = config::parse(&bytes(&rest)) else { break };
        // What is missing may be missing because it was taken out.
        if !problems.is_empty() && error.message.starts_with("missing field") {
            break;
        }
        problems.push(locate(&rest, &error));
        if !rest.remove(&error.path) {
            break;
        }
    }
    problems
}

fn locate(node: &Node, error: &ConfigError) -> Problem {
    // Its position is one in the bytes that were made of the file.
    let message = error.message.clone();
    let prefer_key = message.starts_with("unknown field") || message.starts_with("missing field");
    let located = node.locate(&error.path);
    let path = if located.complete { located.path.clone() } else { error.path.clone() };
    Problem { path, message, mark: located.mark(prefer_key) }
}

/// The one policy of a file, or the one of this name.
pub fn select(path: &str, name: Option<&str>) -> Result<Policy, Usage> {
    let file = File::read(path)?
        .map_err(|(_, error)| Usage::new(format!("{path}:{}: {}", error.mark.line, error.message)))?;
    let found: Vec<Found> =
        file.documents.iter().flat_map(|document| find(document, &file.lines).0).collect();
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
