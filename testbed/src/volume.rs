//! A ConfigMap or Secret as the kubelet mounts it.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A directory of links into `..data`, which is itself a link: all files change at once, by one rename.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    versions: usize,
}

impl Volume {
    /// Makes the directory, with these files.
    pub fn new(dir: &Path, files: &[(&str, String)]) -> io::Result<Self> {
        fs::create_dir(dir)?;
        let mut volume = Self { dir: dir.to_owned(), versions: 0 };
        volume.publish(files)?;
        for (name, _) in files {
            symlink(Path::new("..data").join(name), dir.join(name))?;
        }
        Ok(volume)
    }

    /// Replaces all files.
    pub fn publish(&mut self, files: &[(&str, String)]) -> io::Result<()> {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.dir.join(&version))?;
        for (name, content) in files {
            fs::write(self.dir.join(&version).join(name), content)?;
        }
        symlink(version, self.dir.join("..data_tmp"))?;
        fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data"))
    }
}
