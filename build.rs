//! Checks `src/regions.csv`, turns it into a Rust table, and stamps the build with the commit it came from.

use std::{collections::BTreeSet, env, error::Error, fmt::Write as _, fs, path::Path, process::Command};

/// The number of Genesys Cloud's regions in this release. The build fails if an edit loses or repeats a row.
const REGIONS: usize = 18;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/index");
    println!("cargo:rerun-if-env-changed=GENESYS_MTLS_COMMIT");

    let table = region_table(&fs::read_to_string("src/regions.csv")?)
        .map_err(|reason| format!("src/regions.csv: {reason}"))?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("regions.rs"), table)?;

    let commit = env::var("GENESYS_MTLS_COMMIT").ok().or_else(git_commit).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=GENESYS_MTLS_BUILD={}+{commit}", env::var("CARGO_PKG_VERSION")?);
    Ok(())
}

/// The short commit, marked if the tree differs from it; empty outside a git checkout.
fn git_commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock", "build.rs"])?;
    Some(if changed.is_empty() { commit } else { commit + "-modified" })
}

fn region_table(csv: &str) -> Result<String, String> {
    let (mut ids, mut hosts, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut table = String::from("pub const REGIONS: &[Region] = &[\n");
    for line in csv.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split(',').collect();
        let &[id, title, domain, name] = columns.as_slice() else {
            return Err(format!("`{line}` does not have four columns"));
        };
        if !is_label(id) || !ids.insert(id) {
            return Err(format!("region id `{id}` is malformed or stands twice"));
        }
        if !is_host(domain) || !hosts.insert(domain) {
            return Err(format!("domain `{domain}` of {id} is malformed or stands twice"));
        }
        if !name.is_empty() && (!is_host(name) || !name.contains(id) || !names.insert(name)) {
            return Err(format!(
                "certificate name `{name}` of {id} is malformed, of another region, or stands twice"
            ));
        }
        let name = if name.is_empty() { "None".into() } else { format!("Some({name:?})") };
        writeln!(
            table,
            "    Region {{ id: {id:?}, title: {title:?}, domain: {domain:?}, certificate_name: {name} }},"
        )
        .map_err(|error| error.to_string())?;
    }
    if ids.len() != REGIONS {
        return Err(format!("{} regions, expected {REGIONS}", ids.len()));
    }
    table.push_str("];\n");
    Ok(table)
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_host(text: &str) -> bool {
    text.contains('.') && text.split('.').all(is_label)
}
