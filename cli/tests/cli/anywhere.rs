//! `check` finds the configuration in everything that holds it, and reads it as the platform does.

use crate::run::{run, run_with};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::io::{Read as _, Write as _};

const POLICY: &str = "regions:\n  us-east-1:\n    digicert: {pins: [\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"]}\nmode: MODE\n";

fn indented(text: &str, by: usize) -> String {
    text.lines().fold(String::new(), |text, line| text + &" ".repeat(by) + line + "\n")
}

fn json(text: &str) -> String {
    "{\"regions\": {\"us-east-1\": {\"digicert\": {\"pins\": [\"sha256:".to_owned()
        + &"0".repeat(64)
        + "\"]}}},\n\t\"mode\": \""
        + text
        + "\"}"
}

/// Each holder, with a policy of this mode in it, and the line of the mode.
fn holders(mode: &str) -> Vec<(&'static str, String, usize)> {
    let policy = POLICY.replace("MODE", mode);
    let in_four = indented(&policy, 4);
    let wasm = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\nconfig:\n  configuration:\n    \"@type\": type.googleapis.com/google.protobuf.Struct\n    value:\n";
    let wasm = format!("{wasm}{}", indented(&policy, 6));
    vec![
        ("alone", policy.clone(), 4),
        ("alone, as JSON", json(mode), 2),
        ("typed", wasm.clone(), 9),
        (
            "WasmPlugin",
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: x}}\nspec:\n  pluginConfig:\n{in_four}"
            ),
            9,
        ),
        (
            "WasmPlugin, with JSON closed at the parent's column",
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: x}}\nspec:\n  pluginConfig: {}\n",
                json(mode)
            ),
            6,
        ),
        (
            "TrafficExtension",
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{name: x}}\nspec:\n  wasm:\n    pluginConfig:\n{}",
                indented(&policy, 6)
            ),
            10,
        ),
        (
            "EnvoyExtensionPolicy",
            format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {{name: x}}\nspec:\n  wasm:\n  - name: other\n    config: {{mode: monitor}}\n  - name: x\n    config:\n{}",
                indented(&policy, 6)
            ),
            13,
        ),
        (
            "List",
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: extensions.istio.io/v1alpha1\n  kind: WasmPlugin\n  metadata: {{name: x, annotations: {{kubectl.kubernetes.io/last-applied-configuration: '{{\"regions\": 1}}'}}}}\n  spec:\n    pluginConfig:\n{}",
                indented(&policy, 6)
            ),
            12,
        ),
        (
            "ConfigMap",
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n  policy.yaml: |\n{in_four}"
            ),
            9,
        ),
        (
            "ConfigMap with Envoy's file",
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n  envoy.yaml: |\n{}",
                indented(&wasm, 4)
            ),
            14,
        ),
        (
            "Secret",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\ndata:\n  policy.yaml: {}\n",
                STANDARD.encode(&policy)
            ),
            5,
        ),
        (
            "Secret in clear",
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\nstringData:\n  policy.yaml: |\n{in_four}"
            ),
            9,
        ),
        ("Helm values", format!("replicas: 2\ngateway:\n  filter:\n{in_four}"), 7),
        (
            "Helm values in a text",
            format!(
                "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: x}}\nspec:\n  values: |\n    filter:\n{}",
                indented(&policy, 6)
            ),
            10,
        ),
    ]
}

#[test]
fn configurations_are_found_in_every_holder() {
    for (holder, text, _) in holders("shadow") {
        let outcome = run_with(&["check", "-", "--json"], &text, &[]);
        assert_eq!(outcome.code, 0, "{holder}: {}{}\n{text}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.json()["configurations"].as_array().map(Vec::len), Some(1), "{holder}");
    }
}

#[test]
fn faults_are_shown_at_their_line_in_every_holder() {
    for (holder, text, line) in holders("shadwo") {
        let outcome = run_with(&["check", "-", "--json"], &text, &[]);
        assert_eq!(outcome.code, 1, "{holder}: {}{}\n{text}", outcome.stdout, outcome.stderr);
        let error = outcome.json()["configurations"][0]["errors"][0].clone();
        assert_eq!(
            (error["path"].as_str(), error["line"].as_u64()),
            (Some("mode"), Some(line as u64)),
            "{holder}: {error}"
        );
    }
}

#[test]
fn plugin_of_another_product_is_not_taken_for_ours() {
    for config in [
        "{mode: monitor}",
        "{mode: monitor, name: x, identity: {header: y}}",
        "{regions: [eu, us]}",
        "{regions: {eu: {weight: 1}}}",
    ] {
        for text in [
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: waf}}\nspec: {{pluginConfig: {config}}}\n"
            ),
            format!(
                "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {{name: waf}}\nspec: {{wasm: [{{name: waf, config: {config}}}]}}\n"
            ),
        ] {
            let outcome = run_with(&["check", "-"], &text, &[]);
            assert_eq!(outcome.code, 2, "{text}: {}", outcome.stdout);
            assert!(outcome.stderr.contains("1 other wasm plugin(s)"), "{}", outcome.stderr);
        }
    }
}

