//! Ownership checks: that no other user can replace a file or directory of a network.
//!
//! No symbolic link is followed. On a machine with several users any of them may create the
//! directory of a network first. A process that continued in it, as root in particular, would
//! change and create files that the other user chose with a link.

use std::fmt;
#[cfg(unix)]
use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

#[cfg(unix)]
use rustix::fs::OFlags;
#[cfg(unix)]
use rustix::process::{getegid, geteuid};

use crate::net::Quoted;

/// An error that says which path it is about.
pub(crate) fn io_error_at(
    description: impl fmt::Display,
    path: &Path,
    error: &io::Error,
) -> io::Error {
    io::Error::new(error.kind(), format!("{description} {}: {error}", quoted(path)))
}

fn quoted(path: &Path) -> String {
    Quoted(path.as_os_str().as_encoded_bytes()).to_string()
}

#[cfg(unix)]
const STICKY_BIT: u32 = 0o1000;
#[cfg(unix)]
const OTHER_WRITE_BIT: u32 = 0o002;
#[cfg(unix)]
const GROUP_WRITE_BIT: u32 = 0o020;

/// Makes sure that no other user can replace `folder`: checks it and all folders above it.
///
/// # Errors
///
/// See [`check_shared`].
#[cfg(unix)]
pub(crate) fn check_parents(folder: &Path) -> io::Result<()> {
    folder.ancestors().try_for_each(check_shared)
}

/// Makes sure that what this user has in a folder stays in its place, whatever else others may
/// have in there.
///
/// # Errors
///
/// If the path is no folder, or if another user can rename what is in it: its owner is neither
/// this user nor root, or others may write to it and it is not sticky.
#[cfg(unix)]
pub(crate) fn check_shared(folder: &Path) -> io::Result<()> {
    let metadata = folder_metadata(folder)?;
    // If root itself has no number, as in some containers, the owner of `/` is root.
    let trusted = [0, geteuid().as_raw(), fs::symlink_metadata("/")?.uid()];
    if !trusted.contains(&metadata.uid()) {
        return Err(owned_by_other("folder", folder, &metadata));
    }
    if metadata.mode() & STICKY_BIT == 0 && is_writable_by_others(&metadata) {
        return Err(open_to_others(folder, &metadata));
    }
    Ok(())
}

/// Makes sure that a folder is this user's alone, and says whether others may look into it.
///
/// # Errors
///
/// If the path is no folder, if it belongs to another user, or if others may write to it: what
/// they have put there cannot be told from what is ours.
#[cfg(unix)]
pub(crate) fn check_own(folder: &Path) -> io::Result<bool> {
    let metadata = folder_metadata(folder)?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(owned_by_other("folder", folder, &metadata));
    }
    if is_writable_by_others(&metadata) {
        return Err(open_to_others(folder, &metadata));
    }
    Ok(metadata.mode() & 0o077 != 0)
}

/// Makes sure that a file in a folder of this user's is this user's, and says whether others
/// may look into it; `None` if there is no such file.
///
/// The file is not opened: to close it would take away the locks that SQLite has on it for
/// another connection of this process.
///
/// # Errors
///
/// If there is something else, a link among others; or if it belongs to another user, or has
/// another name, by which it may be no file of lonet's.
#[cfg(unix)]
pub(crate) fn check_file(file: &Path) -> io::Result<Option<bool>> {
    let metadata = match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(|error| io_error_at("look at", file, &error))?,
    };
    reject_symlink(file, &metadata)?;
    if !metadata.is_file() {
        let kind = if metadata.file_type().is_fifo() { " but a FIFO" } else { "" };
        return Err(permission_denied(file, &format!("is no regular file{kind}: remove it")));
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(owned_by_other("file", file, &metadata));
    }
    if metadata.nlink() > 1 {
        let fact = format!(
            "has {} names (hard links), and may be a file that is not lonet's: remove it",
            metadata.nlink()
        );
        return Err(permission_denied(file, &fact));
    }
    Ok(Some(metadata.mode() & 0o077 != 0))
}

/// Changes the mode of a folder or file that was checked before.
///
/// # Errors
///
/// Errors of the system.
#[cfg(unix)]
pub(crate) fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    let mode = Permissions::from_mode(mode);
    let restricted = if fs::symlink_metadata(path)?.is_dir() {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let open = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
        open.and_then(|folder| folder.set_permissions(mode))
    } else {
        // By its path, because it must not be opened. Only this user can write to the folder, so
        // that no link was put there since it was checked.
        fs::set_permissions(path, mode)
    };
    restricted.map_err(|error| io_error_at("change the mode of", path, &error))
}

#[cfg(unix)]
fn folder_metadata(folder: &Path) -> io::Result<Metadata> {
    let metadata = fs::symlink_metadata(folder);
    let metadata = metadata.map_err(|error| io_error_at("look at the folder", folder, &error))?;
    reject_symlink(folder, &metadata)?;
    if metadata.is_dir() {
        return Ok(metadata);
    }
    let remedy = "remove it, or name another folder by `Config::folder`";
    let text = format!("{} is no folder: {remedy}", quoted(folder));
    Err(io::Error::new(io::ErrorKind::NotADirectory, text))
}

#[cfg(unix)]
fn reject_symlink(path: &Path, metadata: &Metadata) -> io::Result<()> {
    match metadata.is_symlink() {
        true => {
            Err(permission_denied(path, "is a symbolic link, and lonet follows none: remove it"))
        }
        false => Ok(()),
    }
}

/// Whether another user may write. A group is others, unless it is this process's own: with
/// a umask of 002 all that a user makes can be written to by the user's own group.
#[cfg(unix)]
fn is_writable_by_others(metadata: &Metadata) -> bool {
    let group_can_write =
        metadata.mode() & GROUP_WRITE_BIT != 0 && metadata.gid() != getegid().as_raw();
    group_can_write || metadata.mode() & OTHER_WRITE_BIT != 0
}

#[cfg(unix)]
fn permission_denied(path: &Path, fact: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {fact}", quoted(path)))
}

#[cfg(unix)]
fn owned_by_other(kind: &str, path: &Path, metadata: &Metadata) -> io::Error {
    let text = format!(
        "the {kind} {} belongs to user {}, and this process runs as user {}: remove it, or \
         name another folder by `Config::folder`",
        quoted(path),
        metadata.uid(),
        geteuid().as_raw()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

#[cfg(unix)]
fn open_to_others(folder: &Path, metadata: &Metadata) -> io::Error {
    let text = format!(
        "the folder {} has mode {:04o}: other users may replace what is in it; take that \
         right from them (`chmod go-w`), or name another folder by `Config::folder`",
        quoted(folder),
        metadata.mode() & 0o7777
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

// Elsewhere the temporary folder is the user's own.

#[cfg(not(unix))]
pub(crate) fn check_parents(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn check_shared(folder: &Path) -> io::Result<()> {
    check_own(folder).map(drop)
}

#[cfg(not(unix))]
pub(crate) fn check_own(folder: &Path) -> io::Result<bool> {
    if folder.is_dir() {
        return Ok(false);
    }
    let text = format!("{} is no folder", quoted(folder));
    Err(io::Error::new(io::ErrorKind::NotADirectory, text))
}

#[cfg(not(unix))]
pub(crate) fn check_file(file: &Path) -> io::Result<Option<bool>> {
    Ok(file.exists().then_some(false))
}

#[cfg(not(unix))]
pub(crate) fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}
