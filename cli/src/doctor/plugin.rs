//! One use of the filter: its `PluginConfig`, and the policy it loads.

use super::{dump::type_of, finding::Finding, rules::Rule};
use crate::source::{self, Node, Problem};
use genesys_mtls_filter::policy::{Mode, Policy};
use serde_json::Value;
use std::{collections::HashMap, rc::Rc};

#[derive(Debug)]
pub struct Plugin<'d> {
    pub path: String,
    /// Its index among the chain's filters.
    pub position: usize,
    /// The `PluginConfig`.
    pub config: &'d Value,
    policy: Rc<Result<Policy, Vec<Problem>>>,
}

/// The plugins met so far, each read once.
#[derive(Default)]
pub struct Plugins(HashMap<*const Value, Option<Rc<Result<Policy, Vec<Problem>>>>>);

impl Plugins {
    /// Recognises the filter among others, given by name and configuration, by its names or its configuration.
    pub fn of<'d>(
        &mut self,
        filters: impl Iterator<Item = (&'d str, &'d Value)>,
        path: &str,
    ) -> Vec<Plugin<'d>> {
        let wasm = filters.enumerate().filter(|(_, (_, config))| type_of(config) == "Wasm");
        wasm.filter_map(|(position, (name, config))| {
            let config = config.get("config")?;
            let read = || source::recognise(&Node::from(config)).map(|found| Rc::new(source::load(&found)));
            let policy = self.0.entry(std::ptr::from_ref(config)).or_insert_with(read).clone()?;
            Some(Plugin { path: format!("{path}, filter {name}"), position, config, policy })
        })
        .collect()
    }
}

impl Plugin<'_> {
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref().as_ref().ok()
    }

    pub fn name(&self) -> &str {
        self.policy().map_or("(invalid)", |policy| &policy.name)
    }

    /// The filter state that a guard of this policy reads.
    pub fn verdict_key(&self) -> Option<String> {
        self.policy().map(|policy| format!("wasm.genesys_mtls.{}", policy.name))
    }

    pub fn is_shadow(&self) -> bool {
        self.policy().is_some_and(|policy| policy.mode == Mode::Shadow)
    }

    pub fn check(&self) -> Vec<Finding> {
        let Err(problems) = self.policy.as_ref() else { return Vec::new() };
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
