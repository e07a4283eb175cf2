//! The same text to this reader, to Envoy and to Kubernetes' loader: do all make the same values of it?
//!
//! Envoy is asked by `--mode validate`: with a wrong `node` at its end a file is refused, and the message shows the whole file as JSON.
//! Kubernetes' loader is `testbed/go/yaml`, which takes Go. The public files are those in the Go modules of Istio and Envoy Gateway.

use super::{find::find, node::Node, scalar::Dialect, yaml};
use serde_json::Value;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A fault that makes Envoy show what it read.
const FAULT: &str = "\nnode: {cluster: yes}\n";
/// Public documents that Envoy is asked about one by one; Kubernetes' loader is asked about all.
const PUBLIC_TO_ENVOY: usize = 400;
/// Texts that Envoy is asked about at once.
const TOGETHER: usize = 20;

const SCALARS: &str = "0 00 007 010 08 0x40 0X4f 0xg 0b11 0o17 -0x10 +5 -5 5 1_000 1_ _1 1.5 1. .5 -.5 +.5 1e3 1E-3 1.5e+3 . .. - + 0. \
    2147483647 2147483648 -2147483648 -2147483649 9223372036854775807 9223372036854775808 18446744073709551615 99999999999999999999 \
    1e400 .inf -.inf .nan inf nan y Y yes Yes YES yEs n N no on On ON off true True TRUE tRUE false ~ null Null NULL nUll \
    2001-01-01 2001-12-14t21:59:43.10-05:00 12:30 190:20:30 1s 5m 64k 10% sha256:ab a:b a#b = <<x >x |x %x é 0x 0x_1 0b 0b2 1,000";

const FRAGMENTS: &[&str] = &[
    "a: {\n  \"b\": 1\n}",
    "a: [\n1,\n2\n]",
    "a:\n  b: {\n    \"c\": [1,\n  2]\n  }",
    "a: {\"b\":1}",
    "a: {\"b\": 1,}",
    "a: {b: , c}",
    "a: [b: 1, c]",
    "a: \"x\n  y\"",
    "a: \"x\ny\"",
    "a: \"x\n\n  y\\\n  z\"",
    "a: 'x\n\n  y'",
    "a: 'it''s'",
    "a: x\n  y\n  z",
    "a: \"\\u00e9\\x41\\n\\t\\/\\e\\0\"",
    "a: \"\\ud83d\\ude00\"",
    "a: \"\\q\"",
    "a: |\n  x\n  y",
    "a: |-\n  x\n  y\n",
    "a: |+\n  x\n\n",
    "a: >\n  x\n  y\n\n  z\n",
    "a: |2\n    x\n   y\n",
    "a: |\n\n  x\n   y\n",
    "a: |\n  010\nb: >-\n  yes",
    "a: !!str 010",
    "a: !!int \"5\"",
    "a: !!str \"yes\"",
    "a: ! 5",
    "a: ! \"5\"",
    "a: !own 5",
    "a: !own",
    "a: !!null x",
    "a: !!binary aGVsbG8=",
    "a: !!float 5",
    "a: !<tag:yaml.org,2002:str> 5",
    "a: !!map {b: 1}\nc: !!seq [1]\nd: !!set {x}",
    "!ignore a: 1\nb: 2",
    "a: {!ignore b: 1, c: 2}",
    "!own a: 1",
    "a: 1\na: 2",
    "a: 1\n\"a\": 2",
    "a: &x 1\nb: *x",
    "a: &x {b: 1}\nc: *x\nd: &x 2\ne: *x",
    "a: &x yes\nb: [*x, *x]",
    "a: *nothing",
    "a: &x [*x]",
    "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  b: 3",
    "a: &x {b: 1}\nd:\n  b: 3\n  <<: *x",
    "a: &x {b: 1}\nc: &y {b: 2, d: 4}\ne: {<<: [*x, *y]}",
    "a: {<<: 5}",
    "a: {\"<<\": {b: 1}}",
    "yes: 1\n010: 2\n1.5: 3",
    "a: {~: 1}",
    "a: {null: 1}",
    "? a\n: b",
    "? [a, b]\n: c",
    "? |\n  a\n: b",
    "a:\n- 1\n- 2",
    "a:\n  - b: 1\n    c: 2\n  -\n    d: 3",
    "a:\n- - 1\n  - 2\n- [3]",
    "a:\n  b: 1\n c: 2",
    "a:\n\tb: 1",
    "a: {\n\t\"b\": 1\n}",
    "a:\tb",
    "a: b\t# c",
    "a: b #c\nd: e#f",
    "a: b: c",
    "a: 'b' c",
    "a: \"b",
    "a: [1, 2",
    "a: }",
    "a: @b",
    "a: `b",
    "a: %b",
    "a: -b",
    "a: - b",
    "a: ?b\nc: :d",
    "a: x:y\nb: http://c/d",
    "a: [x:y, http://c/d]",
    "a: {x:y}",
    "a: [a:, b]",
    "a: \"b\":c",
    "a:b",
    "a :  b",
    "\"a\" : 1\n'b': 2",
    "a: \"\"\nb: ''\nc:",
    "a: \r\n  b: 1\r\nc: |\r\n  x\r\n  y\r\n",
    "a: x\u{a0}y\nb: \u{2028}z",
    "a: \u{feff}b",
    "a: 😀",
    "# c\na: 1 # d\n# e\n",
    "a:\n  # c\n  b: 1\n# d\n  c: 2",
    "a: [\n  # c\n  1, # d\n  2\n]",
    "a: -----BEGIN\n  x",
    "a: \"x\" \nb: 'y'  ",
    "a: []\nb: {}\nc: [[], {}]",
    "a: [1, 2, ]\nb: {c: 1, }",
    "a: [, 1]",
    "a: [1 2]\nb: {c d: 1}",
    "a: {? b : c}",
    "a: {b: [1, {c: yes}]}",
    "a: |\nb: 1",
    "a: >\n\n\nb: 1",
];

