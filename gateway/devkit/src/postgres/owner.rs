//! Whom a server's process and files belong to.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::DevkitError;

/// The user `nobody` and its group, by number.
const NOBODY: u32 = 65534;

/// Whoever runs this process, or `nobody` if that is root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    somebody_else: Option<u32>,
}

impl Owner {
    pub(super) fn of_this_process() -> Self {
        let root = rustix::process::geteuid().is_root();
        Self {
            somebody_else: root.then_some(NOBODY),
        }
    }

    /// A command that runs as this owner.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(id) = self.somebody_else {
            command.uid(id).gid(id);
        }
        command
    }

    /// Makes `path` this owner's, and nobody else's to the extent of `mode`.
    pub(super) fn give(self, path: &Path, mode: u32) -> Result<(), DevkitError> {
        let doing = format!("hand {} over to PostgreSQL's user", path.display());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .and_then(|()| match self.somebody_else {
                Some(id) => chown(path, Some(id), Some(id)),
                None => Ok(()),
            })
            .map_err(DevkitError::io(doing))
    }

    /// Writes a file that only this owner may read.
    pub(super) fn write(self, path: &Path, text: &str) -> Result<(), DevkitError> {
        std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(DevkitError::io(format!("write {}", path.display())))?;
        self.give(path, 0o600)
    }
}