#[test]
fn values_are_those_of_the_platforms_own_loader() {
    let held = "regions: {us-east-1: {digicert: {pins: [api]}}}, refresh: {on_unknown_certificate: {max_held: VALUE}}";
    let envoy = "\"@type\": x.Wasm\nconfig: {name: genesys_mtls, vm_config: {environment_variables: {host_env_keys: [GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET]}}, configuration: {value: {HELD}}}\n";
    let kubernetes = "apiVersion: x/v1\nkind: WasmPlugin\nmetadata: {name: x}\nspec: {vmConfig: {env: [{name: GENESYS_CLIENT_ID}, {name: GENESYS_CLIENT_SECRET}]}, pluginConfig: {HELD}}\n";
    // Written; whether Envoy and Kubernetes load a number from it.
    for (value, by_envoy, by_kubernetes) in [
        ("64", true, true),
        ("010", true, true),
        ("0x40", true, true),
        ("1_0", false, true),
        ("64.0", false, true),
        ("'64'", false, false),
        ("!!int '64'", true, true),
        ("!!str 64", true, false),
        ("yes", false, false),
    ] {
        for (holder, loads) in [(envoy, by_envoy), (kubernetes, by_kubernetes)] {
            let text = holder.replace("HELD", &held.replace("VALUE", value));
            let outcome = run_with(&["check", "-"], &text, &[]);
            assert_eq!(outcome.code == 0, loads, "{text}: {}{}", outcome.stdout, outcome.stderr);
        }
    }
    let alone = format!("regions: {{us-east-1: {{digicert: {{pins: [api]}}}}}}\nclock_skew: {}\n", "010s");
    assert!(!run_with(&["check", "-"], &alone, &[]).stdout.contains("Kubernetes"));
    let alone = "regions: {us-east-1: {digicert: {pins: [api]}}}\nrefresh: {on_unknown_certificate: {max_held: !!str 64}}\n";
    let outcome = run_with(&["check", "-"], alone, &[]);
    assert!(outcome.stdout.contains("is 64 to Envoy, and \"64\" to Kubernetes"), "{}", outcome.stdout);
}

/// `egctl` prints Protobuf's JSON names; Envoy takes them as well.
#[test]
fn camel_case_is_read_as_envoy_reads_it() {
    let plugin = |keys: &str| {
        let plugin = r#"{"configs": [{"dynamicListeners": [{"typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"rootId": "genesys_mtls", "vmConfig": {"environmentVariables": {"hostEnvKeys": KEYS}},
            "configuration": {"@type": "type.googleapis.com/google.protobuf.Struct",
            "value": {"regions": {"us-east-1": {"digicert": {"pins": ["api"]}}}}}}}}]}]}"#;
        run_with(&["check", "-"], &plugin.replace("KEYS", keys), &[])
    };
    let outcome = plugin(r#"["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET"]"#);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert!(plugin(r#"["GENESYS_CLIENT_ID"]"#).stdout.contains("does not see `GENESYS_CLIENT_SECRET`"));
}

#[test]
fn values_of_the_chart_are_checked_as_what_it_makes_of_them() {
    let values = "platform: istio\nrollout: D\nregions:\n  - id: us-east-1\n    digicert: {pins: [PIN]}\n  - id: eu-central-1\n    digicert: {pins: [api]}\n";
    assert_eq!(run_with(&["check", "-"], &values.replace("PIN", "api"), &[]).code, 0);
    let outcome = run_with(&["check", "-", "--json"], &values.replace("PIN", "apo"), &[]);
    let error = outcome.json()["configurations"][0]["errors"][0].clone();
    assert_eq!((outcome.code, error["line"].as_u64()), (1, Some(5)), "{error}");
}

#[test]
fn key_written_twice_is_an_error_in_our_configuration_only() {
    let text = POLICY.replace("MODE", "shadow");
    assert_eq!(run_with(&["check", "-"], &format!("{text}mode: enforce\n"), &[]).code, 1);
    let around = format!("x: 1\nx: 2\nfilter:\n{}", indented(&text, 2));
    assert_eq!(run_with(&["check", "-"], &around, &[]).code, 0);
}

#[test]
fn windows_encodings_are_read() {
    let text = POLICY.replace("MODE", "shadow");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("policy.yaml");
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    for bytes in [utf16, [b"\xef\xbb\xbf", text.replace('\n', "\r\n").as_bytes()].concat()] {
        std::fs::write(&file, bytes).expect("a file");
        let outcome = run(&["check", file.to_str().expect("text")]);
        assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    }
}

#[test]
fn urls_are_read_and_named_where_their_scheme_lacks() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let _ = stream.read(&mut [0; 2048]);
        let body = POLICY.replace("MODE", "shadow");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).expect("written");
    });
    let outcome = run(&["check", &format!("http://{address}/policy")]);
    serving.join().expect("served");
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    let outcome = run(&["check", "localhost:9901/config_dump"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("write http://localhost:9901/config_dump"), "{}", outcome.stderr);
}

/// One fault of many thousands is as quick to show as one alone, and as short.
#[test]
fn answer_to_one_long_line_is_short() {
    let regions: Vec<String> =
        (0..20_000).map(|n| format!(r#""xx-region-{n}":{{"genesys":{{}}}}"#)).collect();
    let text = format!("{{\"regions\":{{{}}}}}", regions.join(","));
    let outcome = run_with(&["check", "-"], &text, &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.len() < 100_000, "{} bytes", outcome.stdout.len());
    assert!(outcome.stdout.contains("... and 19950 more"), "{}", outcome.stdout);
}

#[test]
fn name_of_a_file_steers_no_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a\u{1b}[2Kb.yaml");
    for text in [POLICY.replace("MODE", "shadow"), POLICY.to_owned(), "a: [".to_owned(), "a: 1".to_owned()] {
        std::fs::write(&file, text).expect("a file");
        let outcome = run(&["check", file.to_str().expect("text"), directory_text(&directory)]);
        assert!(!(outcome.stdout + &outcome.stderr).contains('\u{1b}'));
    }
}

fn directory_text(directory: &tempfile::TempDir) -> &str {
    directory.path().to_str().expect("text")
}