/// Where this reader is known to differ, and how.
const KNOWN: &[(&str, &str)] = &[
    ("a: \"\\ud83d\\ude00\"", "halves of a surrogate pair: read here, refused there"),
    ("a: [, 1]", "an entry without a value: refused here"),
    ("a: [-]\nb: {c: -}\n", "a lone dash in a flow collection: refused here"),
    ("a: [a:, b]", "a colon before a comma or a bracket ends a key here, and is text to Kubernetes"),
    ("addresses: [1.2.3.4, 001:db8::]", "the same"),
    ("\\e\\0\"", "\\/, an escape of JSON: refused by Kubernetes where the rest is YAML"),
    ("b: \u{2028}z", "ends a line in YAML 1.1 only"),
    ("99999999999999999999", "as a key: written with an exponent there"),
    (" clusterName: first-route-dest", "text behind the first document, which the loader never looks at"),
];

fn ours(text: &str, dialect: Dialect) -> Result<Value, String> {
    let documents = yaml::with_tabs(text, |text| yaml::read(text, Vec::new(), dialect));
    let documents = documents.map_err(|error| error.message)?;
    Ok(documents.first().map(Node::to_value).unwrap_or_default())
}

/// What Envoy shows that it read.
fn envoy(program: &Path, directory: &Path, text: &str) -> Result<Value, String> {
    let file = directory.join("case.yaml");
    std::fs::write(&file, text).expect("a file");
    let mut command = Command::new(program);
    let output = command.args(["--mode", "validate", "-l", "critical", "-c"]).arg(&file).output();
    let said = output.expect("Envoy runs").stderr;
    let said = String::from_utf8_lossy(&said);
    let shown = said.find("): {").and_then(|at| said.get(at + 3..));
    let mut shown = serde_json::Deserializer::from_str(shown.unwrap_or_default()).into_iter();
    shown.next().and_then(Result::ok).ok_or_else(|| said.lines().last().unwrap_or_default().to_owned())
}

