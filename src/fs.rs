//! Atomic writing of files, and file names escaped for messages.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Maximum number of symbolic links followed from a path to its file.
const MAX_LINKS: usize = 40;
/// Maximum number of processes that may write the same file at the same time.
const MAX_WRITERS: usize = 1000;
/// Maximum number of bytes of the target's name in the temporary name: systems allow 255 in total.
const MAX_NAME: usize = 200;

/// A file that replaces its target only when [`AtomicFile::commit`] is called, after it was flushed to disk.
///
/// Until then the data is in a hidden file in the same folder, `.NAME.part`, which is removed when the value is
/// dropped. If the process is killed, the next writer of the same target removes it.
///
/// A symbolic link is kept (the file that it points to is replaced), and a replaced file's permissions are kept.
/// Pipes and devices are written directly.
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<File>,
    /// `None` if the target is written directly.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Begins to write the file at `path`.
    ///
    /// # Errors
    /// When `path` names no file, its folder does not exist, or it cannot be written to.
    pub fn create(path: &Path) -> io::Result<Self> {
        let target = follow_links(path)?;
        let existing = match fs::metadata(&target) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if existing.is_some() {
            // A rename would replace even a read-only file; opening it for writing checks the permission.
            let file = OpenOptions::new().write(true).open(&target)?;
            if existing.as_ref().is_some_and(|found| !found.is_file()) {
                return Ok(Self { out: BufWriter::new(file), place: None });
            }
        }
        let (file, temporary) = create_beside(&target)?;
        let place = Place { temporary, target, committed: false };
        if let Some(found) = existing {
            file.set_permissions(found.permissions())?;
        }
        Ok(Self { out: BufWriter::new(file), place: Some(place) })
    }

    /// Flushes the file to disk and renames it to the target.
    ///
    /// # Errors
    /// When writing fails; the target is then unchanged.
    pub fn commit(mut self) -> io::Result<()> {
        self.out.flush()?;
        if self.place.is_some() {
            self.out.get_ref().sync_all()?;
        }
        self.rename()
    }

    /// Renames the written file to the target.
    fn rename(mut self) -> io::Result<()> {
        self.out.flush()?;
        let Some(mut place) = self.place.take() else { return Ok(()) };
        fs::rename(&place.temporary, &place.target)?;
        place.committed = true;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.committed {
            // Best effort: the failure that left the file here has been reported already.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a whole file through [`AtomicFile`].
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Writes a whole file through [`AtomicFile`] without waiting for the disk: for files whose content is replaced several
/// times a second, and need not survive a power failure.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.rename()
}

/// The file that `path` refers to after symbolic links are resolved; it may not exist yet.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let link = fs::read_link(&path)?;
                path = folder_of(&path).join(link);
            }
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Creates a temporary file in the target's folder and returns it with its path. The file is locked while it is
/// open, so an unlocked one was left by a killed process.
fn create_beside(target: &Path) -> io::Result<(File, PathBuf)> {
    let Some(name) = target.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file"));
    };
    let name = name.to_string_lossy();
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    for number in 0..MAX_WRITERS {
        let number = if number == 0 { String::new() } else { format!(".{number}") };
        let temporary = folder_of(target).join(format!(".{name}{number}.part"));
        remove_leftover(&temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => {
                // Another process may have removed it as a leftover before it was locked.
                let lock = file.try_lock();
                if !matches!(lock, Err(TryLockError::WouldBlock)) && is_at(&file, &temporary) {
                    return Ok((file, temporary));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many processes write this file"))
}

/// Removes a temporary file that no process has locked.
fn remove_leftover(temporary: &Path) {
    if !fs::symlink_metadata(temporary).is_ok_and(|found| found.is_file()) {
        return;
    }
    // On file systems without locks a leftover cannot be distinguished from a file in use, so it is kept.
    if let Ok(file) = OpenOptions::new().write(true).open(temporary)
        && file.try_lock().is_ok()
    {
        let _ = fs::remove_file(temporary);
    }
}

/// Whether `path` still refers to `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    file.metadata().ok().map(id) == fs::symlink_metadata(path).ok().map(id)
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.is_file()
}

/// A path as printed in messages.
///
/// It is unchanged, or in double quotes with escapes (`\n`, `\u{1b}`, `\xff` for a byte that is not UTF-8) if it
/// contains line breaks, other control characters or bytes that are not UTF-8, or begins with a quote. So every
/// name stays on one line, and different names print differently.
pub fn quoted(path: &Path) -> Cow<'_, str> {
    let bytes = path.as_os_str().as_encoded_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('"') && !text.contains(breaks_a_line) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if breaks_a_line(c) || matches!(c, '"' | '\\') {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing into a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_only_when_it_is_committed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        write(&path, b"old").expect("written");
        let mut file = AtomicFile::create(&path).expect("begun");
        file.write_all(b"new").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"old");
        drop(file);
        assert_eq!(
            (names(folder.path()), fs::read(&path).expect("read")),
            (vec!["a.txt".into()], b"old".to_vec())
        );
        write(&path, b"new").expect("written");
        assert_eq!(
            (names(folder.path()), fs::read(&path).expect("read")),
            (vec!["a.txt".into()], b"new".to_vec())
        );
    }

    #[test]
    fn concurrent_writers_use_separate_files_and_leftovers_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        // A file left by a killed process is not locked.
        fs::write(folder.path().join(".a.txt.part"), b"half").expect("written");
        let mut first = AtomicFile::create(&path).expect("begun");
        let mut second = AtomicFile::create(&path).expect("begun");
        first.write_all(b"first").expect("written");
        second.write_all(b"second").expect("written");
        assert_eq!(names(folder.path()), [".a.txt.1.part", ".a.txt.part"]);
        second.commit().expect("committed");
        first.commit().expect("committed");
        assert_eq!(names(folder.path()), ["a.txt"]);
        assert_eq!(fs::read(&path).expect("read"), b"first");
    }

    #[test]
    fn long_names_and_missing_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(format!("{}é", "x".repeat(250)));
        write(&path, b"x").expect("written");
        assert_eq!(names(folder.path()).len(), 1);
        for wrong in [folder.path().join("no/such.txt"), folder.path().to_path_buf(), PathBuf::from("/")] {
            assert!(AtomicFile::create(&wrong).is_err(), "{}", wrong.display());
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("there")).expect("made");
        fs::write(path("there/real.txt"), b"old").expect("written");
        fs::set_permissions(path("there/real.txt"), fs::Permissions::from_mode(0o640)).expect("set");
        symlink("there/real.txt", path("link.txt")).expect("linked");
        symlink("there/absent.txt", path("dangling.txt")).expect("linked");
        symlink("loop.txt", path("loop.txt")).expect("linked");
        write(&path("link.txt"), b"new").expect("written");
        write(&path("dangling.txt"), b"new").expect("written");
        for name in ["link.txt", "dangling.txt"] {
            assert!(fs::symlink_metadata(path(name)).expect("there").is_symlink(), "{name}");
            assert_eq!(fs::read(path(name)).expect("read"), b"new");
        }
        let mode = fs::metadata(path("there/real.txt")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(write(&path("loop.txt"), b"x").is_err());
        assert_eq!(names(&path("there")), ["absent.txt", "real.txt"]);
    }

    #[test]
    fn devices_are_written_directly() {
        if cfg!(unix) {
            write(Path::new("/dev/null"), b"x").expect("written");
        }
    }

    #[test]
    fn names_are_on_one_line_and_no_two_look_alike() {
        let text = |name: &str| quoted(Path::new(name)).into_owned();
        assert_eq!(text("a b\\c.wav"), "a b\\c.wav");
        assert_eq!(text("a\nb.wav"), "\"a\\nb.wav\"");
        assert_eq!(text("a\\nb.wav"), "a\\nb.wav");
        assert_eq!(text("\"a\\nb.wav\""), "\"\\\"a\\\\nb.wav\\\"\"");
        assert_eq!(text("\x1b[2J\u{2028}é"), "\"\\u{1b}[2J\\u{2028}é\"");
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf_8_stay_distinct() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let text = |bytes: &[u8]| quoted(Path::new(OsStr::from_bytes(bytes))).into_owned();
        assert_eq!(text(b"a\xff.wav"), "\"a\\xff.wav\"");
        assert_ne!(text(b"a\xff.wav"), text(b"a\xfe.wav"));
    }
}
