//! Finds files of one crate that import each other in a circle: `circles MANIFEST...`, exit code 1 if there is one.
//!
//! A file imports another if a path in it, in a `use` or elsewhere, leads to a module there. Tests are left out.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};
use syn::{Attribute, Item, UseTree, visit::Visit};

fn main() -> Result<ExitCode> {
    let mut circles = BTreeSet::new();
    for manifest in std::env::args().skip(1) {
        for root in roots(&manifest)? {
            let mut files = Crate::default();
            files.load(&root, &mut Vec::new(), &own_directory(&root, true))?;
            circles.extend(circle(&files.imports()));
        }
    }
    for circle in &circles {
        println!("circle: {}", circle.join(" -> "));
    }
    Ok(if circles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first files of all targets but tests and build scripts.
fn roots(manifest: &str) -> Result<Vec<PathBuf>> {
    let metadata = ["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path", manifest];
    let output = Command::new("cargo").args(metadata).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let targets = targets.filter(|target| target["kind"][0] != "custom-build");
    Ok(targets.filter_map(|target| target["src_path"].as_str()).map(PathBuf::from).collect())
}

/// Where the modules of a file are.
fn own_directory(file: &Path, is_root: bool) -> PathBuf {
    let is_mod = is_root || file.file_name().is_some_and(|name| name == "mod.rs");
    if is_mod { file.with_file_name("") } else { file.with_extension("") }
}

type Module = Vec<String>;

#[derive(Default)]
struct Crate {
    modules: BTreeMap<Module, PathBuf>,
    parsed: Vec<(Module, PathBuf, Vec<Item>)>,
}

impl Crate {
    fn load(&mut self, file: &Path, module: &mut Module, directory: &Path) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let items = syn::parse_file(&text).with_context(|| file.display().to_string())?.items;
        self.add(file, module, directory, items)
    }

    fn add(&mut self, file: &Path, module: &mut Module, directory: &Path, items: Vec<Item>) -> Result<()> {
        self.modules.insert(module.clone(), file.to_owned());
        let mut rest = Vec::new();
        for item in items {
            match item {
                Item::Mod(child) if !is_test(&child.attrs) => {
                    let name = child.ident.to_string();
                    module.push(name.clone());
                    if let Some((_, items)) = child.content {
                        self.add(file, module, &directory.join(&name), items)?;
                    } else {
                        let named = path_attribute(&child.attrs).map(|path| file.with_file_name(path));
                        let flat = directory.join(format!("{name}.rs"));
                        let deep = directory.join(&name).join("mod.rs");
                        let file = named.unwrap_or(if flat.exists() { flat } else { deep });
                        self.load(&file, module, &own_directory(&file, false))?;
                    }
                    module.pop();
                }
                Item::Mod(_) => {}
                other => rest.push(other),
            }
        }
        self.parsed.push((module.clone(), file.to_owned(), rest));
        Ok(())
    }

    /// Which files each file imports.
    fn imports(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut imports: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (module, file, items) in &self.parsed {
            let mut paths = Paths::default();
            for item in items {
                paths.visit_item(item);
            }
            let targets = paths.0.iter().filter_map(|path| self.resolve(module, path));
            imports
                .entry(file.clone())
                .or_default()
                .extend(targets.filter(|target| *target != file).cloned());
        }
        imports
    }

    /// The file of the last module on a path.
    fn resolve(&self, module: &Module, path: &[String]) -> Option<&PathBuf> {
        let (mut at, mut rest) = (module.clone(), path);
        if rest.first()? == "crate" {
            (at, rest) = (Module::new(), &rest[1..]);
        } else {
            let is_child =
                |name: &String| self.modules.contains_key(&[module.clone(), vec![name.clone()]].concat());
            if !["self", "super"].contains(&rest[0].as_str()) && !is_child(&rest[0]) {
                return None;
            }
        }
        for step in rest {
            match step.as_str() {
                "self" => {}
                "super" => drop(at.pop()),
                name => {
                    at.push(name.to_owned());
                    if !self.modules.contains_key(&at) {
                        at.pop();
                        break;
                    }
                }
            }
        }
        self.modules.get(&at)
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        attribute.path().is_ident("cfg") && text.starts_with("test") || attribute.path().is_ident("test")
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
        _ => None,
    }
}

/// All paths of some items.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn add_use(&mut self, before: &[String], tree: &UseTree) {
        let longer = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&longer(&path.ident), &path.tree),
            UseTree::Name(name) => self.0.push(longer(&name.ident)),
            UseTree::Rename(rename) => self.0.push(longer(&rename.ident)),
            UseTree::Glob(_) => self.0.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(item) if !is_test(&item.attrs) => self.add_use(&[], &item.tree),
            Item::Use(_) => {}
            Item::Fn(item) if is_test(&item.attrs) => {}
            Item::Impl(item) if is_test(&item.attrs) => {}
            item => syn::visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // One name alone is something that was imported or is in the same module.
        if path.segments.len() > 1 {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    /// Arguments of macros have no syntax tree, so names with `::` between them count as paths.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        let text = item.tokens.to_string().replace(" :: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let path: Vec<String> = word.split("::").map(str::to_owned).collect();
            if path.len() > 1 {
                self.0.push(path);
            }
        }
    }
}

