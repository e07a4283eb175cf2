//! The child process: started, watched, ended.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use crate::paths;

/// The pause between two looks at a condition.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Where the Envoy binary is: `ENVOY`, else the workspace's own under `.tools`, else PATH.
pub fn binary() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("ENVOY").map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("ENVOY={} is not a file", path.display()))
        };
    }
    let own = paths::workspace_root().join(".tools/envoy-1.40.0/envoy");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("envoy"));
    std::iter::once(own)
        .chain(on_path)
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "no Envoy: set ENVOY to a binary, or run `make provision`".to_owned())
}

/// The version of [`binary`], e.g. `1.40.0`.
///
/// # Panics
/// If there is no Envoy, or it does not say.
pub fn full_version() -> String {
    static VERSION: OnceLock<String> = OnceLock::new();
    let read = || {
        let binary = binary().unwrap_or_else(|what| panic!("{what}"));
        let output = Command::new(&binary).arg("--version").output();
        let output = output.unwrap_or_else(|e| panic!("{} --version: {e}", binary.display()));
        let text = String::from_utf8_lossy(&output.stdout);
        parse_version(&text).unwrap_or_else(|| panic!("no version in {text:?}")).to_owned()
    };
    VERSION.get_or_init(read).clone()
}

/// Its first two numbers, e.g. `(1, 40)`.
///
/// # Panics
/// As [`full_version`].
pub fn version() -> (u32, u32) {
    let full = full_version();
    let mut numbers = full.split('.').map(|n| n.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => panic!("{full} is not a version"),
    }
}

/// From `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn parse_version(text: &str) -> Option<&str> {
    text.split_once("version: ")?.1.split('/').nth(1)
}

/// An Envoy that ends with this value, and soon after this process should it be killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    watchdog: Option<Child>,
}

impl Process {
    pub fn start(mut command: Command, output: &Path, lifetime: Duration) -> io::Result<Self> {
        let out = File::create(output)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn()?;
        let watchdog = watch(child.id(), lifetime).ok();
        Ok(Self { child, watchdog })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended by itself.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Kills and reaps it.
    pub fn kill(&mut self) {
        // The watchdog first: once Envoy is reaped, its process id may belong to another process.
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it end by itself (after `/quitquitquit`); kills it if it does not.
    pub async fn finish(&mut self, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        while tokio::time::Instant::now() < deadline {
            if self.ended().is_some() {
                self.kill();
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill();
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A shell that waits on a pipe from this process. When this process dies the pipe closes, and Envoy is killed; the same
/// when `lifetime` has passed.
fn watch(pid: u32, lifetime: Duration) -> io::Result<Child> {
    let script = r#"
        if command -v timeout >/dev/null 2>&1; then timeout "$2" cat >/dev/null; else cat >/dev/null; fi
        kill -KILL "$1" 2>/dev/null
    "#;
    Command::new("sh")
        .args(["-c", script, "testbed-watchdog", &pid.to_string(), &lifetime.as_secs().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, time::Instant};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn the_watchdog_kills_when_its_pipe_closes_and_when_time_is_up() {
        let (mut first, mut second) = (sleeper(), sleeper());
        let mut orphaned = watch(first.id(), Duration::from_mins(1)).unwrap();
        let mut late = watch(second.id(), Duration::from_secs(1)).unwrap();
        drop(orphaned.stdin.take());
        let start = Instant::now();
        assert_eq!(first.wait().unwrap().signal(), Some(9));
        assert_eq!(second.wait().unwrap().signal(), Some(9));
        assert!(start.elapsed() < Duration::from_secs(30));
        orphaned.wait().unwrap();
        late.wait().unwrap();
    }

    #[test]
    fn a_version_is_read() {
        let text = "\nenvoy  version: 0123abcd/1.36.4/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(parse_version(text), Some("1.36.4"));
        assert_eq!(parse_version("envoy"), None);
    }
}
