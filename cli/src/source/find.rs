//! Where in a document the filter's configurations are, in all that may hold them.

use super::{
    chart,
    file::dialect,
    node::{Kind, Mark, Node},
    scalar::Dialect,
    yaml,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use genesys_mtls_filter::regions;

/// A plugin configuration, and what it was found in.
#[derive(Debug)]
pub struct Found {
    /// In words, such as `WasmPlugin genesys-mtls`; empty if the file is the configuration.
    pub place: String,
    /// The configuration; an error where it is text that cannot be read.
    pub configuration: Result<Node, (Mark, String)>,
    /// Variables that the VM sees, and where they are named; nothing where the holder says nothing of them.
    pub variables: Option<(Vec<String>, Mark)>,
}

/// Every configuration of this filter in a document, and how many plugins are another filter's.
pub fn find(document: &Node, lines: &[String]) -> (Vec<Found>, usize) {
    let mut search = Search { lines, found: Vec::new(), others: 0, depth: 0 };
    if chart::is_values(document) {
        search.found("Helm values".to_owned(), Ok(chart::configuration(document)), None);
    } else if is_alone(document) {
        search.found(String::new(), Ok(document.clone()), None);
    } else {
        search.visit(document, "");
    }
    (search.found, search.others)
}

/// Looks at one `PluginConfig`; nothing if it is another filter's.
pub fn recognise(plugin: &Node) -> Option<Found> {
    let mut search = Search { lines: &[], found: Vec::new(), others: 0, depth: 0 };
    search.plugin(plugin, "");
    search.found.pop()
}

/// Options that no other product's configuration is likely to have.
const DISTINCTIVE: [&str; 5] = ["regions", "refresh", "peer_certificate", "clock_skew", "revocation"];
const COMMON: [&str; 4] = ["name", "names", "mode", "identity"];

/// Whether a document is a plugin configuration by itself, and nothing that holds one.
fn is_alone(document: &Node) -> bool {
    const HOLDERS: [&str; 9] = [
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
    let Kind::Map(entries) = &document.kind else { return false };
    let has = |names: &[&str]| names.iter().any(|name| entries.contains_key(*name));
    // Grafana's dashboards have a text under `refresh`.
    let is_option = |name: &&str| match entries.get(*name).map(|entry| &entry.node.kind) {
        Some(Kind::Map(_)) => true,
        Some(_) => *name != "refresh",
        None => false,
    };
    let only_ours = || !entries.is_empty() && entries.keys().all(|name| COMMON.contains(&name.as_str()));
    !has(&HOLDERS) && (DISTINCTIVE.iter().any(is_option) || only_ours())
}

/// Whether a value among others is one: regions that are known, or have authorities; or several of our options.
fn is_ours(node: &Node) -> bool {
    let Kind::Map(entries) = &node.kind else { return false };
    let region = |id: &str, region: &Node| {
        regions::by_id(id).is_some() || region.get("genesys").is_some() || region.get("digicert").is_some()
    };
    let has_regions = entries.get("regions").is_some_and(|regions| match &regions.node.kind {
        Kind::Map(regions) => regions.iter().any(|(id, entry)| region(id, &entry.node)),
        _ => false,
    });
    let distinctive = DISTINCTIVE.iter().filter(|name| entries.contains_key(**name)).count();
    has_regions || distinctive >= 2 && entries.contains_key("regions")
}

fn is_our_name(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("genesys_mtls") || text.contains("genesys-mtls")
}

/// Characters of the words that say where a configuration is, and of each name in them.
const MAX_PLACE: usize = 200;
/// Texts in texts: a Secret in a List in a ConfigMap is unlikely enough.
const MAX_DEPTH: usize = 4;

fn short(name: &str) -> String {
    name.chars().take(MAX_PLACE).collect()
}

struct Search<'l> {
    lines: &'l [String],
    found: Vec<Found>,
    others: usize,
    depth: usize,
}

impl Search<'_> {
    fn found(
        &mut self,
        place: String,
        configuration: Result<Node, (Mark, String)>,
        variables: Option<(Vec<String>, Mark)>,
    ) {
        self.found.push(Found { place, configuration, variables });
    }

    fn visit(&mut self, node: &Node, place: &str) {
        let type_name =
            |name: &str| node.get(name).and_then(Node::as_str).and_then(|t| t.rsplit(['.', '/']).next());
        if let Some(kind) = node.get("kind").and_then(Node::as_str)
            && ["apiVersion", "metadata", "spec"].iter().any(|field| node.get(field).is_some())
        {
            return self.resource(node, kind);
        }
        if type_name("@type") == Some("Wasm")
            && let Some(plugin) = node.get("config")
        {
            return self.plugin(plugin, &longer(place, node));
        }
        if type_name("type_url") == Some("Wasm")
            && let Some(plugin) = node.at(&["value", "config"])
        {
            return self.plugin(plugin, &longer(place, node));
        }
        if is_ours(node) {
            return self.found(place.to_owned(), Ok(node.clone()), None);
        }
        let place = longer(place, node);
        for child in node.children() {
            self.visit(child, &place);
        }
        if let Some(text) = node.as_str().filter(|text| text.contains('\n')) {
            self.text(text, "", node, &place);
        }
    }

    /// A Kubernetes resource. Its metadata may hold a copy of it, as it was applied last.
    fn resource(&mut self, resource: &Node, kind: &str) {
        let name = resource.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or("without a name");
        let place = format!("{} {}", short(kind), short(name));
        let spec = resource.get("spec");
        let wasm = spec.and_then(|spec| spec.get("wasm"));
        match (kind, spec, wasm) {
            ("WasmPlugin", Some(spec), _) => self.istio(name, spec, &place),
            ("TrafficExtension", _, Some(wasm)) => self.istio(name, wasm, &place),
            ("EnvoyExtensionPolicy", _, Some(wasm)) => {
                for extension in wasm.children() {
                    let names =
                        [&["name"][..], &["rootID"], &["code", "image", "url"], &["code", "http", "url"]];
                    let names = names.map(|path| extension.at(path));
                    let keys = extension.at(&["env", "hostKeys"]);
                    let keys = keys.map(Node::children).unwrap_or_default();
                    self.one(&names, extension, "config", &keys, &place);
                }
            }
            ("ConfigMap" | "Secret", ..) => self.data(resource, kind == "Secret", &place),
            _ => {
                let Kind::Map(fields) = &resource.kind else { return };
                for (_, entry) in fields.iter().filter(|(field, _)| *field != "metadata") {
                    self.visit(&entry.node, &place);
                }
            }
        }
    }

    /// The fields that both of Istio's resources have.
    fn istio(&mut self, name: &str, spec: &Node, place: &str) {
        let name = Node::from(&name.into());
        let names = [Some(&name), spec.get("url"), spec.get("pluginName")];
        let variables = spec.at(&["vmConfig", "env"]).map(Node::children).unwrap_or_default();
        let variables: Vec<&Node> = variables.into_iter().filter_map(|one| one.get("name")).collect();
        self.one(&names, spec, "pluginConfig", &variables, place);
    }

    fn one(&mut self, names: &[Option<&Node>], holder: &Node, field: &str, variables: &[&Node], place: &str) {
        let configuration = holder.get(field);
        let is_named = names.iter().flatten().filter_map(|name| name.as_str()).any(is_our_name);
        if !is_named && !configuration.is_some_and(is_ours) {
            self.others += 1;
            return;
        }
        let missing = || (holder.mark, format!("`{field}` is missing: the filter's settings go there"));
        let variables = variables.iter().filter_map(|name| name.as_str()).map(str::to_owned).collect();
        self.found(
            place.to_owned(),
            configuration.cloned().ok_or_else(missing),
            Some((variables, holder.mark)),
        );
    }

    /// Files in a ConfigMap or Secret.
    fn data(&mut self, resource: &Node, is_secret: bool, place: &str) {
        for (field, is_encoded) in [("data", is_secret), ("stringData", false), ("binaryData", true)] {
            let Some(Kind::Map(files)) = resource.get(field).map(|node| &node.kind) else { continue };
            for (name, entry) in files {
                let Some(text) = entry.node.as_str() else { continue };
                let place = format!("{place} / {}", short(name));
                if !is_encoded {
                    self.text(text, name, &entry.node, &place);
                } else if let Ok(bytes) = STANDARD.decode(text.split_ascii_whitespace().collect::<String>())
                    && let Some(text) = crate::input::text(&bytes)
                {
                    self.text(&text, name, &entry.node, &place);
                }
            }
        }
    }

    /// Looks for configurations in a text, if it is one that may hold them. A text that is none of that is no fault.
    fn text(&mut self, text: &str, name: &str, holder: &Node, place: &str) {
        let may_hold = text.contains("genesys") || DISTINCTIVE.iter().any(|name| text.contains(name));
        if !may_hold || self.depth >= MAX_DEPTH {
            return;
        }
        let documents = match yaml::parse(text, dialect(name, text)) {
            Ok(documents) => documents,
            Err(error) if is_our_name(text) && !name.is_empty() => {
                let mark = self.placement(holder).map_or(holder.mark, |place| place(error.mark));
                return self.found(place.to_owned(), Err((mark, error.message)), None);
            }
            Err(_) => return,
        };
        for mut document in documents {
            self.placed(&mut document, holder);
            self.depth += 1;
            if !name.is_empty() && is_alone(&document) {
                self.found(place.to_owned(), Ok(document), None);
            } else {
                self.visit(&document, place);
            }
            self.depth -= 1;
        }
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
        if !named && !configuration.as_ref().is_ok_and(is_ours) {
            self.others += 1;
            return;
        }
        let variables = plugin.at(&["vm_config", "environment_variables"]);
        let keys = variables.and_then(|variables| variables.get("host_env_keys")).map(Node::children);
        let mut names: Vec<String> =
            keys.iter().flatten().filter_map(|key| key.as_str()).map(str::to_owned).collect();
        if let Some(Kind::Map(values)) =
            variables.and_then(|all| all.get("key_values")).map(|node| &node.kind)
        {
            names.extend(values.keys().cloned());
        }
        let mark = variables.map_or(plugin.mark, |variables| variables.mark);
        self.found(place.to_owned(), configuration, Some((names, mark)));
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
        let mut documents =
            yaml::parse(text, Dialect::JsonText).map_err(|error| (value.mark, error.message))?;
        let mut inner = documents.pop().ok_or((value.mark, "the text is empty".to_owned()))?;
        self.placed(&mut inner, value);
        Ok(inner)
    }

    fn not_json(&self, text: &Node, error: &serde_json::Error) -> (Mark, String) {
        let inside = Mark { line: error.line(), column: error.column().saturating_sub(1), width: 1 };
        let place = format!(" at line {} column {}", error.line(), error.column());
        let whole = error.to_string();
        // In a block the place is one of the file; in a text with escapes it has to be said.
        let is_block = matches!(text.kind, Kind::Block(_));
        let what = if is_block { whole.strip_suffix(&place).unwrap_or(&whole) } else { &whole };
        let fix = "StringValue and BytesValue hold JSON only; for YAML write \"@type\": \
                   type.googleapis.com/google.protobuf.Struct, and the settings under `value`";
        let mark = self.placement(text).map_or(text.mark, |place| place(inside));
        (mark, format!("the text is not JSON: {what}; {fix}"))
    }

    /// Gives what was read out of a text its places in the file: the text's own one, where it is no block.
    fn placed(&self, inner: &mut Node, holder: &Node) {
        match self.placement(holder) {
            Some(change) => inner.remark(&change),
            None => inner.collapse(holder.mark),
        }
    }

    /// Where the inside of a block is in the file; nothing for another text.
    fn placement(&self, text: &Node) -> Option<impl Fn(Mark) -> Mark + use<>> {
        let Kind::Block(content) = &text.kind else { return None };
        let first_line = text.mark.line;
        // The parser marks a block where its text begins or at its indicator, depending on its version.
        let indicator = self
            .lines
            .get(first_line.wrapping_sub(1))
            .is_some_and(|line| line.trim_end().trim_end_matches(['-', '+']).ends_with(['|', '>']));
        let offset = if indicator { first_line } else { first_line.saturating_sub(1) };
        let own = content.lines().next().map_or(0, |line| line.len() - line.trim_start().len());
        let indent = self.lines.get(offset).map_or(0, |line| line.len() - line.trim_start().len());
        let indent = indent.saturating_sub(own);
        Some(move |inner: Mark| Mark { line: offset + inner.line, column: indent + inner.column, ..inner })
    }
}

fn longer(place: &str, node: &Node) -> String {
    let own_name = node.get("name").and_then(Node::as_str).map(short);
    let longer = own_name.filter(|name| place.len() < MAX_PLACE && !place.ends_with(&format!(" {name}")));
    match longer {
        None => place.to_owned(),
        Some(name) if place.is_empty() => name,
        Some(name) => format!("{place} / {name}"),
    }
}
