//! The page that recognizes in the browser, without this server: the files of a folder that `bindings/web/build.sh` wrote
//! (docs/web.md), held in memory.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::error::{Error, Result, Stage, io};

/// Files that the page cannot do without.
const REQUIRED: [&str; 2] = ["index.html", "hearken/hearken_web_bg.wasm"];
/// Maximum number of files and folders.
const MAX_ENTRIES: usize = 1_000;
/// Maximum size of all files together, bytes.
const MAX_BYTES: u64 = 256 << 20;

/// WebAssembly needs a permission of its own.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Clone, Debug)]
struct File {
    content: Bytes,
    kind: &'static str,
    /// A hash of the content, by which a browser's copy is recognized as current.
    tag: String,
}

/// The page's files by their paths relative to the folder, with `/`.
#[derive(Clone, Debug)]
pub struct OfflinePage(HashMap<String, File>);

impl OfflinePage {
    /// Reads the files of a folder.
    ///
    /// # Errors
    /// When a file cannot be read, the folder is not the page, or its files have more than 256 MiB.
    pub fn read(folder: &Path) -> Result<Self> {
        let (mut files, mut bytes, mut entries) = (HashMap::new(), 0, 0);
        let mut folders = vec![String::new()];
        while let Some(below) = folders.pop() {
            let path = if below.is_empty() { folder.to_path_buf() } else { folder.join(&below) };
            for entry in fs::read_dir(&path).map_err(|e| io(Stage::Serve, &path, e))? {
                let path = entry.map_err(|e| io(Stage::Serve, &path, e))?.path();
                let found = fs::metadata(&path).map_err(|e| io(Stage::Serve, &path, e))?;
                entries += 1;
                bytes += if found.is_file() { found.len() } else { 0 };
                if entries > MAX_ENTRIES || bytes > MAX_BYTES {
                    let problem = format!(
                        "expected the page of bindings/web/build.sh, found more than {MAX_ENTRIES} files or {} MiB",
                        MAX_BYTES >> 20
                    );
                    return Err(Error::new(Stage::Serve, problem).in_file(folder));
                }
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let name = format!("{below}{name}");
                if found.is_dir() {
                    folders.push(name + "/");
                } else if found.is_file() {
                    let content = fs::read(&path).map_err(|e| io(Stage::Serve, &path, e))?;
                    files.insert(name, File::new(&path, content.into()));
                }
            }
        }
        if let Some(missing) = REQUIRED.into_iter().find(|name| !files.contains_key(*name)) {
            let problem = format!("expected the page of bindings/web/build.sh, found no {missing}");
            let hint = "docs/web.md describes how the page is built; its folder is target/web/site";
            return Err(Error::new(Stage::Serve, problem).in_file(folder).hint(hint));
        }
        Ok(Self(files))
    }

    /// Whether the page has a file of this name.
    pub fn is_file(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the file with this name, or the answer that the browser's copy is current.
    pub fn file(&self, name: &str, request: &HeaderMap) -> Option<Response> {
        let File { content, kind, tag } = self.0.get(name)?;
        let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let headers = [
            (header::CONTENT_TYPE, *kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, tag.as_str()),
        ];
        if known.is_some_and(|known| known.contains(tag.as_str())) {
            return Some((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        Some((headers, content.clone()).into_response())
    }
}

impl File {
    fn new(path: &Path, content: Bytes) -> Self {
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            // Compiled while it is received.
            Some("wasm") => "application/wasm",
            _ => "application/octet-stream",
        };
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self { content, kind, tag: format!("\"{:016x}\"", hasher.finish()) }
    }
}
