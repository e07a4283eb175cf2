//! Commands: run to their end, or left running.

use std::{
    env, fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::Failure;

pub fn is_on_path(name: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(name).is_file()))
}

/// Runs a command with an input; its output, or what it complains of.
pub fn run(command: &mut Command, input: &str) -> Result<String, Failure> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = [&output.stdout[..], &output.stderr].concat();
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&said)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `sh("ip", "link set lo up")`
pub fn sh(program: &str, arguments: &str) -> Result<String, Failure> {
    run(Command::new(program).args(arguments.split_whitespace()), "")
}

/// Starts a command whose output goes to a file.
pub fn start(command: &mut Command, log: &Path) -> Result<Child, Failure> {
    let out = fs::File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    command.spawn().map_err(|e| format!("{command:?}: {e}").into())
}

/// Asks again until the answer is yes.
pub fn until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), Failure> {
    let begun = Instant::now();
    while !ready() {
        if begun.elapsed() > limit {
            return Err(format!("{what}: not within {limit:?}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
