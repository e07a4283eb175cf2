//! One use of the filter: its `PluginConfig`, and the policy it loads.

use super::{finding::Finding, rules::Rule};
use crate::source::{self, Node, Problem};
use genesys_mtls_filter::policy::{Mode, Policy};
use serde_json::Value;

#[derive(Debug)]
pub struct Plugin {
    /// Where it stands, for people.
    pub path: String,
    /// Its place among the chain's filters.
    pub position: usize,
    /// The `PluginConfig`.
    pub config: Value,
    pub policy: Result<Policy, Vec<Problem>>,
}

impl Plugin {
    /// Recognises the filter by its names or its configuration.
    pub fn recognise(config: &Value, path: &str, position: usize) -> Option<Self> {
        let found = source::recognise(&Node::from(config))?;
        let policy = source::load(&found);
        Some(Self { path: path.to_owned(), position, config: config.clone(), policy })
    }

    pub fn name(&self) -> &str {
        self.policy.as_ref().map_or("(invalid)", |policy| &policy.name)
    }

    /// The filter state that a guard of this policy reads.
    pub fn verdict_key(&self) -> Option<String> {
        self.policy.as_ref().ok().map(|policy| format!("wasm.genesys_mtls.{}", policy.name))
    }

    pub fn is_shadow(&self) -> bool {
        self.policy.as_ref().is_ok_and(|policy| policy.mode == Mode::Shadow)
    }

    pub fn check(&self) -> Vec<Finding> {
        let Err(problems) = &self.policy else { return Vec::new() };
        problems
            .iter()
            .map(|problem| {
                Finding::new(
                    Rule::InvalidConfiguration,
                    &self.path,
                    format!("{}: {}", problem.path, problem.message),
                    "correct it (`genesys-mtls check`): Envoy skips a filter whose configuration fails, and only the \
                     guard then refuses",
                )
            })
            .collect()
    }
}
