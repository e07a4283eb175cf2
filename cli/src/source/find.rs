//! Where in a file the filter's configurations are: the file itself, an Envoy bootstrap, ECDS or LDS resource, an Istio
//! `WasmPlugin` or `EnvoyFilter`, or a config dump.

use super::{
    node::{Kind, Mark, Node},
    yaml,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A plugin configuration, and what it was found in.
#[derive(Debug)]
pub struct Found {
    /// In words, such as `WasmPlugin genesys-mtls`; empty if the file is the configuration.
    pub place: String,
    /// The configuration; an error where it is text that cannot be read.
    pub configuration: Result<Node, (Mark, String)>,
}

/// Every configuration of this filter in a document, and how many plugins are another filter's.
pub fn find(document: &Node, lines: &[String]) -> (Vec<Found>, usize) {
    if is_plain(document) {
        let found = Found { place: String::new(), configuration: Ok(document.clone()) };
        return (vec![found], 0);
    }
    let mut search = Search { lines, found: Vec::new(), others: 0 };
    search.visit(document, "");
    (search.found, search.others)
}

/// Looks at one `PluginConfig`; nothing if it is another filter's.
pub fn recognise(plugin: &Node) -> Option<Found> {
    let mut search = Search { lines: &[], found: Vec::new(), others: 0 };
    search.plugin(plugin, "");
    search.found.pop()
}

/// Whether a document is a plugin configuration by itself: it has a field of ours, and no sign of an envelope.
fn is_plain(document: &Node) -> bool {
    const OURS: [&str; 8] =
        ["regions", "refresh", "peer_certificate", "clock_skew", "identity", "revocation", "names", "mode"];
    const ENVELOPES: [&str; 9] = [
        "static_resources",
        "dynamic_resources",
        "resources",
        "configs",
        "kind",
        "@type",
        "http_filters",
        "vm_config",
        "typed_config",
    ];
    let has = |names: &[&str]| names.iter().any(|name| document.get(name).is_some());
    has(&OURS) && !has(&ENVELOPES)
}

/// Characters of the words that say where a configuration stands, and of each name in them.
const MAX_PLACE: usize = 200;

fn short(name: &str) -> String {
    name.chars().take(MAX_PLACE).collect()
}

struct Search<'l> {
    lines: &'l [String],
    found: Vec<Found>,
    others: usize,
}

