//! A file of this machine (redb) for a natsgate that is one process.

use std::fs::OpenOptions;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

/// The most memory a file's pages may take.
const PAGE_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Opens the file `path`, or makes it, readable by its owner only, and has `prepare` look at it before it is on the disk. Its folder
/// must be there. The file is locked; `shared` tells whoever finds it so what to do.
///
/// # Errors
/// What is wrong, and the mend: another process has it open, it cannot be read or written, it is damaged or of a later release.
pub(crate) fn open(
    path: &Path,
    shared: &str,
    prepare: impl FnOnce(&Database) -> Result<(), String>,
) -> Result<Database, String> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| {
        format!("{error}: natsgate must be able to write there, and its folder must exist")
    })?;
    let database = Builder::new()
        .set_cache_size(PAGE_CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(FileBackend::new(file).map_err(|error| error.to_string())?)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                format!("another process has it open: {shared}")
            }
            other => format!("{other}; if it is damaged, put a copy of it back from a backup"),
        })?;
    prepare(&database)?;
    // What names the file must be on the disk too.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| format!("writing its folder to the disk: {error}"))?;
    }
    Ok(database)
}
