//! A wall clock for one Envoy that a test can set.

use std::{
    fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Envoy's wall clock: a library between Envoy and the system moves it. The clock that intervals are measured by stays as it
/// is, as it does when a host's clock is set.
#[derive(Debug)]
pub struct WallClock {
    pub(super) library: PathBuf,
    pub(super) shift: PathBuf,
}

impl WallClock {
    /// Compiles the library into a directory, which has to stay as long as Envoy runs.
    ///
    /// # Errors
    /// If the C compiler fails, or the directory cannot be written to.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let clock = Self { library: dir.join("wall_clock.so"), shift: dir.join("wall_clock.shift") };
        let source = dir.join("wall_clock.c");
        fs::write(&source, include_str!("wall_clock.c"))?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).args([&clock.library, &source]);
        let status = compile.status()?;
        if !status.success() {
            return Err(io::Error::other(format!("{compile:?}: {status}")));
        }
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead of the system's.
    ///
    /// # Errors
    /// If its file cannot be written.
    pub fn set(&self, ahead: i64) -> io::Result<()> {
        // In place: Envoy has the file mapped.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.shift)?;
        file.write_all_at(&ahead.to_ne_bytes(), 0)
    }
}
