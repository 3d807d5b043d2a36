//! Where a network of several processes is found.
//!
//! Knows folders and who may look into them. Does not know what is in the file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;
use std::{io, process};

/// Makes the place of a network, private to the user; `""` makes a new one with a name of its own.
///
/// Returns the name of the network and the file of its registry, which may be empty.
///
/// # Errors
///
/// If the name would lead out of the folder of all networks, if the place belongs to another user,
/// or if it cannot be made.
pub(crate) fn make(all: &Path, name: &str) -> io::Result<(String, PathBuf)> {
    if !name.is_empty() && !is_plain(name) {
        let text = "the name of a network must be that of a folder";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match mode(&mut DirBuilder::new(), 0o1777).create(all) {
        // As the temporary folder itself: anybody may put a folder there, nobody take another's.
        Ok(()) => restrict(all, 0o1777)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let (name, folder) = match name {
        "" => make_new(all)?,
        name => (name.to_string(), all.join(name)),
    };
    match mode(&mut DirBuilder::new(), 0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !fs::symlink_metadata(&folder)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
    }
    // Only the owner may do this, so that nobody is led into another's folder.
    restrict(&folder, 0o700)?;
    let file = folder.join("registry.db");
    make_file(&file)?;
    restrict(&file, 0o600)?;
    Ok((name, file))
}

/// Whether a name names something in a folder: no path, and no way out.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let first = parts.next();
    matches!(first, Some(Component::Normal(part)) if part == name) && parts.next().is_none()
}

/// Makes a folder that there was none of, named by a number.
fn make_new(all: &Path) -> io::Result<(String, PathBuf)> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut number = since.map_or(0, |since| since.subsec_nanos()).wrapping_mul(process::id());
    loop {
        let name = number.to_string();
        let folder = all.join(&name);
        match mode(&mut DirBuilder::new(), 0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.wrapping_add(0x9e37_79b9);
            }
            made => return made.map(|()| (name, folder)),
        }
    }
}

/// Makes a file that only the user may read, unless there is one.
fn make_file(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

#[cfg(unix)]
fn mode(builder: &mut DirBuilder, mode: u32) -> &mut DirBuilder {
    std::os::unix::fs::DirBuilderExt::mode(builder, mode)
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Elsewhere the temporary folder is the user's own.
#[cfg(not(unix))]
fn mode(builder: &mut DirBuilder, _mode: u32) -> &mut DirBuilder {
    builder
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}