/// The circles: from each file the shortest path back to it, each written once.
fn circle(imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> BTreeSet<Vec<String>> {
    let mut circles = BTreeSet::new();
    for start in imports.keys() {
        let mut ways = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(way) = (!ways.is_empty()).then(|| ways.remove(0)) {
            let next = way.last().and_then(|last| imports.get(*last)).into_iter().flatten();
            for next in next {
                if next == start {
                    // It starts at its first file, so that one circle always has one form.
                    let first = way.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(n, _)| n);
                    let turned = way[first..].iter().chain(&way[..=first]);
                    circles.insert(turned.map(|file| shown(file)).collect());
                    ways.clear();
                    break;
                }
                if seen.insert(next) {
                    ways.push([way.as_slice(), &[next]].concat());
                }
            }
        }
    }
    circles
}

fn shown(file: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(files: &[(&str, &[&str], &str)]) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut all = Crate::default();
        for (file, module, text) in files {
            let module: Module = module.iter().map(|name| (*name).to_owned()).collect();
            all.modules.insert(module.clone(), file.into());
            all.parsed.push((module, file.into(), syn::parse_file(text).expect("Rust").items));
        }
        all.imports()
    }

    #[test]
    fn child_that_imports_its_parent_is_a_circle() {
        for (parent, child, expected) in [
            ("use b::B;", "use super::A;", 1),
            ("pub use b::B;", "fn f() { crate::a::g() }", 1),
            ("use self::b::B;", "fn f() { println!(\"{}\", super::A) }", 1),
            ("use b::B;", "#[cfg(test)] use super::A;", 0),
            ("mod b;", "use crate::a::A;", 0),
            ("use b::B;", "use std::fmt;", 0),
        ] {
            let files: [(&str, &[&str], &str); 3] =
                [("lib.rs", &[], ""), ("a.rs", &["a"], parent), ("a/b.rs", &["a", "b"], child)];
            assert_eq!(circle(&imports(&files)).len(), expected, "{parent} {child}");
        }
    }

    #[test]
    fn circle_of_three_is_written_once() {
        let files: [(&str, &[&str], &str); 4] = [
            ("lib.rs", &[], ""),
            ("a.rs", &["a"], "use crate::b::B;"),
            ("b.rs", &["b"], "use super::c::{self, C};"),
            ("c.rs", &["c"], "use crate::{a::A, b};"),
        ];
        let circles = circle(&imports(&files));
        assert!(
            circles.contains(["a.rs", "b.rs", "c.rs", "a.rs"].map(str::to_owned).as_slice()),
            "{circles:?}"
        );
    }
}