/// What Kubernetes' loader makes of each text; nothing without Go.
fn kubernetes(texts: &[String]) -> Option<Vec<Result<Value, String>>> {
    let mut command = go(&["run", "."], "yaml");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: Kubernetes' loader is not asked, since there is no Go");
        return None;
    };
    let mut input = child.stdin.take().expect("a pipe");
    let request = serde_json::to_vec(texts).expect("JSON");
    let writing = std::thread::spawn(move || input.write_all(&request));
    let output = child.wait_with_output().expect("an end");
    writing.join().expect("written").expect("written");
    if !output.status.success() {
        eprintln!("SKIPPED: Kubernetes' loader is not asked, since it cannot be built (no Go modules?)");
        return None;
    }
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answers.len(), texts.len());
    let answer = |answer: Value| match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer.get("value").cloned().unwrap_or_default()),
    };
    Some(answers.into_iter().map(answer).collect())
}

fn go(arguments: &[&str], module: &str) -> Command {
    let mut command = Command::new("go");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/go").join(module);
    command.args(arguments).current_dir(directory);
    command
}

/// The same values; numbers by what they are, not by how they are written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

#[derive(Debug, Default)]
struct Tally {
    agreed: usize,
    both_refuse: usize,
    /// The text, and what each makes of it.
    differences: Vec<(String, String)>,
}

impl Tally {
    fn note(&mut self, text: &str, ours: &Result<Value, String>, theirs: &Result<Value, String>) {
        match (ours, theirs) {
            (Ok(one), Ok(other)) if same(one, other) => self.agreed += 1,
            (Err(_), Err(_)) => self.both_refuse += 1,
            _ => {
                let short = |what: &Result<Value, String>| match what {
                    Ok(value) => value.to_string().chars().take(200).collect::<String>(),
                    Err(error) => format!("refused: {}", error.chars().take(200).collect::<String>()),
                };
                let both = format!("here   {}\n    there  {}", short(ours), short(theirs));
                self.differences.push((text.to_owned(), both));
            }
        }
    }

    fn report(&self, who: &str) {
        let (agreed, refuse) = (self.agreed, self.both_refuse);
        let differences = self.differences.len();
        eprintln!("{who}: {agreed} read alike, {refuse} refused by both, {differences} differences");
        for (text, both) in &self.differences {
            eprintln!("  {:?}\n    {both}", text.chars().take(300).collect::<String>());
        }
    }
}

/// Each scalar plain, quoted, tagged, as a key, in lists and in flow maps.
fn scalars() -> Vec<String> {
    let texts = || SCALARS.split_whitespace();
    let file = |line: &dyn Fn(usize, &str) -> String| {
        texts().enumerate().map(|(n, text)| line(n, text) + "\n").collect::<String>()
    };
    let tags = ["", "!!str ", "!own ", "! "];
    let mut files = vec![
        file(&|n, text| format!("k{n}: \"{text}\"")),
        file(&|n, text| format!("k{n}: '{text}'")),
        file(&|n, text| format!("k{n}: !!str \"{text}\"")),
    ];
    // One by one: a single one that is refused must not hide the others.
    for text in texts() {
        for tag in tags {
            files.push(format!("a: {tag}{text}\nb:\n- {tag}{text}\n"));
        }
        files.push(format!("a: [{text}]\nb: {{c: {text}}}\n"));
        files.push(format!("a: {{{text}: 1}}\n"));
        files.push(format!("a:\n  {text}: 1\n  \"x{text}\": {text} # c\n"));
    }
    files
}