impl Search<'_> {
    fn visit(&mut self, node: &Node, place: &str) {
        let type_name =
            |name: &str| node.get(name).and_then(Node::as_str).and_then(|t| t.rsplit(['.', '/']).next());
        let own_name = node.get("name").and_then(Node::as_str).map(short);
        let longer = own_name.filter(|name| place.len() < MAX_PLACE && !place.ends_with(&format!(" {name}")));
        let longer = longer.map(|name| if place.is_empty() { name } else { format!("{place} / {name}") });
        let place = longer.as_deref().unwrap_or(place);
        if node.get("kind").and_then(Node::as_str) == Some("WasmPlugin") {
            return self.wasm_plugin(node);
        }
        if let Some(kind) = node.get("kind").and_then(Node::as_str) {
            let name = node.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or("without a name");
            let place = format!("{} {}", short(kind), short(name));
            return node.children().into_iter().for_each(|child| self.visit(child, &place));
        }
        if type_name("@type") == Some("Wasm")
            && let Some(plugin) = node.get("config")
        {
            return self.plugin(plugin, place);
        }
        if type_name("type_url") == Some("Wasm")
            && let Some(plugin) = node.at(&["value", "config"])
        {
            return self.plugin(plugin, place);
        }
        for child in node.children() {
            self.visit(child, place);
        }
    }

    fn wasm_plugin(&mut self, resource: &Node) {
        let name = resource.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or("without a name");
        let place = format!("WasmPlugin {}", short(name));
        let configuration = resource.at(&["spec", "pluginConfig"]);
        let url = resource.at(&["spec", "url"]).and_then(Node::as_str).unwrap_or_default();
        if !configuration.is_some_and(is_plain) && !is_our_name(name) && !is_our_name(url) {
            self.others += 1;
            return;
        }
        let configuration = configuration.cloned().ok_or((
            resource.mark,
            "spec.pluginConfig is missing: the filter's settings go there".to_owned(),
        ));
        self.found.push(Found { place, configuration });
    }

    fn plugin(&mut self, plugin: &Node, place: &str) {
        let configuration = self.configuration(plugin);
        let names = [
            plugin.get("name"),
            plugin.get("root_id"),
            plugin.at(&["vm_config", "code", "local", "filename"]),
            plugin.at(&["vm_config", "code", "remote", "http_uri", "uri"]),
        ];
        let named = names.into_iter().flatten().filter_map(Node::as_str).any(is_our_name);
        if !named && !configuration.as_ref().is_ok_and(is_plain) {
            self.others += 1;
            return;
        }
        self.found.push(Found { place: place.to_owned(), configuration });
    }

    /// The configuration of a `PluginConfig`: a `Struct`, or JSON in a `StringValue` or `BytesValue`.
    fn configuration(&self, plugin: &Node) -> Result<Node, (Mark, String)> {
        let Some(any) = plugin.get("configuration") else {
            return Err((plugin.mark, "the plugin has no `configuration`: the filter's settings go there, as a google.protobuf.Struct".to_owned()));
        };
        let value = any.get("value").ok_or((
            any.mark,
            "`configuration` has no `value`: write \"@type\": type.googleapis.com/google.protobuf.Struct and the \
             settings under `value`"
                .to_owned(),
        ))?;
        let kind = any.get("@type").and_then(Node::as_str).and_then(|t| t.rsplit('.').next());
        let Some(text) = value.as_str() else { return Ok(value.clone()) };
        let decoded;
        let text = if kind == Some("BytesValue") {
            let bytes = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded = bytes.ok_or((value.mark, "the BytesValue is not text in base64".to_owned()))?;
            &decoded
        } else {
            text
        };
        // The filter takes JSON here, and nothing else.
        if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
            return Err(self.not_json(value, &error));
        }
        let mut documents = yaml::parse(text).map_err(|error| (value.mark, error.message))?;
        let mut inner = documents.pop().ok_or((value.mark, "the text is empty".to_owned()))?;
        inner.remark(&self.placement(value));
        Ok(inner)
    }

    fn not_json(&self, text: &Node, error: &serde_json::Error) -> (Mark, String) {
        let inside = Mark { line: error.line(), column: error.column().saturating_sub(1), width: 1 };
        let place = format!(" at line {} column {}", error.line(), error.column());
        let whole = error.to_string();
        // In a block the place is one of the file; in a text with escapes it has to be told.
        let is_block = matches!(text.kind, Kind::Block(_));
        let what = if is_block { whole.strip_suffix(&place).unwrap_or(&whole) } else { &whole };
        let fix = "StringValue and BytesValue hold JSON only; for YAML write \"@type\": \
                   type.googleapis.com/google.protobuf.Struct, and the settings under `value`";
        (self.placement(text)(inside), format!("the text is not JSON: {what}; {fix}"))
    }

    /// Where the inside of a text stands in the file: exactly for a block, at the text itself otherwise.
    fn placement(&self, text: &Node) -> impl Fn(Mark) -> Mark + use<> {
        let first_line = text.mark.line;
        let is_block = matches!(text.kind, Kind::Block(_));
        // The parser marks a block where its text begins or at its indicator, depending on its version.
        let indicator = self
            .lines
            .get(first_line.wrapping_sub(1))
            .is_some_and(|line| line.trim_end().trim_end_matches(['-', '+']).ends_with(['|', '>']));
        let offset = if indicator { first_line } else { first_line.saturating_sub(1) };
        let indent = self.lines.get(offset).map_or(0, |line| line.len() - line.trim_start().len());
        let outer = text.mark;
        move |inner| {
            if is_block {
                Mark { line: offset + inner.line, column: indent + inner.column, ..inner }
            } else {
                outer
            }
        }
    }
}

fn is_our_name(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("genesys_mtls") || text.contains("genesys-mtls")
}
