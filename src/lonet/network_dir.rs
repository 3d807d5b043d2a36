//! The directory of a network, and the database file in it.
//!
//! Missing directories are created. The owners they must have are checked in `owner`.

use std::fs::DirBuilder;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;
use std::{io, process};

use crate::lonet::owner::{
    check_file, check_own, check_parents, check_shared, io_error_at, restrict,
};

/// The file of a registry, and what SQLite puts beside it.
const DATABASE_FILES: [&str; 4] =
    ["registry.db", "registry.db-wal", "registry.db-shm", "registry.db-journal"];

/// The directory of one network.
#[derive(Debug)]
pub(crate) struct NetworkDir {
    /// The name of the network.
    pub(crate) name: String,
    /// The file of its registry as it is called in errors.
    pub(crate) display_path: PathBuf,
    /// The same file by a path without links.
    pub(crate) database: PathBuf,
}

/// Makes the place of a network, private to the user; `""` makes a new one with a name of its own.
///
/// The registry may not be there yet.
///
/// # Errors
///
/// If the name would lead out of the folder of all networks, if another user has made or could
/// replace any of it, or if it cannot be made.
pub(crate) fn prepare(root: &Path, name: &str) -> io::Result<NetworkDir> {
    if !name.is_empty() && !is_single_component(name) {
        let text = "the name of a network must be that of a folder";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let real_root = prepare_root(root)?;
    let name = if name.is_empty() { create_unique(&real_root)? } else { name.to_string() };
    let folder = real_root.join(&name);
    match mode(&mut DirBuilder::new(), 0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error_at("make the folder", &folder, &error));
        }
        _ => {}
    }
    let is_open = check_own(&folder)?;
    for file in DATABASE_FILES {
        let found = check_file(&folder.join(file))?;
        // A folder that has a registry is lonet's, and was maybe made by a looser version of it.
        if is_open && file == DATABASE_FILES[0] && found.is_some() {
            restrict(&folder, 0o700)?;
        }
    }
    let display_path = root.join(&name).join(DATABASE_FILES[0]);
    Ok(NetworkDir { display_path, database: folder.join(DATABASE_FILES[0]), name })
}

/// Lets only the user read the file of a registry, which SQLite has just opened.
///
/// # Errors
///
/// If it is not this user's after all, or as the system has it.
pub(crate) fn restrict_to_user(file: &Path) -> io::Result<()> {
    match check_file(file)? {
        Some(true) => restrict(file, 0o600),
        _ => Ok(()),
    }
}

/// Makes the folder of all networks, and gives its path without links.
fn prepare_root(root: &Path) -> io::Result<PathBuf> {
    let parent = match root.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => root,
    };
    let parent_path = parent.canonicalize();
    let parent_path =
        parent_path.map_err(|error| io_error_at("find the folder", parent, &error))?;
    check_parents(&parent_path)?;
    // Without a name of its own, as in `..`, it is there already.
    let Some(file_name) = root.file_name() else {
        let root =
            root.canonicalize().map_err(|error| io_error_at("find the folder", root, &error))?;
        return check_parents(&root).map(|()| root);
    };
    let root = parent_path.join(file_name);
    match mode(&mut DirBuilder::new(), 0o1777).create(&root) {
        // As the temporary folder itself: any user may put a folder there, and take no other's.
        Ok(()) => restrict(&root, 0o1777)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error_at("make the folder", &root, &error)),
    }
    check_shared(&root).map(|()| root)
}

/// Whether a name names something in a folder: no path, and no way out.
fn is_single_component(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let first = parts.next();
    matches!(first, Some(Component::Normal(part)) if part == name) && parts.next().is_none()
}

/// Makes a folder that there was none of, named by a number.
fn create_unique(root: &Path) -> io::Result<String> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut number =
        since_epoch.map_or(0, |since_epoch| since_epoch.subsec_nanos()).wrapping_mul(process::id());
    loop {
        let name = number.to_string();
        let folder = root.join(&name);
        match mode(&mut DirBuilder::new(), 0o700).create(&folder) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.wrapping_add(0x9e37_79b9);
            }
            Err(error) => return Err(io_error_at("make the folder", &folder, &error)),
        }
    }
}

#[cfg(unix)]
fn mode(builder: &mut DirBuilder, mode: u32) -> &mut DirBuilder {
    std::os::unix::fs::DirBuilderExt::mode(builder, mode)
}

#[cfg(not(unix))]
fn mode(builder: &mut DirBuilder, _mode: u32) -> &mut DirBuilder {
    builder
}
