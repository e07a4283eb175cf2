//! The images that `make oci` packs hold the module where Istio looks for it, and the same module gives the same images.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use testbed::paths;

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// An OCI image layout, and what was said when it was made.
struct Layout {
    directory: PathBuf,
    said: String,
}

impl Layout {
    fn pack(directory: PathBuf) -> Self {
        let script = paths::workspace_root().join("scripts/oci.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(&directory).env("GENESYS_MTLS_WASM", paths::wasm_module());
        let output = command.output().expect("bash runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { directory, said: String::from_utf8(output.stdout).expect("UTF-8") }
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.directory.join(file)).expect(file)).expect("JSON")
    }

    /// The blob that a descriptor names, checked as a client that pulls it does.
    fn blob(&self, descriptor: &Value, media_type: &str, seen: &mut BTreeSet<String>) -> Vec<u8> {
        assert_eq!(descriptor["mediaType"], media_type);
        let digest = descriptor["digest"]
            .as_str()
            .and_then(|digest| digest.strip_prefix("sha256:"))
            .expect("a digest");
        let bytes = fs::read(self.directory.join("blobs/sha256").join(digest)).expect("a blob");
        assert_eq!(
            (sha256(&bytes).as_str(), descriptor["size"].as_u64()),
            (digest, Some(bytes.len() as u64))
        );
        seen.insert(digest.to_owned());
        bytes
    }

    /// The manifest with this tag.
    fn manifest(&self, tag: &str, seen: &mut BTreeSet<String>) -> Value {
        let index = self.json("index.json");
        let manifests = index["manifests"].as_array().expect("manifests");
        let tagged = |m: &&Value| m["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let descriptor = manifests.iter().find(tagged).unwrap_or_else(|| panic!("no {tag} in {index}"));
        // What `sha256` of a WasmPlugin is compared with.
        let digest = descriptor["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        assert!(self.said.contains(digest), "{}", self.said);
        let bytes = self.blob(descriptor, "application/vnd.oci.image.manifest.v1+json", seen);
        let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(manifest["mediaType"], descriptor["mediaType"]);
        manifest
    }
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn both_images_hold_the_module_where_istio_looks_for_it() {
    let scratch = tempfile::tempdir().expect("a directory");
    let layout = Layout::pack(scratch.path().join("oci"));
    let module = fs::read(paths::wasm_module()).expect("the module");
    assert_eq!(layout.json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let version = env!("CARGO_PKG_VERSION");
    let mut seen = BTreeSet::new();

    let image = layout.manifest(version, &mut seen);
    let [layer] = image["layers"].as_array().expect("layers").as_slice() else { panic!("{image}") };
    let compressed = layout.blob(layer, "application/vnd.oci.image.layer.v1.tar+gzip", &mut seen);
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(compressed.as_slice()).read_to_end(&mut archive).expect("gzip");
    let config = layout.blob(&image["config"], "application/vnd.oci.image.config.v1+json", &mut seen);
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([format!("sha256:{}", sha256(&archive))]));
    let mut names = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        names.push(entry.path().expect("a path").display().to_string());
        let header = entry.header();
        assert_eq!(
            (header.mode().ok(), header.uid().ok(), header.mtime().ok()),
            (Some(0o644), Some(0), Some(0))
        );
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        assert!(content == module, "the image holds another module");
    }
    assert_eq!(names, ["plugin.wasm"]);

    let artifact = layout.manifest(&format!("{version}-artifact"), &mut seen);
    let [config, layer] = artifact["layers"].as_array().expect("layers").as_slice() else {
        panic!("{artifact}")
    };
    for config in [config, &artifact["config"]] {
        let config = layout.blob(config, "application/vnd.module.wasm.config.v1+json", &mut seen);
        assert_eq!(serde_json::from_slice::<Value>(&config).expect("JSON")["type"], "envoy_proxy");
    }
    let content = layout.blob(layer, "application/vnd.module.wasm.content.layer.v1+wasm", &mut seen);
    assert!(content == module, "the artifact holds another module");

    let blobs = files(&layout.directory.join("blobs/sha256"));
    let blobs =
        blobs.iter().map(|(path, _)| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned());
    assert_eq!(blobs.collect::<BTreeSet<_>>(), seen, "nothing else is shipped");
}

#[test]
fn same_module_gives_the_same_images_and_archive_layout() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [one, two] = ["one", "two"].map(|name| Layout::pack(scratch.path().join(name)));
    let read = |name: &str| fs::read(scratch.path().join(name)).expect(name);
    assert!(read("one.tar") == read("two.tar"), "the archives differ");
    let unpacked = scratch.path().join("unpacked");
    tar::Archive::new(read("one.tar").as_slice()).unpack(&unpacked).expect("a tar");
    let below = |directory: &Path| {
        let names = files(directory).into_iter();
        names
            .map(|(path, bytes)| (path.strip_prefix(directory).expect("below").to_owned(), bytes))
            .collect::<Vec<_>>()
    };
    assert!(below(&unpacked) == below(&one.directory) && below(&one.directory) == below(&two.directory));
}
