//! Search for onnxruntime's shared library: named by the user, next to the executable, or in a Python
//! environment. Only names are examined; nothing is loaded or executed here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Stage};

/// Minimum version of onnxruntime (major, minor).
pub const MIN_VERSION: (u32, u32) = (1, 17);

/// Maximum number of entries examined in a directory.
const MAX_ENTRIES: usize = 10_000;

/// Places to search. The caller provides them, since this library does not read environment variables.
#[derive(Clone, Debug, Default)]
pub struct LibrarySearch {
    /// Path of the library (`ORT_DYLIB_PATH`); if set, nothing else is tried.
    pub explicit: Option<PathBuf>,
    /// Directory of the executable; `lib` inside it and next to it is searched too.
    pub executable_dir: Option<PathBuf>,
    /// Roots of Python environments (`VIRTUAL_ENV`, `CONDA_PREFIX`, `~/.local`, `/usr`).
    pub python_roots: Vec<PathBuf>,
}

impl LibrarySearch {
    /// The files to try, in the order of the directories, the newest version first within each.
    pub fn candidates(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.explicit {
            return vec![path.clone()];
        }
        let mut found = Vec::new();
        for dir in self.directories() {
            let mut here: Vec<PathBuf> = entries(&dir).filter(|p| is_library(p) && p.is_file()).collect();
            here.sort_by_key(|p| std::cmp::Reverse(version_in_name(p)));
            found.extend(here);
        }
        found
    }

    /// The directories that are searched.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        if let Some(dir) = &self.executable_dir {
            directories.extend([dir.clone(), dir.join("lib"), dir.join("../lib")]);
        }
        for root in &self.python_roots {
            // On Windows the path does not contain the version of Python.
            if cfg!(windows) {
                directories.push(root.join("Lib/site-packages/onnxruntime/capi"));
            }
            let mut versions: Vec<PathBuf> = entries(&root.join("lib")).filter(|p| is_python(p)).collect();
            versions.sort();
            for python in versions.iter().rev() {
                let packages = ["site-packages", "dist-packages"];
                directories.extend(packages.map(|p| python.join(p).join("onnxruntime/capi")));
            }
        }
        directories
    }

    /// The error for when no candidate is usable; `refused` is the error of the first candidate, if there is one.
    pub fn not_found(&self, refused: Option<&Error>) -> Error {
        let (major, minor) = MIN_VERSION;
        let problem = match refused {
            None => format!("onnxruntime {major}.{minor} or newer is needed, and no {LIBRARY} was found"),
            Some(refused) => format!("onnxruntime {major}.{minor} or newer is needed: {refused}"),
        };
        Error::new(Stage::Engine, problem).hint(format!(
            "set ORT_DYLIB_PATH to {LIBRARY}, or `pip install onnxruntime` and activate that environment"
        ))
    }
}

/// File name of the library on this system.
const LIBRARY: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// Checks a file before it is loaded: it must be a regular file (opening a pipe would block), and the version in
/// its name must not be too old.
///
/// # Errors
/// When the file is missing, not a regular file or too old; the error names the file.
pub fn check_file(path: &Path) -> Result<()> {
    let error = |problem: String| Err(Error::new(Stage::Engine, problem).in_file(path));
    match std::fs::metadata(path) {
        Err(e) => return error(e.to_string()),
        Ok(found) if !found.is_file() => {
            return error("expected a shared library, found something other than a regular file".into());
        }
        Ok(_) => {}
    }
    match version_in_name(path) {
        Some((major, minor, _)) if (major, minor) < MIN_VERSION => {
            let (a, b) = MIN_VERSION;
            error(format!("expected onnxruntime {a}.{b} or newer, found {major}.{minor}"))
        }
        _ => Ok(()),
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().take(MAX_ENTRIES).flatten().map(|e| e.path())
}

fn is_python(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|n| n.starts_with("python3"))
}

/// Whether this is the library by its name: `libonnxruntime.so`, `libonnxruntime.so.1.32.0`,
/// `libonnxruntime.1.32.0.dylib` or `onnxruntime.dll`, but not the libraries of its providers.
fn is_library(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    let Some(rest) = name.strip_prefix("libonnxruntime.").or_else(|| name.strip_prefix("onnxruntime."))
    else {
        return false;
    };
    let mut parts = rest.split('.');
    let numbers = |mut parts: std::str::Split<char>| parts.all(|p| p.bytes().all(|b| b.is_ascii_digit()));
    match parts.next() {
        Some("so") => numbers(parts),
        Some("dll" | "dylib") => parts.next().is_none(),
        _ => rest.strip_suffix(".dylib").is_some_and(|v| numbers(v.split('.'))),
    }
}

/// The version in a library's name, if there is one.
fn version_in_name(path: &Path) -> Option<(u32, u32, u32)> {
    let name = path.file_name()?.to_str()?;
    let numbers: Vec<u32> = name.split('.').filter_map(|p| p.parse().ok()).collect();
    match numbers[..] {
        [major, minor, ..] => Some((major, minor, numbers.get(2).copied().unwrap_or(0))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, b"").expect("written");
    }

    #[test]
    fn finds_the_newest_in_a_python_environment_and_beside_the_executable() {
        let dir = tempfile::tempdir().expect("a directory");
        let capi = dir.path().join("venv/lib/python3.11/site-packages/onnxruntime/capi");
        for name in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so"]
        {
            touch(capi.join(name));
        }
        touch(dir.path().join("bin/libonnxruntime.so"));
        let search = LibrarySearch {
            explicit: None,
            executable_dir: Some(dir.path().join("bin")),
            python_roots: vec![dir.path().join("venv")],
        };
        let names: Vec<PathBuf> = search.candidates();
        assert_eq!(
            names,
            [
                dir.path().join("bin/libonnxruntime.so"),
                capi.join("libonnxruntime.so.1.32.0"),
                capi.join("libonnxruntime.so.1.9.0"),
            ]
        );
        let old = check_file(&names[2]).expect_err("1.9 is too old").to_string();
        assert!(old.contains("1.17") && old.contains("found 1.9"), "{old}");
        assert!(check_file(dir.path()).is_err());
        let explicit = LibrarySearch { explicit: Some("/no/such.so".into()), ..search };
        assert_eq!(explicit.candidates(), [PathBuf::from("/no/such.so")]);
    }

    #[test]
    fn names_of_other_systems() {
        for good in
            ["libonnxruntime.1.32.0.dylib", "libonnxruntime.dylib", "onnxruntime.dll", "libonnxruntime.so.1"]
        {
            assert!(is_library(Path::new(good)), "{good}");
        }
        for bad in ["libonnxruntime.so.txt", "libonnxruntime_genai.so", "onnxruntime.lib", "libonnxruntime.a"]
        {
            assert!(!is_library(Path::new(bad)), "{bad}");
        }
    }
}
