//! The layers of the source: a module uses only those above it, and no two files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The modules in the order of the table of layers in ARCHITECTURE.md, from the top down: a module uses
/// itself and those before it.
fn layers() -> Vec<String> {
    let text = include_str!("../ARCHITECTURE.md");
    let (_, table) = text.split_once("\n## Layers\n").expect("a section about the layers");
    let rows =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let names =
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(String::from).collect()
}

/// The crate's root, whose names are for other programs.
const ROOT: &str = "lib";

/// Every file by the name of its module: `onnx::import::walk`.
fn sources(folder: &Path, name: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let inner = if name.is_empty() { stem.clone() } else { format!("{name}::{stem}") };
        if path.is_dir() {
            sources(&path, &inner, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !["lib", "main"].contains(&stem.as_str()) {
            let module = if stem == "mod" { name.to_string() } else { inner };
            let text = fs::read_to_string(&path).expect("UTF-8");
            // Tests may use any module.
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = code.lines().map(|line| line.split("//").next().unwrap_or_default());
            found.insert(module, code.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The paths of a tree of imports: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((front, inner)) = tree.split_once('{') else { return vec![tree.to_string()] };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match (c, depth) {
            (',', 0) => parts.push(String::new()),
            _ => parts.last_mut().expect("one part at least").push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(part)).map(|part| format!("{front}{part}")).collect()
}

/// The file that a path inside `module` leads to.
fn file_of(path: &str, module: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    match parts.first().copied() {
        Some("crate") => base.clear(),
        Some("super" | "self") => {}
        _ => return None,
    }
    while let Some("crate" | "super" | "self") = parts.first().copied() {
        if parts.remove(0) == "super" {
            base.pop();
        }
    }
    base.extend(parts);
    (1..=base.len()).rev().map(|n| base[..n].join("::")).find(|name| files.contains_key(name))
}

/// The files that each file uses, except its parent modules and its submodules.
fn uses(files: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<String>> {
    let of = |(module, code): (&'_ String, &'_ String)| {
        let mut used = BTreeSet::new();
        for statement in code.split(';') {
            let Some(at) = statement.rfind("use ").filter(|at| !statement[*at..].contains('"')) else {
                continue;
            };
            used.extend(paths(&statement[at + 4..]));
        }
        for (at, _) in code.match_indices("crate::") {
            let is_path = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
            used.insert(code[at..].chars().take_while(|c| is_path(*c)).collect());
        }
        let of_root = |path: &String| path.starts_with("crate::").then(|| ROOT.to_string());
        let files = used.iter().filter_map(|path| file_of(path, module, files).or_else(|| of_root(path)));
        let apart = |other: &String| {
            !other.starts_with(&format!("{module}::"))
                && !module.starts_with(&format!("{other}::"))
                && other != module
        };
        files.filter(apart).collect()
    };
    files.iter().map(|(module, code)| (module.as_str(), of((module, code)))).collect()
}

#[test]
fn a_module_uses_only_those_above_it_and_no_two_files_each_other() {
    let mut files = BTreeMap::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    let uses = uses(&files);
    let edges: usize = uses.values().map(BTreeSet::len).sum();
    assert!(
        files.len() > 100 && edges > 300,
        "{} files, {edges} imports: the sources were read",
        files.len()
    );
    let layers = layers();
    let layer =
        |module: &str| layers.iter().position(|layer| Some(layer.as_str()) == module.split("::").next());
    let mut faults: Vec<String> = files
        .keys()
        .filter(|module| layer(module).is_none())
        .map(|module| format!("{module} is in no layer of ARCHITECTURE.md"))
        .collect();
    for (module, used) in &uses {
        if used.contains(ROOT) {
            faults.push(format!("{module} uses a name by way of the crate's root"));
        }
        let below = used.iter().filter(|other| layer(other) > layer(module));
        faults.extend(below.map(|other| format!("{module} uses {other}, which is a layer below it")));
        // No file that a file uses, directly or not, may use it.
        let (mut seen, mut next) = (BTreeSet::new(), used.iter().map(String::as_str).collect::<Vec<_>>());
        while let Some(name) = next.pop() {
            if seen.insert(name) {
                next.extend(uses.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        if seen.contains(module) {
            faults.push(format!("{module} is used by what it uses: {used:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