/// Documents of public files.
fn public() -> Vec<String> {
    let mut texts = Vec::new();
    for (module, name) in [("istio", "istio.io/istio"), ("envoy-gateway", "github.com/envoyproxy/gateway")] {
        let output = go(&["list", "-m", "-f", "{{.Dir}}", name], module).output();
        let directory = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let mut files = Vec::new();
        collect(Path::new(&directory.unwrap_or_default()), &mut files);
        if files.is_empty() {
            eprintln!("SKIPPED: no files of {name} (`go mod download` in testbed/go/{module})");
        }
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            texts.extend(text.split("\n---").map(|document| document.trim_start_matches('-').to_owned()));
        }
    }
    texts.retain(|text| !text.trim().is_empty() && text.len() < 200_000);
    texts
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
}

fn ask_envoy(texts: &[String]) -> Option<Tally> {
    let Some(program) = std::env::var_os("ENVOY").map(PathBuf::from) else {
        eprintln!("SKIPPED: Envoy is not asked, since ENVOY does not name one (. .tools/env.sh)");
        return None;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut tally = Tally::default();
    let ask = |text: &str| envoy(&program, directory.path(), &format!("{text}{FAULT}"));
    for some in texts.chunks(TOGETHER) {
        // Together if all is well, else one by one: each start of Envoy takes a tenth of a second.
        let readable = some.iter().filter(|text| ours(text, Dialect::Envoy).is_ok());
        let parts: Vec<String> = readable
            .enumerate()
            .map(|(n, text)| format!("\"part {n}\":\n  {}\n", text.replace('\n', "\n  ")))
            .collect();
        let together = parts.concat();
        let read = ours(&format!("{together}{FAULT}"), Dialect::Envoy);
        let agrees = matches!((&read, ask(&together)), (Ok(one), Ok(other)) if same(one, &other));
        tally.agreed += if agrees { parts.len() } else { 0 };
        for text in some.iter().filter(|text| !agrees || ours(text, Dialect::Envoy).is_err()) {
            let text = format!("{text}{FAULT}");
            tally.note(&text, &ours(&text, Dialect::Envoy), &envoy(&program, directory.path(), &text));
        }
    }
    tally.report("Envoy");
    Some(tally)
}

fn ask_kubernetes(texts: &[String]) -> Option<Tally> {
    let mut tally = Tally::default();
    for (text, theirs) in texts.iter().zip(kubernetes(texts)?) {
        tally.note(text, &ours(text, Dialect::Kubernetes), &theirs);
    }
    tally.report("Kubernetes");
    Some(tally)
}

/// No difference but the known ones; the number of those.
fn assert_known(tally: Option<Tally>) -> usize {
    let Some(tally) = tally else { return 0 };
    assert!(tally.agreed > 50, "too few to say anything");
    let unknown: Vec<_> = tally
        .differences
        .iter()
        .filter(|(text, _)| !KNOWN.iter().any(|(known, _)| text.contains(known)))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    tally.differences.len()
}

#[test]
fn fragments_are_read_as_envoy_and_kubernetes_do() {
    let texts: Vec<String> = FRAGMENTS.iter().map(|text| (*text).to_owned()).collect();
    assert_known(ask_envoy(&texts));
    assert_known(ask_kubernetes(&texts));
}

#[test]
fn scalars_are_read_as_envoy_and_kubernetes_do() {
    let texts = scalars();
    assert_known(ask_envoy(&texts));
    assert_known(ask_kubernetes(&texts));
}

#[test]
fn public_files_hold_nothing_of_ours() {
    for text in public() {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for document in yaml::parse(&text, Dialect::Envoy).unwrap_or_default() {
            assert_eq!(find(&document, &lines).0.len(), 0, "{text}");
        }
    }
}

#[test]
fn public_files_are_read_as_envoy_and_kubernetes_do() {
    let texts = public();
    let step = (texts.len() / PUBLIC_TO_ENVOY).max(1);
    let some: Vec<String> = texts.iter().step_by(step).cloned().collect();
    if !some.is_empty() {
        assert_known(ask_envoy(&some));
        assert_known(ask_kubernetes(&texts));
    }
}
