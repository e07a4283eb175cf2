//! Starting the binary, and comparing what it prints with a file.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}{}", self.stdout, self.stderr))
    }
}

/// Runs it in the directory of the fixtures, so that paths in its output are the same everywhere.
pub fn run(arguments: &[&str]) -> Outcome {
    run_with(arguments, "", &[])
}

pub fn run_with(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_genesys-mtls"))
        .args(arguments)
        .current_dir(directory("fixtures"))
        .env_remove("GENESYS_CLIENT_ID")
        .env_remove("GENESYS_CLIENT_SECRET")
        .env("COLUMNS", "100")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A run that needs no input may be over before it is written.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the binary ends");
    Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

pub fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Whether `UPDATE_GOLDEN=1` asks to write what should be compared.
pub fn updates_golden() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|what| what == "1")
}

/// Compares text with a golden file; `UPDATE_GOLDEN=1` writes the file instead.
pub fn assert_golden(name: &str, actual: &str) {
    let path = directory("golden").join(name);
    if updates_golden() {
        std::fs::write(&path, actual).expect("a golden file is written");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with UPDATE_GOLDEN=1", path.display()));
    assert!(expected == actual, "{name} differs\n--- expected\n{expected}\n--- actual\n{actual}");
}
