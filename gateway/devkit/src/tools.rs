//! Finds the binaries that `make setup` put into `.tools/`: nats-server in several versions, a Redis and a PostgreSQL;
//! and the folder of the npm package oidc-provider.
//!
//! The folder is the environment variable `NATSGATE_TOOLS` where it is set; otherwise the first `.tools` met when
//! walking up from the current directory, from the package being tested, from this crate's own source and from the
//! running program.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::DevkitError;

/// The nats-server versions that `make setup` provides (`scripts/versions`), the oldest least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatsVersion {
    /// 2.10.25, the oldest that is supported.
    V2_10_25,
    /// 2.12.8.
    V2_12_8,
    /// 2.14.6.
    V2_14_6,
    /// 2.15.1, which the demo runs.
    #[default]
    V2_15_1,
}

impl NatsVersion {
    /// Every version, the oldest first: what the compatibility tests loop over.
    pub const ALL: [Self; 4] = [Self::V2_10_25, Self::V2_12_8, Self::V2_14_6, Self::V2_15_1];

    /// The version number as the server itself prints it, without a `v`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_10_25 => "2.10.25",
            Self::V2_12_8 => "2.12.8",
            Self::V2_14_6 => "2.14.6",
            Self::V2_15_1 => "2.15.1",
        }
    }
}

impl fmt::Display for NatsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The nats-server binary of `version`.
///
/// # Errors
/// [`DevkitError::ToolMissing`] when `make setup` has not put it there.
pub fn nats_server(version: NatsVersion) -> Result<PathBuf, DevkitError> {
    find(
        &format!("nats-server {version}"),
        &Path::new("nats-server")
            .join(version.as_str())
            .join("bin/nats-server"),
    )
}

/// The Redis binary (Debian's redis-server 7, or a valkey-server).
///
/// # Errors
/// [`DevkitError::ToolMissing`] when `make setup` has not put it there.
pub fn redis_server() -> Result<PathBuf, DevkitError> {
    find("redis-server", Path::new("redis-server"))
}

/// A program of PostgreSQL (`postgres`, `initdb`), where it really lies: it may be run by another user, who need not be
/// able to come by through `.tools`.
///
/// # Errors
/// [`DevkitError::ToolMissing`] when `make setup` has not put it there.
pub fn postgres_program(name: &str) -> Result<PathBuf, DevkitError> {
    let found = find(&format!("PostgreSQL ({name})"), &Path::new("postgres").join(name))?;
    found
        .canonicalize()
        .map_err(DevkitError::io(format!("find out where {} is", found.display())))
}

/// The script that runs the npm package oidc-provider; node itself is expected on `PATH`.
///
/// # Errors
/// [`DevkitError::ToolMissing`] when `make setup` has not installed the package.
pub fn oidc_provider() -> Result<PathBuf, DevkitError> {
    let inside = Path::new("gateway/devkit/oidc-provider");
    let looked_for: Vec<PathBuf> = checkouts()
        .into_iter()
        .map(|checkout| checkout.join(inside))
        .collect();
    let installed = |folder: &&PathBuf| folder.join("node_modules/oidc-provider/package.json").is_file();
    match looked_for.iter().find(installed) {
        Some(folder) => Ok(folder.join("server.mjs")),
        None => Err(DevkitError::ToolMissing {
            tool: "the npm package oidc-provider".to_owned(),
            looked_for,
        }),
    }
}

fn find(tool: &str, inside: &Path) -> Result<PathBuf, DevkitError> {
    let looked_for: Vec<PathBuf> = tool_folders()
        .into_iter()
        .map(|folder| folder.join(inside))
        .collect();
    match looked_for.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(DevkitError::ToolMissing {
            tool: tool.to_owned(),
            looked_for,
        }),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "where the tools lie is no setting of natsgate's"
)]
fn environment(name: &str) -> Option<PathBuf> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// `.tools` folders in the order they are tried; never empty.
fn tool_folders() -> Vec<PathBuf> {
    match environment("NATSGATE_TOOLS") {
        Some(folder) => vec![folder],
        None => checkouts()
            .into_iter()
            .map(|checkout| checkout.join(".tools"))
            .collect(),
    }
}

/// Folders that may be natsgate's checkout: those met on the way up that hold a `.tools`, else this crate's own.
fn checkouts() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let starts = [
        std::env::current_dir().ok(),
        environment("CARGO_MANIFEST_DIR"),
        Some(own.to_path_buf()),
        std::env::current_exe().ok(),
    ];
    let mut found: Vec<PathBuf> = Vec::new();
    for start in starts.iter().flatten() {
        if let Some(checkout) = start.ancestors().find(|folder| folder.join(".tools").is_dir())
            && !found.iter().any(|known| known == checkout)
        {
            found.push(checkout.to_path_buf());
        }
    }
    if found.is_empty() {
        found.extend(own.ancestors().nth(2).map(Path::to_path_buf));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_nats_server_is_found() {
        for version in NatsVersion::ALL {
            let path = nats_server(version).unwrap();
            assert!(
                path.ends_with(format!("nats-server/{version}/bin/nats-server")),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_missing_tool_is_named_with_the_mend() {
        let error = find("frobnicator 3", Path::new("no/such/tool"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("frobnicator 3 is not there"), "{error}");
        assert!(error.contains(".tools/no/such/tool"), "{error}");
        assert!(error.ends_with("run `make setup`"), "{error}");
    }

    #[test]
    fn the_versions_are_those_that_setup_fetches() {
        let pins = include_str!("../../../scripts/versions");
        let pinned: Vec<&str> = pins
            .lines()
            .filter_map(|line| line.strip_prefix("nats-server "))
            .filter_map(|rest| rest.split(' ').next())
            .collect();
        assert_eq!(pinned, NatsVersion::ALL.map(NatsVersion::as_str));
    }
}
